"""The download host: preauthenticated addresses that live for a few minutes."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from exporter.simulator.messages import Response
from exporter.simulator.reports import REPORTS
from exporter.simulator.tokens import encode_part

if TYPE_CHECKING:
    from exporter.simulator.call import Call

LIFETIME = 300
_PATHS = ("/data/download/", "/data/v1.0/download")
_SECRETS = ("authorization", "cookie", "proxy-authorization")


def signed_address(call: Call) -> str:
    """Return an address for the call's report that is good for five minutes and for whoever holds it.

    Microsoft's addresses have two shapes; here they take turns.
    """
    tenant, report = call.subject()
    claims = {
        "use": "download",
        "tid": tenant.tenant_id,
        "report": report.name,
        "day": call.day().isoformat(),
        "exp": int(call.now) + LIFETIME,
    }
    first, second = _PATHS
    path = second if call.number % 2 else first + encode_part(call.request_id.encode())
    return f"{call.request.cloud.download}{path}?{urlencode({'token': call.state.seal.close(claims)})}"


def answer_download(call: Call) -> Response:
    """Answer a request to the download host."""
    claims = call.state.seal.open(call.request.query.get("token", ""))
    if claims is None or claims.get("use") != "download" or not call.request.path.startswith(_PATHS):
        return xml_error(403, "AuthenticationFailed", "Signature did not match.")
    call.tenant, call.report = call.state.find(claims["tid"]), REPORTS[claims["report"]]
    leaked = [name for name in _SECRETS if name in call.request.headers]
    if leaked:
        call.state.record_leak(f"{claims['report']} of {claims['tid']}: {', '.join(leaked)} sent to the download host")
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
