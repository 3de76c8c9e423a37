"""The login host: tokens for apps with a client secret.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
https://learn.microsoft.com/entra/identity-platform/reference-error-codes
https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from exporter.simulator.state import PERMISSION, json_response
from exporter.simulator.tenants import digest, make_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.state import Call, Response
    from exporter.simulator.tenants import Tenant

LIFETIME = 3599
NO_CACHE = (("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"))


class Aadsts(NamedTuple):
    """One of the token endpoint's errors; the caller fills the gaps of its sentence."""

    code: int
    status: int
    error: str
    sentence: str


UNKNOWN_TENANT = Aadsts(
    90002,
    400,
    "invalid_request",
    "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the"
    " correct cloud. Check with your subscription administrator, this may happen if there are no active"
    " subscriptions for the tenant.",
)
UNKNOWN_APP = Aadsts(
    700016,
    400,
    "unauthorized_client",
    "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the"
    " application has not been installed by the administrator of the tenant or consented to by any user in the"
    " tenant. You may have sent your authentication request to the wrong tenant.",
)
WRONG_SECRET = Aadsts(
    7000215,
    401,
    "invalid_client",
    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not"
    " the client secret ID, for a secret added to app '{app}'.",
)
EXPIRED_SECRET = Aadsts(
    7000222,
    401,
    "invalid_client",
    "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys for"
    " your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security:"
    " https://aka.ms/certCreds.",
)
_NO_CREDENTIAL = Aadsts(
    7000218,
    401,
    "invalid_client",
    "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
)
UNKNOWN_RESOURCE = Aadsts(
    500011,
    400,
    "invalid_resource",
    "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the"
    " application has not been installed by the administrator of the tenant or consented to by any user in the"
    " tenant. You might have sent your authentication request to the wrong tenant.",
)


def refusal(call: Call, error: Aadsts, **words: str) -> Response:
    """Return an error as the token endpoint answers it."""
    correlation = call.headers.get("client-request-id", make_uuid(call.simulation.seed, "correlation", call.number))
    stamp = f"{call.moment:%Y-%m-%d %H:%M:%SZ}"
    trailer = f" Trace ID: {call.request_id} Correlation ID: {correlation} Timestamp: {stamp}"
    document: dict[str, Any] = {
        "error": error.error,
        "error_description": f"AADSTS{error.code}: {error.sentence.format(**words)}{trailer}",
        "error_codes": [error.code],
        "timestamp": stamp,
        "trace_id": call.request_id,
        "correlation_id": correlation,
        "error_uri": f"{call.cloud.login}/error?code={error.code}",
    }
    return json_response(error.status, document, (*NO_CACHE, ("x-ms-request-id", call.request_id)))


def answer_login(call: Call) -> Response:
    answers: Mapping[str, tuple[str, Callable[[Call, Tenant], Response]]] = {
        "v2.0/.well-known/openid-configuration": ("discovery", _discovery),
        "oauth2/v2.0/token": ("token", token),
    }
    path = call.path.lstrip("/").partition("/")[2]
    return for_tenant(call, *answers[path]) if path in answers else json_response(404, {"error": "not_found"})


def for_tenant(call: Call, stage: str, answer: Callable[[Call, Tenant], Response]) -> Response:
    """Answer for the tenant that the path names, unless it is unknown or something goes wrong."""
    call.stage = stage
    name = call.path.lstrip("/").partition("/")[0]
    tenant = call.tenant = call.simulation.find(name)
    if tenant is None:
        return refusal(call, UNKNOWN_TENANT, tenant=name)
    return call.may_fail(lambda: answer(call, tenant))


def _discovery(call: Call, tenant: Tenant) -> Response:
    base = f"{call.cloud.login}/{tenant.tenant_id}"
    return json_response(
        200,
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        },
    )


def token(call: Call, tenant: Tenant) -> Response:
    form = form_fields(call)
    client_id, secret = form.get("client_id", "").lower(), form.get("client_secret")
    secrets = call.simulation.secrets(tenant, client_id)
    if secrets is None:
        return refusal(call, UNKNOWN_APP, app=client_id, tenant=tenant.name)
    if not secret:
        return refusal(call, _NO_CREDENTIAL)
    if secret not in secrets:
        return refusal(call, WRONG_SECRET, app=client_id)
    if call.simulation.scenario(tenant).secret_expired:
        return refusal(call, EXPIRED_SECRET, app=client_id)
    return application_token(call, tenant, client_id, form.get("scope", "").removesuffix("/.default"))


def form_fields(call: Call) -> dict[str, str]:
    return dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))


def application_token(call: Call, tenant: Tenant, client_id: str, resource: str) -> Response:
    """Return the answer to an app that has shown who it is."""
    audience = call.cloud.resources.get(resource.rstrip("/"))
    if audience is None:
        return refusal(call, UNKNOWN_RESOURCE, resource=resource, tenant=tenant.name)
    claims = application_claims(call, tenant, client_id, audience)
    return json_response(200, bearer_document(sign(call.simulation.seed, claims)), NO_CACHE)


def application_claims(call: Call, tenant: Tenant, client_id: str, audience: str) -> dict[str, Any]:
    """Return the claims of a token by which an app acts as itself: what was granted stands in `roles`."""
    claims = access_claims(call, tenant, client_id, audience) | {"idtyp": "app", "appidacr": "1"}
    if call.simulation.scenario(tenant).consent:
        claims["roles"] = [PERMISSION]
    return claims


def access_claims(call: Call, tenant: Tenant, client_id: str, audience: str) -> dict[str, Any]:
    """Return the claims that every access token has."""
    issued = int(call.now)
    principal = make_uuid(call.simulation.seed, "principal", tenant.name, client_id)
    return {
        "aud": audience,
        "iss": f"{call.cloud.login}/{tenant.tenant_id}/",
        "iat": issued,
        "nbf": issued,
        "exp": issued + LIFETIME,
        "aio": encode_part(call.request_id.encode()),
        "app_displayname": "office365-activations-exporter",
        "appid": client_id,
        "idp": f"{call.cloud.login}/{tenant.tenant_id}/",
        "oid": principal,
        "sub": principal,
        "tid": tenant.tenant_id,
        "tenant_region_scope": "EU",
        "use": "access",
        "number": call.number,
        "ver": "1.0",
    }


def bearer_document(token: str) -> dict[str, Any]:
    """Return what every good answer of the token endpoint says."""
    return {"token_type": "Bearer", "expires_in": LIFETIME, "ext_expires_in": LIFETIME, "access_token": token}


# Texts that only this simulation can have written


def sign(seed: int, claims: Mapping[str, Any]) -> str:
    """Return `claims` in the form of a JWT: header.payload.signature, which is as long as Microsoft's (RS256)."""
    header = {"typ": "JWT", "alg": "RS256", "kid": "simulation"}
    signed = ".".join(encode_part(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{_signature(seed, signed)}"


def read_signed(seed: int, text: str) -> dict[str, Any]:
    """Return the claims of a text that was signed with this seed; none of any other text."""
    signed, _, signature = text.rpartition(".")
    if not hmac.compare_digest(_signature(seed, signed).encode(), signature.encode()):
        return {}
    payload = signed.partition(".")[2]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def encode_part(data: bytes) -> str:
    """Return base64url without padding, as JWT uses it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signature(seed: int, signed: str) -> str:
    return encode_part(hmac.digest(digest(seed, "signature", size=32), signed.encode(), "sha256") * 8)
