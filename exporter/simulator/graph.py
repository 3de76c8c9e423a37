"""Graph, and the download host that it redirects to.

https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
https://learn.microsoft.com/graph/errors
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from exporter.simulator.login import encode_part, read_signed, sign
from exporter.simulator.reports import BY_FUNCTION, REPORTS
from exporter.simulator.state import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.simulator.reports import Report
    from exporter.simulator.state import Call

SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")
_JSON = "application/json"
_ADDRESS_LIFETIME = 300
_PATHS = ("/data/download/", "/data/v1.0/download")
_CHALLENGE = (
    'Bearer realm="", authorization_uri="{login}/common/oauth2/authorize",'
    ' client_id="00000003-0000-0000-c000-000000000000"'
)


def answer_graph(call: Call) -> Response:
    call.stage = "graph"
    return with_ids(call, _report_function(call))


def with_ids(call: Call, response: Response) -> Response:
    """Return the response with the headers that all of Graph's have."""
    ids = (("request-id", call.request_id), ("client-request-id", _client_request_id(call)))
    common = (*ids, ("Date", format_datetime(call.moment, usegmt=True)), ("Cache-Control", "no-store"))
    return replace(response, headers=(*common, *response.headers))


def _report_function(call: Call) -> Response:
    version, _, rest = call.path.strip("/").partition("/")
    function = rest.removeprefix("reports/").removesuffix("()")
    report = call.report = BY_FUNCTION.get(function)
    claims, error = _check_token(call)
    if error:
        return unauthorized(call, error)
    if report is None or version not in call.cloud.versions:
        return unknown_segment(call, function or version)
    call.json = call.query.get("$format") == _JSON
    if wait := call.simulation.admit(claims, report.name, json=call.json, now=call.now):
        return throttled(call, str(wait))
    return call.may_fail(lambda: _read(call, report, claims, version), data=call.json)


def _check_token(call: Call) -> tuple[dict[str, Any], str]:
    """Set the call's tenant from its token; return the claims, and why the token is not valid, if so."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return {}, "Access token is empty."
    claims = read_signed(call.simulation.seed, token.strip())
    if claims.get("use") != "access":
        return {}, "CompactToken parsing failed with error code: 80049217"
    call.tenant = call.simulation.find(claims["tid"])
    if call.tenant is None or claims["aud"] != call.cloud.graph:
        return {}, "Access token validation failure. Invalid audience."
    return claims, call.simulation.token_error(claims, call.now)


def _read(call: Call, report: Report, claims: Mapping[str, Any], version: str) -> Response:
    """Return the report, once nothing but the request itself can be wrong."""
    if call.json and version == "v1.0":
        return graph_error(call, 400, "UnknownError", "JSON format is not supported.")
    if refused := call.simulation.permission_error(claims):
        return graph_error(call, 403, *refused)
    if call.json:
        return Response(200, (("Content-Type", _JSON),), call.data(call.lines()))
    return Response(302, (("Content-Type", "text/plain"), ("Location", _signed_address(call, report, claims["tid"]))))


def _signed_address(call: Call, report: Report, tenant_id: str) -> str:
    """Return an address for the call's report that is valid for five minutes, for every client that has it.

    Microsoft's addresses have two shapes; here they take turns.
    """
    claims = {
        "use": "download",
        "tid": tenant_id,
        "report": report.name,
        "day": call.day.isoformat(),
        "exp": int(call.now) + _ADDRESS_LIFETIME,
    }
    first, second = _PATHS
    path = second if call.number % 2 else first + encode_part(call.request_id.encode())
    return f"{call.cloud.download}{path}?{urlencode({'token': sign(call.simulation.seed, claims)})}"


# Graph's errors


def error_document(call: Call, code: str, message: str) -> dict[str, Any]:
    ids = {"request-id": call.request_id, "client-request-id": _client_request_id(call)}
    inner = {"date": f"{call.moment:%Y-%m-%dT%H:%M:%S}", **ids}
    return {"error": {"code": code, "message": message, "innerError": inner}}


def graph_error(
    call: Call, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    return json_response(status, error_document(call, code, message), headers)


def unauthorized(call: Call, message: str) -> Response:
    challenge = _CHALLENGE.format(login=call.cloud.login)
    return graph_error(call, 401, "InvalidAuthenticationToken", message, (("WWW-Authenticate", challenge),))


def throttled(call: Call, retry_after: str) -> Response:
    message = "This request is throttled. Please try again after the value specified in the Retry-After header."
    return graph_error(call, 429, "TooManyRequests", message, (("Retry-After", retry_after),))


def unknown_segment(call: Call, segment: str) -> Response:
    """Return the 400 for a function that this version or cloud does not have."""
    return graph_error(call, 400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def _client_request_id(call: Call) -> str:
    """Return the client's own id of the request, or Graph's where it sent none."""
    return call.headers.get("client-request-id", call.request_id)


# The download host


def answer_download(call: Call) -> Response:
    call.stage = "download"
    claims = read_signed(call.simulation.seed, call.query.get("token", ""))
    if claims.get("use") != "download" or not call.path.startswith(_PATHS):
        return xml_error(403, "AuthenticationFailed", "Signature did not match.")
    report = REPORTS[claims["report"]]
    call.tenant, call.report = call.simulation.find(claims["tid"]), report
    if any(name in call.headers for name in SECRET_HEADERS):
        return xml_error(
            400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format."
        )
    if claims["exp"] <= call.now:
        return xml_error(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
    disposition = f'attachment; filename="{report.function.removeprefix("get")}.csv"'
    headers = (("Content-Type", "application/octet-stream"), ("Content-Disposition", disposition))
    day = date.fromisoformat(claims["day"])
    return call.may_fail(lambda: Response(200, headers, call.data(call.lines(day))), data=True)


def xml_error(status: int, code: str, message: str) -> Response:
    """Return an error as storage answers it."""
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, (("Content-Type", "application/xml"),), text.encode())
