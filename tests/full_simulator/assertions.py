"""Client assertions: a JWT signed with a certificate's key, or a token of a trusted issuer.

https://learn.microsoft.com/entra/identity-platform/certificate-credentials
https://learn.microsoft.com/entra/workload-id/workload-identity-federation
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificate

from exporter.simulator.login import Aadsts, encode_part

if TYPE_CHECKING:
    from exporter.simulator.state import Call
    from exporter.simulator.tenants import Tenant

# What AKS workload identity and every other federation puts in an assertion's `aud`.
FEDERATION_AUDIENCE = "api://AzureADTokenExchange"
_SKEW = 300

WRONG_CERTIFICATE = Aadsts(
    700027,
    401,
    "invalid_client",
    "The certificate with identifier used to sign the client assertion is not registered on application."
    " [Reason - {reason}, Thumbprint of key used by client: '{thumbprint}', Please visit the Azure Portal, Graph"
    " Explorer or directly use MS Graph to see configured keys for app Id '{app}'.]",
)
_WRONG_AUDIENCE = Aadsts(700023, 401, "invalid_client", "Client assertion audience claim does not match Realm issuer.")
_WRONG_TIME = Aadsts(700024, 401, "invalid_client", "Client assertion is not within its valid time range.")
_UNREADABLE = Aadsts(5002723, 401, "invalid_client", "Invalid JWT token. The client assertion cannot be read.")


def _no_federation(code: int, field: str) -> Aadsts:
    return Aadsts(
        code,
        401,
        "invalid_client",
        f"No matching federated identity record found for presented assertion {field} '{{{field}}}'. Check your"
        " federated identity credential Subject, Audience and Issuer against the presented assertion.",
    )


class RefusedError(Exception):
    """The token endpoint refuses: by this error, with these words in the gaps of its sentence."""

    def __init__(self, error: Aadsts, **words: str) -> None:
        super().__init__(error.code)
        self.error = error
        self.words = words


@dataclass(frozen=True, slots=True)
class Federation:
    """A federated identity credential: tokens of this issuer for this subject and audience are as good as a secret."""

    issuer: str
    subject: str
    audience: str = FEDERATION_AUDIENCE


@dataclass(slots=True)
class Proofs:
    """What an app may show in place of a secret.

    Attributes:
        certificates: by each of their thumbprints, base64url, SHA-1 and SHA-256.
        federations: federated identity credentials.
    """

    certificates: dict[str, Certificate] = field(default_factory=dict)
    federations: set[Federation] = field(default_factory=set)

    def register(self, pem: bytes) -> None:
        """Accept assertions signed with the key of this certificate (PEM) from now on."""
        certificate = load_pem_x509_certificate(pem)
        der = certificate.public_bytes(Encoding.DER)
        for made in (hashlib.sha1(der, usedforsecurity=False), hashlib.sha256(der)):
            self.certificates[encode_part(made.digest())] = certificate


def decode_part(text: str) -> bytes:
    """Return the bytes of base64url without padding; ValueError if it is none."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of any JWT without checking its signature; ValueError if it is none."""
    claims = json.loads(decode_part(token.split(".")[1])) if token.count(".") == 2 else None
    if not isinstance(claims, dict):
        raise ValueError("not a JWT")  # noqa: TRY004 - the text is wrong, not its type
    return claims


def check_assertion(call: Call, tenant: Tenant, client_id: str, proofs: Proofs, assertion: str) -> None:
    """Raise RefusedError unless the assertion proves that the caller is the app."""
    try:
        claims = read_claims(assertion)
        header = json.loads(decode_part(assertion.partition(".")[0]))
    except ValueError:
        raise RefusedError(_UNREADABLE) from None
    if claims.get("iss") == client_id:
        _check_certificate(call, client_id, proofs, assertion, header)
        _check_audience(call, tenant, str(claims.get("aud")))
    else:
        _check_federation(proofs, claims)
    if not claims.get("nbf", call.now) - _SKEW <= call.now <= claims.get("exp", 0.0) + _SKEW:
        raise RefusedError(_WRONG_TIME)


def federated_assertion(federation: Federation, now: float) -> str:
    """Return a token as the federation's issuer would write it, valid for an hour; its signature is not checked."""
    claims = {
        "iss": federation.issuer,
        "sub": federation.subject,
        "aud": [federation.audience],
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + 3600,
    }
    header = {"typ": "JWT", "alg": "RS256", "kid": "simulation"}
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), b"unsigned")
    return ".".join(encode_part(part) for part in parts)


def _check_certificate(call: Call, client_id: str, proofs: Proofs, assertion: str, header: dict[str, Any]) -> None:
    thumbprint = str(header.get("x5t#S256") or header.get("x5t") or "").rstrip("=")
    certificate = proofs.certificates.get(thumbprint)
    reason = ""
    if certificate is None:
        reason = "The key was not found."
    elif not _is_signed(certificate, assertion, str(header.get("alg"))):
        reason = "The key was found, but use of the key to verify the signature failed."
    elif certificate.not_valid_after_utc < call.moment:
        reason = "The key used is expired."
    if reason:
        shown = decode_part(thumbprint).hex().upper() if thumbprint else ""
        raise RefusedError(WRONG_CERTIFICATE, reason=reason, thumbprint=shown, app=client_id)


def _is_signed(certificate: Certificate, assertion: str, algorithm: str) -> bool:
    schemes = {"RS256": padding.PKCS1v15(), "PS256": padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)}
    key, scheme = certificate.public_key(), schemes.get(algorithm)
    if scheme is None or not isinstance(key, rsa.RSAPublicKey):
        return False
    signed, _, signature = assertion.rpartition(".")
    try:
        key.verify(decode_part(signature), signed.encode(), scheme, SHA256())
    except InvalidSignature:
        return False
    return True


def _check_audience(call: Call, tenant: Tenant, audience: str) -> None:
    """Take the token endpoint or the issuer, with the tenant by id or by domain."""
    login = call.cloud.login
    bases = [f"{login}/{name}" for name in (tenant.tenant_id, tenant.domain)]
    if audience not in [f"{base}/{path}" for base in bases for path in ("oauth2/v2.0/token", "oauth2/token", "v2.0")]:
        raise RefusedError(_WRONG_AUDIENCE)


def _check_federation(proofs: Proofs, claims: dict[str, Any]) -> None:
    issuer, subject, audience = str(claims.get("iss")), str(claims.get("sub")), claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    issued = [federation for federation in proofs.federations if federation.issuer == issuer]
    if not issued:
        raise RefusedError(_no_federation(700211, "issuer"), issuer=issuer)
    meant = [federation for federation in issued if federation.subject == subject]
    if not meant:
        raise RefusedError(_no_federation(700213, "subject"), subject=subject)
    if not any(federation.audience in audiences for federation in meant):
        raise RefusedError(_no_federation(700212, "audience"), audience=str(audience))
