"""Certificates for client assertions, and assertions signed with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from exporter.simulator.login import encode_part


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes
    private: rsa.RSAPrivateKey
    parsed: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """The SHA-256 thumbprint in hexadecimal."""
        return self.parsed.fingerprint(hashes.SHA256()).hex().upper()

    @property
    def sha1(self) -> str:
        """The SHA-1 thumbprint in hexadecimal."""
        return self.parsed.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - what msal asks for


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def make_pair(*, until: datetime | None = None) -> Pair:
    """Return a certificate that ends at `until`, in ten years if left out."""
    end = until or datetime.now(UTC) + timedelta(days=3650)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "exporter")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=7300))
        .not_valid_after(end)
        .sign(_key(), hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = _key().private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(made.public_bytes(pem), key, _key(), made)


def assertion(
    pair: Pair, client_id: str, audience: str, now: float, *, algorithm: str = "PS256", thumbprint: str = "x5t#S256"
) -> str:
    """Return a client assertion, valid for ten minutes."""
    digest = hashes.SHA256() if thumbprint == "x5t#S256" else hashes.SHA1()  # noqa: S303 - `x5t` is SHA-1 by definition
    header = {"alg": algorithm, "typ": "JWT", thumbprint: encode_part(pair.parsed.fingerprint(digest))}
    claims = {"iss": client_id, "sub": client_id, "aud": audience, "nbf": now, "exp": now + 600, "jti": "1"}
    signed = ".".join(encode_part(json.dumps(part).encode()) for part in (header, claims))
    scheme = padding.PKCS1v15() if algorithm == "RS256" else padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return f"{signed}.{encode_part(pair.private.sign(signed.encode(), scheme, hashes.SHA256()))}"
