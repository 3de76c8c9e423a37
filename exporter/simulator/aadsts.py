"""The token endpoint's errors, in Microsoft's shape.

https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from exporter.simulator.messages import Response, json_response
from exporter.simulator.tenants import make_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.simulator.call import Call

NO_CACHE = (("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"))


class _Error(NamedTuple):
    status: int
    error: str
    sentence: str  # where it has gaps, the caller fills them


_ERRORS: Mapping[int, _Error] = {
    50020: _Error(
        400,
        "invalid_grant",
        "User account '{user}' from identity provider 'live.com' does not exist in tenant '{tenant}' and cannot access"
        " the application '{app}' in that tenant. The account needs to be added as an external user in the tenant"
        " first.",
    ),
    50059: _Error(400, "invalid_request", "No tenant-identifying information found in either the request or implied."),
    50173: _Error(
        400,
        "invalid_grant",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have"
        " changed or reset their password.",
    ),
    53003: _Error(
        400,
        "invalid_grant",
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
    ),
    65001: _Error(
        400,
        "invalid_grant",
        "The user or administrator has not consented to use the application with ID '{app}'. Send an interactive"
        " authorization request for this user and resource.",
    ),
    65004: _Error(400, "authorization_declined", "User declined to consent to access the app."),
    70000: _Error(400, "invalid_grant", "The provided value for the input parameter '{field}' is not valid."),
    70003: _Error(400, "unsupported_grant_type", "The app requested an unsupported grant type '{grant}'."),
    70011: _Error(400, "invalid_scope", "The provided request must include a 'scope' input parameter."),
    70016: _Error(
        400,
        "authorization_pending",
        "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    ),
    70020: _Error(
        400,
        "expired_token",
        "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
    ),
    90002: _Error(
        400,
        "invalid_request",
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the"
        " correct cloud. Check with your subscription administrator, this may happen if there are no active"
        " subscriptions for the tenant.",
    ),
    500011: _Error(
        400,
        "invalid_resource",
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the"
        " application has not been installed by the administrator of the tenant or consented to by any user in the"
        " tenant. You might have sent your authentication request to the wrong tenant.",
    ),
    700016: _Error(
        400,
        "unauthorized_client",
        "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the"
        " application has not been installed by the administrator of the tenant or consented to by any user in the"
        " tenant. You may have sent your authentication request to the wrong tenant.",
    ),
    700023: _Error(401, "invalid_client", "Client assertion audience claim does not match Realm issuer."),
    700024: _Error(401, "invalid_client", "Client assertion is not within its valid time range."),
    700027: _Error(
        401,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application."
        " [Reason - {reason}, Thumbprint of key used by client: '{thumbprint}', Please visit the Azure Portal, Graph"
        " Explorer or directly use MS Graph to see configured keys for app Id '{app}'.]",
    ),
    700211: _Error(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion issuer '{issuer}'. Check your federated"
        " identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    700212: _Error(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion audience '{audience}'. Check your"
        " federated identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    700213: _Error(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion subject '{subject}'. Check your federated"
        " identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    900144: _Error(400, "invalid_request", "The request body must contain the following parameter: '{field}'."),
    1002012: _Error(
        400,
        "invalid_scope",
        "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with"
        " /.default suffixed to the resource identifier (application ID URI).",
    ),
    5002723: _Error(401, "invalid_client", "Invalid JWT token. The client assertion cannot be read."),
    7000215: _Error(
        401,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not"
        " the client secret ID, for a secret added to app '{app}'.",
    ),
    7000218: _Error(
        401,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    7000222: _Error(
        401,
        "invalid_client",
        "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys for"
        " your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security:"
        " https://aka.ms/certCreds.",
    ),
    7000229: _Error(
        401,
        "invalid_client",
        "The client application {app} is missing service principal in the tenant {tenant}. See instructions here:"
        " https://go.microsoft.com/fwlink/?linkid=2225119",
    ),
}


class AadstsError(Exception):
    """The token endpoint refuses: by this number, with these words in the gaps of its sentence."""

    def __init__(self, code: int, **words: str) -> None:
        super().__init__(code)
        self.code = code
        self.words = words


def refusal(call: Call, code: int, **words: str) -> Response:
    """Return the token endpoint's answer for an AADSTS code."""
    status, error, sentence = _ERRORS[code]
    correlation = call.request.headers.get("client-request-id", make_uuid(call.state.seed, "correlation", call.number))
    stamp = f"{call.moment:%Y-%m-%d %H:%M:%SZ}"
    trailer = f" Trace ID: {call.request_id} Correlation ID: {correlation} Timestamp: {stamp}"
    document: dict[str, Any] = {
        "error": error,
        "error_description": f"AADSTS{code}: {sentence.format(**words)}{trailer}",
        "error_codes": [code],
        "timestamp": stamp,
        "trace_id": call.request_id,
        "correlation_id": correlation,
        "error_uri": f"{call.request.cloud.login}/error?code={code}",
    }
    if code == 53003:  # noqa: PLR2004 - the number is the name
        document |= {"suberror": "message_only", "claims": '{"access_token":{"capolids":{"essential":true}}}'}
    return json_response(status, document, (*NO_CACHE, ("x-ms-request-id", call.request_id)))
