"""Managed identities: those of virtual machines and App Service's.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
https://learn.microsoft.com/azure/app-service/overview-managed-identity
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from exporter.simulator.login import LIFETIME, application_claims, sign
from exporter.simulator.state import json_response
from exporter.simulator.tenants import make_uuid
from tests.full_simulator.login import full

if TYPE_CHECKING:
    from exporter.simulator.state import Call, Response

APP_SERVICE_PATH = "/msi/token"
_IMDS_PATH = "/metadata/identity/oauth2/token"


def answer_identity(call: Call) -> Response:
    """Answer a request for a managed identity's token."""
    call.stage = "token"
    if call.path == _IMDS_PATH:
        return _answer_imds(call)
    if call.path == APP_SERVICE_PATH:
        return _answer_app_service(call)
    return json_response(404, {"error": "not_found"})


def _answer_imds(call: Call) -> Response:
    if call.headers.get("metadata", "").lower() != "true":
        return _imds_error("Required metadata header not specified")
    if not _identify(call):
        return _imds_error("Identity not found")
    return call.may_fail(lambda: _token(call) or _imds_error("Invalid resource"))


def _imds_error(sentence: str) -> Response:
    return json_response(400, {"error": "invalid_request", "error_description": sentence})


def _answer_app_service(call: Call) -> Response:
    given = call.headers.get("x-identity-header", "")
    if not hmac.compare_digest(given.encode(), full(call).identity_header.encode()):
        return json_response(401, {"statusCode": 401, "message": "Unauthorized"})
    if not _identify(call):
        sentence = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
        return json_response(400, {"statusCode": 400, "message": sentence})
    failure = json_response(
        500, {"statusCode": 500, "message": "An unexpected error occured while fetching the token."}
    )
    return call.may_fail(lambda: _token(call) or failure)


def _identify(call: Call) -> bool:
    """Set the call's tenant: a user-assigned identity goes by its client id, the machine's own by the simulator."""
    client_id, simulator = call.query.get("client_id"), full(call)
    call.tenant = simulator.find(simulator.system_identity) if client_id is None else simulator.home(client_id)
    return call.tenant is not None


def _token(call: Call) -> Response | None:
    """Return a token for the identity, or None where there is no such resource."""
    tenant, resource = call.tenant, call.query.get("resource", "")
    audience = call.cloud.resources.get(resource.rstrip("/"))
    if tenant is None or audience is None:
        return None
    client_id = call.query.get("client_id") or make_uuid(call.simulation.seed, "system identity")
    document: dict[str, Any] = {
        "access_token": sign(call.simulation.seed, application_claims(call, tenant, client_id, audience)),
        "client_id": client_id,
        "expires_in": str(LIFETIME),
        "expires_on": str(int(call.now) + LIFETIME),
        "resource": resource,
        "token_type": "Bearer",
    }
    return json_response(200, document)
