"""Graph's and the download host's refusals, as seen in public."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from exporter.simulator.graph import error_document, graph_error, throttled, unauthorized, unknown_segment, xml_error
from exporter.simulator.simulator import always, html, refused
from exporter.simulator.state import Response
from tests.full_simulator.faults.fault import Fault, Stage

if TYPE_CHECKING:
    from exporter.simulator.state import Call
    from exporter.simulator.state import Fault as Answer

_CLAIMS = b'{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}'
_NO_JSON = "JSON format is not supported."


def _wrapped(status: int, code: str, message: str) -> Answer:
    """Return what answers as Graph's reports often do: the real error as text inside the message of another."""
    return lambda call, _good: graph_error(
        call, status, "UnknownError", json.dumps(error_document(call, code, message))
    )


def _claims_challenge(call: Call, _good: object) -> Response:
    claims = base64.b64encode(_CLAIMS).decode()
    message = (
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and code:"
        " TokenIssuedBeforeRevocationTimestamp"
    )
    response = unauthorized(call, message)
    challenge = f'{dict(response.headers)["WWW-Authenticate"]}, error="insufficient_claims", claims="{claims}"'
    return replace(response, headers=(*response.headers[:-1], ("WWW-Authenticate", challenge)))


def _retry_date(call: Call, _good: object) -> Response:
    return throttled(call, format_datetime(call.moment + timedelta(seconds=600), usegmt=True))


def _graph(name: str, summary: str, answer: Answer) -> Fault:
    return Fault(name, Stage.GRAPH, summary, answer)


def _throttled(name: str, summary: str, retry_after: str) -> Fault:
    return _graph(name, summary, lambda call, _good: throttled(call, retry_after))


def _without_retry_after(call: Call, _good: object) -> Response:
    response = throttled(call, "")
    return replace(response, headers=tuple(each for each in response.headers if each[0] != "Retry-After"))


def _unknown_error(call: Call, _good: object) -> Response:
    return graph_error(call, 429, "UnknownError", "", (("Retry-After", "600"),))


GRAPH_REFUSALS = (
    _graph(
        "400-segment",
        "this version has no such report",
        lambda call, _good: unknown_segment(call, call.report.function if call.report else ""),
    ),
    _graph("400-json-format", "JSON asked of v1.0", refused(400, "UnknownError", _NO_JSON)),
    _graph(
        "400-json-format-wrapped",
        "the same, as JSON inside the message",
        _wrapped(400, "BadRequest", _NO_JSON),
    ),
    _graph("401-claims", "a claims challenge", _claims_challenge),
    _graph("403-s2s", "consent is missing", refused(403, "S2SUnauthorized", "Invalid permission(s).")),
    _graph("403-scope", "consent is missing", refused(403, "S2SUnauthorized", "Invalid scope claims/roles.")),
    _graph(
        "403-wrapped",
        "consent is missing, as JSON inside the message",
        _wrapped(403, "S2SUnauthorized", "Invalid permission(s)."),
    ),
    _graph("403-empty", "for an unknown reason", refused(403, "UnknownError", "")),
    _graph("429-no-retry-after", "throttled, without saying for how long", _without_retry_after),
    _graph("429-unknown-error", "throttled, with a code that does not say so", _unknown_error),
    _throttled("429-nonsense", "throttled, with a Retry-After that means nothing", "soon"),
    _throttled("429-negative", "throttled, with a negative Retry-After", "-5"),
    _throttled("429-for-ever", "throttled, with an absurd Retry-After", "9" * 40),
    _graph("429-date", "throttled until a date ten minutes ahead", _retry_date),
    _graph("418", "an unexpected status", refused(418, "Teapot", "I am a teapot.")),
    _graph("204", "success without content", always(Response(204))),
    _graph("304", "not modified, though the request was unconditional", always(Response(304))),
)


def _download(name: str, summary: str, response: Response) -> Fault:
    return Fault(f"download-{name}", Stage.DOWNLOAD, summary, always(response))


DOWNLOAD_REFUSALS = (
    _download("401-html", "the address has expired", html(401, "Unauthorized")),
    _download("404-xml", "the file is gone", xml_error(404, "BlobNotFound", "The specified blob does not exist.")),
    _download("429", "the download is throttled", Response(429, (("Retry-After", "600"),))),
    _download("503-xml", "storage is busy", xml_error(503, "ServerBusy", "The server is busy.")),
)
