"""Client assertions: a JWT signed with a certificate's key, or a token of somebody we trust.

https://learn.microsoft.com/entra/identity-platform/certificate-credentials
https://learn.microsoft.com/entra/workload-id/workload-identity-federation
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from exporter.simulator.aadsts import AadstsError
from exporter.simulator.tokens import decode_part, encode_part, read_claims

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from exporter.simulator.apps import App, Federation
    from exporter.simulator.call import Call
    from exporter.simulator.tenants import Tenant

_SKEW = 300


def check_assertion(call: Call, tenant: Tenant, app: App, assertion: str) -> None:
    """Raise AadstsError unless the assertion proves that the caller is `app`."""
    try:
        claims = read_claims(assertion)
        header = json.loads(decode_part(assertion.partition(".")[0]))
    except ValueError:
        raise AadstsError(5002723) from None
    if claims.get("iss") == app.client_id:
        _check_certificate(call, app, assertion, header)
        _check_audience(call, tenant, str(claims.get("aud")))
    else:
        _check_federation(app, claims)
    if not claims.get("nbf", call.now) - _SKEW <= call.now <= claims.get("exp", 0.0) + _SKEW:
        raise AadstsError(700024)


def federated_assertion(federation: Federation, now: float) -> str:
    """Return a token as the federation's issuer would write it, valid for an hour; nobody checks its signature."""
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


def _check_certificate(call: Call, app: App, assertion: str, header: dict[str, Any]) -> None:
    thumbprint = str(header.get("x5t#S256") or header.get("x5t") or "").rstrip("=")
    certificate = app.certificates.get(thumbprint)
    reason = ""
    if certificate is None:
        reason = "The key was not found."
    elif not _is_signed(certificate, assertion, str(header.get("alg"))):
        reason = "The key was found, but use of the key to verify the signature failed."
    elif certificate.not_valid_after_utc < call.moment:
        reason = "The key used is expired."
    if reason:
        shown = decode_part(thumbprint).hex().upper() if thumbprint else ""
        raise AadstsError(700027, reason=reason, thumbprint=shown, app=app.client_id)


def _is_signed(certificate: Certificate, assertion: str, algorithm: str) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - 30 ms that only certificates need
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - the same

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
    login = call.request.cloud.login
    bases = [f"{login}/{name}" for name in (tenant.tenant_id, tenant.domain)]
    if audience not in [f"{base}/{path}" for base in bases for path in ("oauth2/v2.0/token", "oauth2/token", "v2.0")]:
        raise AadstsError(700023)


def _check_federation(app: App, claims: dict[str, Any]) -> None:
    issuer, subject, audience = str(claims.get("iss")), str(claims.get("sub")), claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    issued = [federation for federation in app.federations if federation.issuer == issuer]
    if not issued:
        raise AadstsError(700211, issuer=issuer)
    meant = [federation for federation in issued if federation.subject == subject]
    if not meant:
        raise AadstsError(700213, subject=subject)
    if not any(federation.audience in audiences for federation in meant):
        raise AadstsError(700212, audience=str(audience))
