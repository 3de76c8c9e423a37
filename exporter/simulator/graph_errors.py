"""Graph's errors, in Microsoft's shape.

https://learn.microsoft.com/graph/errors
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from exporter.simulator.messages import Response, json_response

if TYPE_CHECKING:
    from exporter.simulator.call import Call

INVALID_TOKEN = "InvalidAuthenticationToken"  # noqa: S105 - an error's code
_CHALLENGE = (
    'Bearer realm="", authorization_uri="{login}/common/oauth2/authorize",'
    ' client_id="00000003-0000-0000-c000-000000000000"'
)


def error_document(call: Call, code: str, message: str) -> dict[str, Any]:
    """Return the JSON of an error."""
    ids = {"request-id": call.request_id, "client-request-id": client_request_id(call)}
    inner = {"date": f"{call.moment:%Y-%m-%dT%H:%M:%S}", **ids}
    return {"error": {"code": code, "message": message, "innerError": inner}}


def graph_error(
    call: Call, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return an error as Graph answers it."""
    return json_response(status, error_document(call, code, message), headers)


def wrapped_error(call: Call, status: int, code: str, message: str) -> Response:
    """Return an error as Graph's reports often answer it: the real one as text inside the message of another."""
    return graph_error(call, status, "UnknownError", json.dumps(error_document(call, code, message)))


def unauthorized(call: Call, message: str, challenge: str = "") -> Response:
    """Return a 401; `challenge` is added to WWW-Authenticate."""
    value = _CHALLENGE.format(login=call.request.cloud.login) + challenge
    return graph_error(call, 401, INVALID_TOKEN, message, (("WWW-Authenticate", value),))


def throttled(call: Call, retry_after: str | None, code: str = "TooManyRequests") -> Response:
    """Return a 429 with that Retry-After, or without one."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    message = "This request is throttled. Please try again after the value specified in the Retry-After header."
    return graph_error(call, 429, code, message, headers)


def unknown_segment(call: Call, segment: str) -> Response:
    """Return the 400 for a function that this version or cloud does not have."""
    return graph_error(call, 400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def client_request_id(call: Call) -> str:
    """Return the client's own id of the request, or Graph's where it sent none."""
    return call.request.headers.get("client-request-id", call.request_id)
