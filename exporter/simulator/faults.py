"""What goes wrong in the scenarios, by name: refusals of Graph and the download host, and reports that are garbage."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.simulator.call import Fault
from exporter.simulator.graph import graph_error, throttled, unauthorized, xml_error
from exporter.simulator.messages import Response, Stage
from exporter.simulator.reports import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.call import Answer, Call
    from exporter.simulator.reports import Line

_OK = 200
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


def html(status: int, title: str) -> Response:
    """Return a page for people, as gateways and proxies answer."""
    return Response(status, (("Content-Type", "text/html; charset=utf-8"),), _HTML.format(title).encode())


def always(make: Callable[[Call], Response]) -> Answer:
    """Return what answers every call with what `make` returns."""
    return lambda call, _good: make(call)


def refused(status: int, code: str, message: str) -> Answer:
    """Return what answers with an error of Graph."""
    return always(lambda call: graph_error(call, status, code, message))


def with_bytes(change: Callable[[bytes], bytes]) -> Answer:
    """Return what changes the body of a good answer; an answer without a report is left as it is."""

    def answer(_call: Call, good: Callable[[], Response]) -> Response:
        response = good()
        return replace(response, body=change(response.body)) if response.status == _OK else response

    return answer


def with_lines(change: Callable[[list[Line]], list[Line]]) -> Answer:
    """Return what changes the lines of a good answer, in the format requested."""

    def answer(call: Call, good: Callable[[], Response]) -> Response:
        response = good()
        return replace(response, body=call.data(change(call.lines()))) if response.status == _OK else response

    return answer


def with_first_count(value: object) -> Answer:
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


def _graph(name: str, summary: str, answer: Answer) -> Fault:
    return Fault(name, Stage.GRAPH, summary, answer)


def _download(name: str, summary: str, response: Response) -> Fault:
    return Fault(f"download-{name}", Stage.DOWNLOAD, summary, always(lambda _call: response))


def _report(name: str, summary: str, answer: Answer) -> Fault:
    return Fault(name, Stage.REPORT, summary, answer)


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        # Refusals
        _graph(
            "401-expired",
            "the token has expired or was revoked",
            always(lambda call: unauthorized(call, "Lifetime validation failed, the token is expired.")),
        ),
        _graph(
            "403-missing-credentials",
            "a passing incident of the service",
            refused(403, "MissingCredentials", "Valid Authorization header is needed."),
        ),
        _graph(
            "404-unknown-tenant",
            "a valid tenant without report data",
            refused(404, "UnknownTenantId", "We do not recognize this tenant ID. Please double check the tenant ID."),
        ),
        _graph("429", "throttled for ten minutes", always(lambda call: throttled(call, "600"))),
        _graph("429-short", "throttled for a second", always(lambda call: throttled(call, "1"))),
        _graph("500-empty", "an error without a message", refused(500, "UnknownError", "")),
        _graph("502-html", "a gateway's page", always(lambda _call: html(502, "502 Bad Gateway"))),
        _graph(
            "503", "the service is not available", refused(503, "serviceNotAvailable", "The service is unavailable.")
        ),
        _graph("504", "a gateway's timeout", refused(504, "UnknownError", "")),
        _download("403-html", "the address has expired", html(403, "Forbidden")),
        _download("410-xml", "the address has expired", xml_error(410, "Gone", "The resource is no longer available.")),
        # Connections and encodings
        _graph("cut", "the connection ends before the answer", lambda _call, good: replace(good(), cut=-1)),
        _report("cut-body", "the connection ends in the middle of the body", _cut_body),
        _graph("direct-csv", "the CSV itself in place of the redirect", _direct),
        _report("gzip", "a good answer, compressed", _gzip),
        _report("two-boms", "two byte-order marks", with_bytes(lambda body: BOM + body)),
        # Garbage
        _report("html", "another page, with success", always(lambda _call: html(_OK, "Welcome to the guest network"))),
        _report("binary", "random bytes", with_bytes(lambda _: bytes(range(256)) * 16)),
        _report(
            "invalid-utf-8",
            "not UTF-8",
            with_bytes(lambda body: body.replace(b"Product", b"Prod\xff\xfe").replace(b"product", b"\xff")),
        ),
        _report("utf-16", "UTF-16", with_bytes(lambda body: body.removeprefix(BOM).decode().encode("utf-16"))),
        _report("nul-bytes", "a NUL in every line", with_bytes(lambda body: body.replace(b",", b",\0"))),
        _report("no-header", "no header line (CSV)", with_bytes(lambda body: body.partition(b"\n")[2])),
        _report("truncated", "ends in the middle of the header", with_bytes(lambda body: body[:30])),
        _report("bad-numbers", "counts that are none", with_first_count("many")),
        _report("negative", "negative counts", with_first_count(-1)),
    )
}
