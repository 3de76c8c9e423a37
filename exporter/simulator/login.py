"""Where tokens come from: the login host for apps with a client secret, and managed identities of virtual machines.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
https://learn.microsoft.com/entra/identity-platform/reference-error-codes
https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from exporter.simulator.messages import Stage, json_response
from exporter.simulator.state import PERMISSION, encode_part
from exporter.simulator.tenants import make_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.call import Call
    from exporter.simulator.messages import Response
    from exporter.simulator.state import App
    from exporter.simulator.tenants import Tenant

LIFETIME = 3599
IMDS_PATH = "/metadata/identity/oauth2/token"
NO_CACHE = (("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"))
_STAGES: Mapping[str, Stage] = {
    "v2.0/.well-known/openid-configuration": Stage.DISCOVERY,
    "oauth2/v2.0/token": Stage.TOKEN,
}


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
_MISSING_FIELD = Aadsts(
    900144, 400, "invalid_request", "The request body must contain the following parameter: '{field}'."
)
_UNSUPPORTED_GRANT = Aadsts(
    70003, 400, "unsupported_grant_type", "The app requested an unsupported grant type '{grant}'."
)
_INVALID_SCOPE = Aadsts(
    1002012,
    400,
    "invalid_scope",
    "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with"
    " /.default suffixed to the resource identifier (application ID URI).",
)
_UNKNOWN_RESOURCE = Aadsts(
    500011,
    400,
    "invalid_resource",
    "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the"
    " application has not been installed by the administrator of the tenant or consented to by any user in the"
    " tenant. You might have sent your authentication request to the wrong tenant.",
)


class RefusedError(Exception):
    """The token endpoint refuses: by this error, with these words in the gaps of its sentence."""

    def __init__(self, error: Aadsts, **words: str) -> None:
        super().__init__(error.code)
        self.error = error
        self.words = words


def refusal(call: Call, error: Aadsts, **words: str) -> Response:
    """Return an error as the token endpoint answers it."""
    correlation = call.request.headers.get("client-request-id", make_uuid(call.state.seed, "correlation", call.number))
    stamp = f"{call.moment:%Y-%m-%d %H:%M:%SZ}"
    trailer = f" Trace ID: {call.request_id} Correlation ID: {correlation} Timestamp: {stamp}"
    document: dict[str, Any] = {
        "error": error.error,
        "error_description": f"AADSTS{error.code}: {error.sentence.format(**words)}{trailer}",
        "error_codes": [error.code],
        "timestamp": stamp,
        "trace_id": call.request_id,
        "correlation_id": correlation,
        "error_uri": f"{call.request.cloud.login}/error?code={error.code}",
    }
    return json_response(error.status, document, (*NO_CACHE, ("x-ms-request-id", call.request_id)))


def login_stage(path: str) -> Stage | None:
    """Return the step that a path of the login host stands for, or None."""
    return _STAGES.get(path.lstrip("/").partition("/")[2])


def answer_login(call: Call) -> Response:
    return for_tenant(call, discovery if call.stage is Stage.DISCOVERY else _token)


def for_tenant(call: Call, answer: Callable[[Call, Tenant], Response]) -> Response:
    """Answer for the tenant that the path names, unless it is unknown or something goes wrong."""
    name = call.request.path.lstrip("/").partition("/")[0]
    tenant = call.tenant = call.state.find(name)
    if tenant is None:
        return refusal(call, UNKNOWN_TENANT, tenant=name)

    def good() -> Response:
        try:
            return answer(call, tenant)
        except RefusedError as refused:
            return refusal(call, refused.error, **refused.words)

    return call.may_fail(good)


def discovery(call: Call, tenant: Tenant) -> Response:
    base = f"{call.request.cloud.login}/{tenant.tenant_id}"
    return json_response(
        200,
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "cloud_instance_name": call.request.cloud.login.partition("//")[2],
            "msgraph_host": call.request.cloud.graph.partition("//")[2],
        },
    )


def form_fields(call: Call) -> dict[str, str]:
    """Return the fields of the form in the body, with id and secret from HTTP basic authentication."""
    form = dict(parse_qsl(call.request.body.decode("utf-8", "replace"), keep_blank_values=True))
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        user, _, password = base64.b64decode(value).decode().partition(":")
        form |= {"client_id": unquote_plus(user), "client_secret": unquote_plus(password)}
    return form


def required(form: Mapping[str, str], field: str) -> str:
    """Return a field of the form; RefusedError where it is missing."""
    value = form.get(field)
    if not value:
        raise RefusedError(_MISSING_FIELD, field=field)
    return value


def known_app(call: Call, tenant: Tenant, form: Mapping[str, str]) -> App:
    """Return the app that the form names; RefusedError where the tenant does not know it."""
    client_id = required(form, "client_id")
    app = call.state.apps.get(client_id.lower())
    if app is None or tenant.tenant_id not in app.tenant_ids:
        raise RefusedError(UNKNOWN_APP, app=client_id, tenant=tenant.name)
    return app


def audience_of(call: Call, tenant: Tenant, resource: str) -> str:
    """Return the audience of a token for a resource; RefusedError where this login does not know it."""
    audience = call.request.cloud.resources.get(resource.rstrip("/"))
    if audience is None:
        raise RefusedError(_UNKNOWN_RESOURCE, resource=resource, tenant=tenant.name)
    return audience


def application_token(call: Call, tenant: Tenant, client_id: str, form: Mapping[str, str]) -> Response:
    """Return the answer to an app that has shown who it is."""
    scope = required(form, "scope")
    resource, default, rest = scope.partition("/.default")
    if not default or rest:
        raise RefusedError(_INVALID_SCOPE, scope=scope)
    claims = application_claims(call, tenant, client_id, audience_of(call, tenant, resource))
    return json_response(200, bearer_document(call.state.seal.close(claims)), NO_CACHE)


def application_claims(call: Call, tenant: Tenant, client_id: str, audience: str) -> dict[str, Any]:
    """Return the claims of a token by which an app acts as itself: what was granted stands in `roles`."""
    claims = access_claims(call, tenant, client_id, audience) | {"idtyp": "app", "appidacr": "1"}
    if call.state.has_consent(tenant):
        claims["roles"] = [PERMISSION]
    return claims


def access_claims(call: Call, tenant: Tenant, client_id: str, audience: str) -> dict[str, Any]:
    """Return the claims that every access token has."""
    issued = int(call.now)
    principal = make_uuid(call.state.seed, "principal", tenant.name, client_id)
    return {
        "aud": audience,
        "iss": f"{call.request.cloud.login}/{tenant.tenant_id}/",
        "iat": issued,
        "nbf": issued,
        "exp": issued + LIFETIME,
        "aio": encode_part(call.request_id.encode()),
        "app_displayname": "office365-activations-exporter",
        "appid": client_id,
        "idp": f"{call.request.cloud.login}/{tenant.tenant_id}/",
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


def _token(call: Call, tenant: Tenant) -> Response:
    form = form_fields(call)
    grant = required(form, "grant_type")
    app = known_app(call, tenant, form)
    if grant != "client_credentials":
        raise RefusedError(_UNSUPPORTED_GRANT, grant=grant)
    secret = form.get("client_secret")
    if not secret:
        raise RefusedError(_NO_CREDENTIAL)
    if secret not in app.secrets:
        raise RefusedError(WRONG_SECRET, app=app.client_id)
    if call.state.secret_is_expired(tenant, secret):
        raise RefusedError(EXPIRED_SECRET, app=app.client_id)
    return application_token(call, tenant, app.client_id, form)


# Managed identities


def answer_identity(call: Call) -> Response:
    if call.request.path != IMDS_PATH:
        return json_response(404, {"error": "not_found"})
    if call.request.headers.get("metadata", "").lower() != "true":
        return _identity_error("Required metadata header not specified")
    if not identify(call):
        return _identity_error("Identity not found")
    return call.may_fail(lambda: identity_token(call) or _identity_error("Invalid resource"))


def identify(call: Call) -> bool:
    """Set the call's tenant: a user-assigned identity goes by its client id, the machine's own by the state."""
    client_id = call.request.query.get("client_id")
    if client_id is None:
        call.tenant = call.state.find(call.state.system_identity)
    else:
        app = call.state.apps.get(client_id.lower())
        home = min(app.tenant_ids) if app and app.tenant_ids else ""
        call.tenant = call.state.find(home)
    return call.tenant is not None


def identity_token(call: Call) -> Response | None:
    """Return a token for the identity, or None where there is no such resource."""
    tenant, resource = call.tenant, call.request.query.get("resource", "")
    audience = call.request.cloud.resources.get(resource.rstrip("/"))
    if tenant is None or audience is None:
        return None
    client_id = call.request.query.get("client_id") or make_uuid(call.state.seed, "system identity")
    document: dict[str, Any] = {
        "access_token": call.state.seal.close(application_claims(call, tenant, client_id, audience)),
        "client_id": client_id,
        "expires_in": str(LIFETIME),
        "expires_on": str(int(call.now) + LIFETIME),
        "resource": resource,
        "token_type": "Bearer",
    }
    return json_response(200, document)


def _identity_error(sentence: str) -> Response:
    return json_response(400, {"error": "invalid_request", "error_description": sentence})
