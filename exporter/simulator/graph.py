"""Graph: authorisation, limits, versions and the answer to a report's function.

https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
"""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from exporter.simulator.download import signed_address
from exporter.simulator.graph_errors import (
    client_request_id,
    graph_error,
    throttled,
    unauthorized,
    unknown_segment,
)
from exporter.simulator.issuing import PERMISSION, PERSONAL_TENANT
from exporter.simulator.messages import Response
from exporter.simulator.reports import BY_FUNCTION

if TYPE_CHECKING:
    from exporter.simulator.call import Call

_VERSIONS = ("v1.0", "beta")
_JSON, _CSV = "application/json", "text/csv"
# The directory roles that may read reports, by template id: Global Administrator, Exchange, SharePoint, Skype for
# Business, Teams and Teams Communications Administrator, Global Reader, Usage Summary Reports and Reports Reader.
# https://learn.microsoft.com/graph/reportroot-authorization
_READERS = frozenset(
    (
        "62e90394-69f5-4237-9190-012177145e10",
        "29232cdf-9323-42fd-ade2-1d097af3e4de",
        "f28a1f50-f6e7-4571-818b-6a12f2af6b6c",
        "75941009-915a-4869-abe7-691bff18279e",
        "69091246-20e8-4a56-aa4d-066075b2a7a8",
        "baf37b3a-610e-45da-9e62-d9d1e5e8914b",
        "f2ef992c-3afb-46b9-b7cf-a126ee74c451",
        "75934031-6c7e-415a-99d7-48dbd49e875e",
        "4a5d8f65-41da-4de4-8968-e035b65339cf",
    )
)


def answer_graph(call: Call) -> Response:
    """Answer a request to Graph."""
    response = _answer(call)
    ids = (("request-id", call.request_id), ("client-request-id", client_request_id(call)))
    common = (*ids, ("Date", format_datetime(call.moment, usegmt=True)), ("Cache-Control", "no-store"))
    return Response(response.status, (*common, *response.headers), response.body, response.wire)


def _answer(call: Call) -> Response:
    version, _, rest = call.request.path.strip("/").partition("/")
    function = rest.removeprefix("reports/").removesuffix("()")
    call.report = BY_FUNCTION.get(function)
    claims = call.state.seal.open(_bearer(call))
    refused = _authenticate(call, claims)
    if refused or claims is None:
        return refused or unauthorized(call, "Access token is empty.")
    if call.request.method != "GET":
        return graph_error(
            call, 405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target."
        )
    if call.report is None or version not in _VERSIONS:
        return unknown_segment(call, function or version)
    return _limited(call, claims, version)


def _limited(call: Call, claims: dict[str, Any], version: str) -> Response:
    call.json = call.request.query.get("$format") == _JSON
    tenant, report = call.subject()
    wait = call.state.admit(tenant, claims["appid"], report.name, json=call.json, now=call.now)
    if wait:
        return throttled(call, str(wait))
    return call.may_fail(lambda: _read(call, claims, version), data=call.json)


def _bearer(call: Call) -> str:
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _authenticate(call: Call, claims: dict[str, Any] | None) -> Response | None:
    """Set the call's tenant from its token; return the refusal, if it is refused."""
    if not _bearer(call):
        return unauthorized(call, "Access token is empty.")
    if claims is None or claims.get("use") != "access":
        return unauthorized(call, "CompactToken parsing failed with error code: 80049217")
    if claims["tid"] == PERSONAL_TENANT:
        return graph_error(call, 403, "UnknownError", "Personal Microsoft accounts are not supported.")
    call.tenant = call.state.find(claims["tid"])
    wrong = _what_is_wrong(call, claims)
    return unauthorized(call, wrong) if wrong else None


def _what_is_wrong(call: Call, claims: dict[str, Any]) -> str:
    """Return why a token that we issued is not taken, or an empty string."""
    if call.tenant is None or claims["aud"] != call.request.cloud.graph:
        return "Access token validation failure. Invalid audience."
    if claims["exp"] <= call.now:
        return "Lifetime validation failed, the token is expired."
    return "Access token has been revoked." if call.state.is_revoked(call.tenant, claims["number"]) else ""


def _read(call: Call, claims: dict[str, Any], version: str) -> Response:
    """Return the report, once nothing but the request itself can be wrong."""
    wanted = call.request.query.get("$format", _CSV)
    if version == "v1.0" and not call.request.cloud.v1:
        return unknown_segment(call, call.subject()[1].function)
    if wanted not in (_CSV, _JSON) or (call.json and version == "v1.0"):
        return graph_error(call, 400, "UnknownError", f"{'JSON' if call.json else wanted} format is not supported.")
    refused = _permit(call, claims)
    if refused:
        return refused
    if call.json:
        skip = call.request.query.get("$skiptoken", "0")
        return Response(200, (("Content-Type", _JSON),), call.data(call.lines()[int(skip) :]))
    return Response(302, (("Content-Type", "text/plain"), ("Location", signed_address(call))))


def _permit(call: Call, claims: dict[str, Any]) -> Response | None:
    """Return the refusal where the token lacks the permission, or its user the role."""
    if "scp" in claims:
        if PERMISSION not in claims["scp"].split():
            return graph_error(call, 403, "S2SUnauthorized", "Invalid scope claims/roles.")
        if not _READERS.intersection(claims["wids"]):
            code = "Authentication_RequestFromUnsupportedUserRole"
            return graph_error(call, 403, code, "User is not in the allowed roles")
    elif PERMISSION not in claims.get("roles", ()):
        return graph_error(call, 403, "S2SUnauthorized", "Invalid permission(s).")
    return None
