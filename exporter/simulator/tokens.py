"""Tokens and preauthenticated addresses: signed with the simulation's own key, so that none needs to be stored."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any


def encode_part(data: bytes) -> str:
    """Return base64url without padding, as JWT uses it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_part(text: str) -> bytes:
    """Return the bytes of base64url without padding; ValueError if it is none."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Seal:
    """Writes and reads JWT-shaped texts that only this simulation can have written.

    Args:
        key: the secret behind the signatures.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._header = encode_part(json.dumps({"typ": "JWT", "alg": "RS256", "kid": "simulation"}).encode())

    def close(self, claims: dict[str, Any]) -> str:
        """Return `claims` as header.payload.signature; the signature is as long as Microsoft's (RS256)."""
        signed = f"{self._header}.{encode_part(json.dumps(claims, separators=(',', ':')).encode())}"
        return f"{signed}.{encode_part(self._sign(signed))}"

    def open(self, text: str) -> dict[str, Any] | None:
        """Return the claims of a text that this seal closed, or None for any other text."""
        signed, _, signature = text.rpartition(".")
        if not signed or not hmac.compare_digest(encode_part(self._sign(signed)).encode(), signature.encode()):
            return None
        claims: dict[str, Any] = json.loads(decode_part(signed.partition(".")[2]))
        return claims

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), "sha256") * 8
