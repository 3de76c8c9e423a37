"""The simulator that `demo` and `simulator` run: Microsoft's hosts, and what goes wrong in the scenarios."""

from __future__ import annotations

import gzip
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from exporter.simulator.graph import (
    answer_download,
    answer_graph,
    graph_error,
    throttled,
    unauthorized,
    xml_error,
)
from exporter.simulator.login import answer_login
from exporter.simulator.reports import BOM
from exporter.simulator.state import Response, Simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.reports import Line
    from exporter.simulator.state import Call, Fault

_OK = 200
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


def html(status: int, title: str) -> Response:
    """Return a page for people, as gateways and proxies answer."""
    return Response(status, (("Content-Type", "text/html; charset=utf-8"),), _HTML.format(title).encode())


def always(response: Response) -> Fault:
    return lambda _call, _good: response


def refused(status: int, code: str, message: str) -> Fault:
    """Return what answers with an error of Graph."""
    return lambda call, _good: graph_error(call, status, code, message)


def with_bytes(change: Callable[[bytes], bytes]) -> Fault:
    """Return what changes the body of a good answer; an answer without a report is left as it is."""

    def answer(_call: Call, good: Callable[[], Response]) -> Response:
        response = good()
        return replace(response, body=change(response.body)) if response.status == _OK else response

    return answer


def with_lines(change: Callable[[list[Line]], list[Line]]) -> Fault:
    """Return what changes the lines of a good answer, in the format requested."""

    def answer(call: Call, good: Callable[[], Response]) -> Response:
        response = good()
        return replace(response, body=call.data(change(call.lines()))) if response.status == _OK else response

    return answer


def with_first_count(value: object) -> Fault:
    """Return what puts `value` in place of every line's first count."""
    return with_lines(lambda lines: [(*line[:2], value, *line[3:]) for line in lines])


def compressed(response: Response, body: bytes) -> Response:
    """Return the response with a body that is said to be gzip."""
    return replace(response, headers=(*response.headers, ("Content-Encoding", "gzip")), body=body)


def _gzip(_call: Call, good: Callable[[], Response]) -> Response:
    response = good()
    return compressed(response, gzip.compress(response.body, mtime=0))


def _cut_body(_call: Call, good: Callable[[], Response]) -> Response:
    response = good()
    return replace(response, cut=len(response.body) // 2)


def _direct(call: Call, _good: Callable[[], Response]) -> Response:
    return Response(_OK, (("Content-Type", "application/octet-stream"),), call.data(call.lines()))


FAULTS: Mapping[str, Fault] = {
    # Refusals
    "401-expired": lambda call, _good: unauthorized(call, "Lifetime validation failed, the token is expired."),
    "403-missing-credentials": refused(403, "MissingCredentials", "Valid Authorization header is needed."),
    "404-unknown-tenant": refused(
        404, "UnknownTenantId", "We do not recognize this tenant ID. Please double check the tenant ID."
    ),
    "429": lambda call, _good: throttled(call, "600"),
    "429-short": lambda call, _good: throttled(call, "1"),
    "500-empty": refused(500, "UnknownError", ""),
    "502-html": always(html(502, "502 Bad Gateway")),
    "503": refused(503, "serviceNotAvailable", "The service is unavailable."),
    "504": refused(504, "UnknownError", ""),
    "download-403-html": always(html(403, "Forbidden")),
    "download-410-xml": always(xml_error(410, "Gone", "The resource is no longer available.")),
    # Connections, encodings and unusual answers that are as good as the usual one
    "cut": lambda _call, good: replace(good(), cut=-1),
    "cut-body": _cut_body,
    "direct-csv": _direct,
    "gzip": _gzip,
    "two-boms": with_bytes(lambda body: BOM + body),
    # Garbage
    "html": always(html(_OK, "Welcome to the guest network")),
    "binary": with_bytes(lambda _: bytes(range(256)) * 16),
    "invalid-utf-8": with_bytes(
        lambda body: body.replace(b"Product", b"Prod\xff\xfe").replace(b"product", b"\xff"),
    ),
    "utf-16": with_bytes(lambda body: body.removeprefix(BOM).decode().encode("utf-16")),
    "nul-bytes": with_bytes(lambda body: body.replace(b",", b",\0")),
    "no-header": with_bytes(lambda body: body.partition(b"\n")[2]),
    "truncated": with_bytes(lambda body: body[:30]),
    "bad-numbers": with_first_count("many"),
    "negative": with_first_count(-1),
}


class Simulator(Simulation):
    """Microsoft's login, Graph and download hosts, without any network."""

    hosts = MappingProxyType({"login": answer_login, "graph": answer_graph, "download": answer_download})
    faults = FAULTS
