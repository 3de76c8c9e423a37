"""Managed identities: the address that only programs inside Azure can reach.

IMDS: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
App Service: https://learn.microsoft.com/azure/app-service/overview-managed-identity
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from exporter.simulator.issuing import LIFETIME, application_claims
from exporter.simulator.messages import Response, json_response
from exporter.simulator.tenants import make_uuid

if TYPE_CHECKING:
    from exporter.simulator.call import Call

IMDS_PATH = "/metadata/identity/oauth2/token"
APP_SERVICE_PATH = "/msi/token"


def answer_identity(call: Call) -> Response:
    """Answer a request for a managed identity's token."""
    if call.request.path == IMDS_PATH:
        return _imds(call)
    return _app_service(call)


def _imds(call: Call) -> Response:
    if call.request.headers.get("metadata", "").lower() != "true":
        return _imds_error("Required metadata header not specified")
    if not _identify(call):
        return _imds_error("Identity not found")
    return call.may_fail(lambda: _issue(call) or _imds_error("Invalid resource"))


def _app_service(call: Call) -> Response:
    given = call.request.headers.get("x-identity-header", "")
    if not hmac.compare_digest(given.encode(), call.state.identity_header.encode()):
        return json_response(401, {"statusCode": 401, "message": "Unauthorized"})
    if not _identify(call):
        sentence = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
        return json_response(400, {"statusCode": 400, "message": sentence})
    failure = json_response(
        500, {"statusCode": 500, "message": "An unexpected error occured while fetching the token."}
    )
    return call.may_fail(lambda: _issue(call) or failure)


def _identify(call: Call) -> bool:
    """Set the call's tenant: a user-assigned identity goes by its client id, the machine's own by the state."""
    client_id = call.request.query.get("client_id")
    if client_id is None:
        call.tenant = call.state.find(call.state.system_identity)
    else:
        app = call.state.app(client_id)
        home = min(app.tenant_ids) if app and app.tenant_ids else ""
        call.tenant = call.state.find(home)
    return call.tenant is not None


def _issue(call: Call) -> Response | None:
    tenant, resource = call.tenant, call.request.query.get("resource", "")
    audience = call.request.cloud.audience(resource)
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


def _imds_error(sentence: str) -> Response:
    return json_response(400, {"error": "invalid_request", "error_description": sentence})
