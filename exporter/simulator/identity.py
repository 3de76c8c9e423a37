"""Managed identities of virtual machines: the address (IMDS) that only programs inside Azure can reach.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.simulator.chance import make_uuid
from exporter.simulator.login import LIFETIME, application_claims
from exporter.simulator.messages import json_response

if TYPE_CHECKING:
    from exporter.simulator.call import Call
    from exporter.simulator.messages import Response

IMDS_PATH = "/metadata/identity/oauth2/token"


def answer_identity(call: Call) -> Response:
    """Answer a request for a managed identity's token."""
    if call.request.path != IMDS_PATH:
        return json_response(404, {"error": "not_found"})
    if call.request.headers.get("metadata", "").lower() != "true":
        return _error("Required metadata header not specified")
    if not identify(call):
        return _error("Identity not found")
    return call.may_fail(lambda: identity_token(call) or _error("Invalid resource"))


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


def _error(sentence: str) -> Response:
    return json_response(400, {"error": "invalid_request", "error_description": sentence})
