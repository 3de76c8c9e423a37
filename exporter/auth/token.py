"""A bearer token, and what it says of itself."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and what it says of itself. The signature is Graph's to check: these claims are hints.

    Attributes:
        value: the secret itself.
        expires_at: Unix seconds.
    """

    value: str = field(repr=False)
    expires_at: float

    @property
    def claims(self) -> Mapping[str, Any]:
        """The payload of the JSON web token; empty where it cannot be read."""
        try:
            payload = self.value.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (IndexError, ValueError, RecursionError):
            return {}
        return claims if isinstance(claims, dict) else {}

    @property
    def permissions(self) -> tuple[str, ...] | None:
        """Application roles or delegated scopes; None where the token cannot be read."""
        claims = self.claims
        if not claims:
            return None
        roles = claims.get("roles")
        scopes = claims.get("scp")
        granted = [str(role) for role in roles] if isinstance(roles, list) else []
        return tuple(granted + (scopes.split() if isinstance(scopes, str) else []))
