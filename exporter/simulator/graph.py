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

from exporter.simulator.messages import Response, json_response
from exporter.simulator.reports import BY_FUNCTION, REPORTS
from exporter.simulator.state import encode_part

if TYPE_CHECKING:
    from exporter.simulator.call import Call

SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")
_JSON, _CSV = "application/json", "text/csv"
_ADDRESS_LIFETIME = 300
_PATHS = ("/data/download/", "/data/v1.0/download")
_CHALLENGE = (
    'Bearer realm="", authorization_uri="{login}/common/oauth2/authorize",'
    ' client_id="00000003-0000-0000-c000-000000000000"'
)


def answer_graph(call: Call) -> Response:
    return with_ids(call, _report_function(call))


def with_ids(call: Call, response: Response) -> Response:
    """Return the response with the headers that all of Graph's have."""
    ids = (("request-id", call.request_id), ("client-request-id", _client_request_id(call)))
    common = (*ids, ("Date", format_datetime(call.moment, usegmt=True)), ("Cache-Control", "no-store"))
    return replace(response, headers=(*common, *response.headers))


def bearer_token(call: Call) -> str:
    """Return the access token that was sent, or an empty string."""
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _report_function(call: Call) -> Response:
    version, _, rest = call.request.path.strip("/").partition("/")
    function = rest.removeprefix("reports/").removesuffix("()")
    call.report = BY_FUNCTION.get(function)
    claims, wrong = _check_token(call)
    if call.tenant is None or wrong:
        return unauthorized(call, wrong)
    if call.request.method != "GET":
        return graph_error(
            call, 405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target."
        )
    if call.report is None or version not in call.request.cloud.versions:
        return unknown_segment(call, function or version)
    call.json = call.request.query.get("$format") == _JSON
    wait = call.state.admit(call.tenant, claims["appid"], call.report_name, json=call.json, now=call.now)
    if wait:
        return throttled(call, str(wait))
    return call.may_fail(lambda: _read(call, claims, version), data=call.json)


def _check_token(call: Call) -> tuple[dict[str, Any], str]:
    """Set the call's tenant from its token; return the claims, and why the token is not valid, if so."""
    token = bearer_token(call)
    if not token:
        return {}, "Access token is empty."
    claims = call.state.seal.open(token)
    if claims is None or claims.get("use") != "access":
        return {}, "CompactToken parsing failed with error code: 80049217"
    call.tenant = call.state.find(claims["tid"])
    if call.tenant is None or claims["aud"] != call.request.cloud.graph:
        return claims, "Access token validation failure. Invalid audience."
    return claims, call.state.token_error(call.tenant, claims, call.now)


def _read(call: Call, claims: dict[str, Any], version: str) -> Response:
    """Return the report, once nothing but the request itself can be wrong."""
    wanted = call.request.query.get("$format", _CSV)
    if wanted not in (_CSV, _JSON) or (call.json and version == "v1.0"):
        return graph_error(call, 400, "UnknownError", f"{'JSON' if call.json else wanted} format is not supported.")
    refused = call.state.permission_error(claims)
    if refused:
        return graph_error(call, 403, *refused)
    if call.json:
        skip = call.request.query.get("$skiptoken", "0")
        return Response(200, (("Content-Type", _JSON),), call.data(call.lines()[int(skip) :]))
    return Response(302, (("Content-Type", "text/plain"), ("Location", _signed_address(call))))


def _signed_address(call: Call) -> str:
    """Return an address for the call's report that is valid for five minutes, for every client that has it.

    Microsoft's addresses have two shapes; here they take turns.
    """
    tenant, report = call.subject()
    claims = {
        "use": "download",
        "tid": tenant.tenant_id,
        "report": report.name,
        "day": call.day().isoformat(),
        "exp": int(call.now) + _ADDRESS_LIFETIME,
    }
    first, second = _PATHS
    path = second if call.number % 2 else first + encode_part(call.request_id.encode())
    return f"{call.request.cloud.download}{path}?{urlencode({'token': call.state.seal.close(claims)})}"


# Graph's errors


def error_document(call: Call, code: str, message: str) -> dict[str, Any]:
    ids = {"request-id": call.request_id, "client-request-id": _client_request_id(call)}
    inner = {"date": f"{call.moment:%Y-%m-%dT%H:%M:%S}", **ids}
    return {"error": {"code": code, "message": message, "innerError": inner}}


def graph_error(
    call: Call, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    return json_response(status, error_document(call, code, message), headers)


def unauthorized(call: Call, message: str, challenge: str = "") -> Response:
    """Return a 401; `challenge` is added to WWW-Authenticate."""
    value = _CHALLENGE.format(login=call.request.cloud.login) + challenge
    return graph_error(call, 401, "InvalidAuthenticationToken", message, (("WWW-Authenticate", value),))


def throttled(call: Call, retry_after: str | None, code: str = "TooManyRequests") -> Response:
    """Return a 429 with that Retry-After, or without one."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    message = "This request is throttled. Please try again after the value specified in the Retry-After header."
    return graph_error(call, 429, code, message, headers)


def unknown_segment(call: Call, segment: str) -> Response:
    """Return the 400 for a function that this version or cloud does not have."""
    return graph_error(call, 400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def _client_request_id(call: Call) -> str:
    """Return the client's own id of the request, or Graph's where it sent none."""
    return call.request.headers.get("client-request-id", call.request_id)


# The download host


def answer_download(call: Call) -> Response:
    claims = call.state.seal.open(call.request.query.get("token", ""))
    if claims is None or claims.get("use") != "download" or not call.request.path.startswith(_PATHS):
        return xml_error(403, "AuthenticationFailed", "Signature did not match.")
    call.tenant, call.report = call.state.find(claims["tid"]), REPORTS[claims["report"]]
    if any(name in call.request.headers for name in SECRET_HEADERS):
        return xml_error(
            400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format."
        )
    if claims["exp"] <= call.now:
        return xml_error(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
    day = date.fromisoformat(claims["day"])
    return call.may_fail(lambda: _file(call, day), data=True)


def xml_error(status: int, code: str, message: str) -> Response:
    """Return an error as storage answers it."""
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, (("Content-Type", "application/xml"),), text.encode())


def _file(call: Call, day: date) -> Response:
    _, report = call.subject()
    disposition = f'attachment; filename="{report.function.removeprefix("get")}.csv"'
    headers = (("Content-Type", "application/octet-stream"), ("Content-Disposition", disposition))
    return Response(200, headers, call.data(call.lines(day)))
