"""The app registrations: who may ask for tokens, in which tenants, and with what."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# What AKS workload identity and every other federation puts in an assertion's `aud`.
FEDERATION_AUDIENCE = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True)
class Federation:
    """A federated identity credential: tokens of this issuer for this subject and audience are as good as a secret."""

    issuer: str
    subject: str
    audience: str = FEDERATION_AUDIENCE


@dataclass(slots=True)
class App:
    """One app registration.

    Attributes:
        client_id: its id.
        tenant_ids: the tenants that know it.
        secrets: the valid secrets and, as False, the expired ones.
        certificates: the registered certificates by each of their thumbprints, base64url, SHA-1 and SHA-256.
        federations: the federated identity credentials.
    """

    client_id: str
    tenant_ids: set[str] = field(default_factory=set)
    secrets: dict[str, bool] = field(default_factory=dict)
    certificates: dict[str, Certificate] = field(default_factory=dict)
    federations: set[Federation] = field(default_factory=set)

    def register(self, pem: bytes) -> None:
        """Accept assertions signed with the key of this certificate (PEM) from now on."""
        from cryptography import x509  # noqa: PLC0415 - 30 ms that only certificates need
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - the same

        certificate = x509.load_pem_x509_certificate(pem)
        for thumbprint in thumbprints(certificate.public_bytes(Encoding.DER)):
            self.certificates[thumbprint] = certificate


def thumbprints(der: bytes) -> tuple[str, str]:
    """Return a certificate's SHA-1 and SHA-256 thumbprints as `x5t` and `x5t#S256` hold them, without padding."""
    digests = (hashlib.sha1(der, usedforsecurity=False), hashlib.sha256(der))
    first, second = (base64.urlsafe_b64encode(made.digest()).rstrip(b"=").decode() for made in digests)
    return first, second
