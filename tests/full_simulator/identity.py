"""Managed identities of both kinds: those of virtual machines, which the shipped simulator has, and App Service's.

https://learn.microsoft.com/azure/app-service/overview-managed-identity
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from exporter.simulator import login as shipped
from exporter.simulator.login import identify, identity_token
from exporter.simulator.messages import json_response
from tests.full_simulator.state import state_of

if TYPE_CHECKING:
    from exporter.simulator.call import Call
    from exporter.simulator.messages import Response

APP_SERVICE_PATH = "/msi/token"


def answer_identity(call: Call) -> Response:
    """Answer a request for a managed identity's token."""
    if call.request.path != APP_SERVICE_PATH:
        return shipped.answer_identity(call)
    given = call.request.headers.get("x-identity-header", "")
    if not hmac.compare_digest(given.encode(), state_of(call).identity_header.encode()):
        return json_response(401, {"statusCode": 401, "message": "Unauthorized"})
    if not identify(call):
        sentence = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
        return json_response(400, {"statusCode": 400, "message": sentence})
    failure = json_response(
        500, {"statusCode": 500, "message": "An unexpected error occured while fetching the token."}
    )
    return call.may_fail(lambda: identity_token(call) or failure)
