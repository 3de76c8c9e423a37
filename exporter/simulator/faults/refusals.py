"""Graph's and the download host's refusals, as seen in public."""

from __future__ import annotations

import base64
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from exporter.simulator.download import xml_error
from exporter.simulator.faults.fault import Answer, Fault
from exporter.simulator.graph_errors import (
    graph_error,
    throttled,
    unauthorized,
    unknown_segment,
    wrapped_error,
)
from exporter.simulator.messages import Response, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.call import Call

_CLAIMS = b'{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}'
_NO_JSON = "JSON format is not supported."
HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


def html(status: int, title: str) -> Response:
    """Return a page for people, as gateways and proxies answer."""
    return Response(status, (("Content-Type", "text/html; charset=utf-8"),), HTML.format(title).encode())


def _always(make: Callable[[Call], Response]) -> Answer:
    return lambda call, _: make(call)


def _error(status: int, code: str, message: str) -> Answer:
    return _always(lambda call: graph_error(call, status, code, message))


def _claims_challenge(call: Call) -> Response:
    claims = base64.b64encode(_CLAIMS).decode()
    message = (
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and code:"
        " TokenIssuedBeforeRevocationTimestamp"
    )
    return unauthorized(call, message, f', error="insufficient_claims", claims="{claims}"')


def _retry_date(call: Call) -> Response:
    return throttled(call, format_datetime(call.moment + timedelta(seconds=600), usegmt=True))


def _graph(name: str, summary: str, answer: Answer) -> Fault:
    return Fault(name, Stage.GRAPH, summary, answer)


def _throttled(name: str, summary: str, retry_after: str | None, code: str = "TooManyRequests") -> Fault:
    return _graph(name, summary, _always(lambda call: throttled(call, retry_after, code)))


GRAPH_REFUSALS = (
    _graph(
        "400-segment",
        "this version has no such report",
        _always(lambda call: unknown_segment(call, call.subject()[1].function)),
    ),
    _graph("400-json-format", "JSON asked of v1.0", _error(400, "UnknownError", _NO_JSON)),
    _graph(
        "400-json-format-wrapped",
        "the same, as JSON inside the message",
        _always(lambda call: wrapped_error(call, 400, "BadRequest", _NO_JSON)),
    ),
    _graph(
        "401-expired",
        "the token has expired or was revoked",
        _always(lambda call: unauthorized(call, "Lifetime validation failed, the token is expired.")),
    ),
    _graph("401-claims", "a claims challenge", _always(_claims_challenge)),
    _graph("403-s2s", "consent is missing", _error(403, "S2SUnauthorized", "Invalid permission(s).")),
    _graph("403-scope", "consent is missing", _error(403, "S2SUnauthorized", "Invalid scope claims/roles.")),
    _graph(
        "403-wrapped",
        "consent is missing, as JSON inside the message",
        _always(lambda call: wrapped_error(call, 403, "S2SUnauthorized", "Invalid permission(s).")),
    ),
    _graph(
        "403-missing-credentials",
        "a passing incident of the service",
        _error(403, "MissingCredentials", "Valid Authorization header is needed."),
    ),
    _graph("403-empty", "nobody knows why", _error(403, "UnknownError", "")),
    _graph(
        "404-unknown-tenant",
        "a valid tenant without report data",
        _error(404, "UnknownTenantId", "We do not recognize this tenant ID. Please double check the tenant ID."),
    ),
    _throttled("429", "throttled for ten minutes", "600"),
    _throttled("429-short", "throttled for a second", "1"),
    _throttled("429-no-retry-after", "throttled, without saying for how long", None),
    _throttled("429-unknown-error", "throttled, with a code that does not say so", "600", "UnknownError"),
    _throttled("429-nonsense", "throttled, with a Retry-After that means nothing", "soon"),
    _throttled("429-negative", "throttled, with a negative Retry-After", "-5"),
    _throttled("429-for-ever", "throttled, with an absurd Retry-After", "9" * 40),
    _graph("429-date", "throttled until a date ten minutes ahead", _always(_retry_date)),
    _graph("500-empty", "an error without a message", _error(500, "UnknownError", "")),
    _graph("502-html", "a gateway's page", _always(lambda _: html(502, "502 Bad Gateway"))),
    _graph("503", "the service is not available", _error(503, "serviceNotAvailable", "The service is unavailable.")),
    _graph("504", "a gateway's timeout", _error(504, "UnknownError", "")),
    _graph("418", "a status that nobody expects", _error(418, "Teapot", "I am a teapot.")),
    _graph("204", "success without content", _always(lambda _: Response(204))),
    _graph("304", "not modified, though nobody asked", _always(lambda _: Response(304))),
)


def _download(name: str, summary: str, response: Response) -> Fault:
    return Fault(f"download-{name}", Stage.DOWNLOAD, summary, lambda _call, _good: response)


DOWNLOAD_REFUSALS = (
    _download("401-html", "the address has expired", html(401, "Unauthorized")),
    _download("403-html", "the address has expired", html(403, "Forbidden")),
    _download("404-xml", "the file is gone", xml_error(404, "BlobNotFound", "The specified blob does not exist.")),
    _download("410-xml", "the address has expired", xml_error(410, "Gone", "The resource is no longer available.")),
    _download("429", "the download is throttled", Response(429, (("Retry-After", "600"),))),
    _download("503-xml", "storage is busy", xml_error(503, "ServerBusy", "The server is busy.")),
)
