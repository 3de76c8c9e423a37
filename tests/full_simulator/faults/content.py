"""Faults of the report's content: what parsers must survive."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.simulator.reports import BOM
from exporter.simulator.simulator import with_bytes, with_first_count, with_lines
from exporter.simulator.state import Response
from tests.full_simulator.faults.fault import Fault, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.reports import Line
    from exporter.simulator.state import Call
    from exporter.simulator.state import Fault as Answer

_OK = 200
_JSON = (("Content-Type", "application/json"),)
_TEN_MEGABYTES = 10_000_000


def _first(change: Callable[[Line], Line]) -> Answer:
    return with_lines(lambda lines: [change(lines[0]), *lines[1:]])


def _dates(change: Callable[[str], str]) -> Answer:
    return with_lines(lambda lines: [(change(str(line[0])), *line[1:]) for line in lines])


def _name(name: str) -> Answer:
    return _first(lambda line: (line[0], name, *line[2:]))


def _json(text: str) -> Answer:
    """Return the answer with this JSON text for a value, `%s` standing for the date."""
    return lambda call, _: Response(_OK, _JSON, text.replace("%s", call.day.isoformat()).encode())


def _value(members: str) -> Answer:
    return _json('{"value":[{"reportRefreshDate":"%s",' + members + "}]}")


def _older(call: Call, good: Callable[[], Response]) -> Response:
    return replace(good(), body=call.data(call.lines(call.day - timedelta(days=1))))


def _mixed(call: Call, good: Callable[[], Response]) -> Response:
    newer, older = call.lines(), call.lines(call.day - timedelta(days=1))
    return replace(good(), body=call.data([older[0], *newer[1:]]))


def _paged(link: Callable[[str], str]) -> Answer:
    """Return the answer with the first line only and a link to the rest, made from the request's own address."""

    def answer(call: Call, good: Callable[[], Response]) -> Response:
        good()
        own = f"{call.cloud.graph}{call.path}?$format=application/json"
        page = call.data(call.lines()[:1])
        if call.json:
            page = json.dumps(json.loads(page) | {"@odata.nextLink": link(own)}).encode()
        return Response(_OK, _JSON, page)

    return answer


def _columns(order: Callable[[list[bytes]], list[bytes]]) -> Answer:
    def spoil(body: bytes) -> bytes:
        rows = [order(line.split(b",")) for line in body.removeprefix(BOM).splitlines()]
        return BOM + b"\r\n".join(b",".join(row) for row in rows) + b"\r\n"

    return with_bytes(spoil)


def _report(name: str, summary: str, answer: Answer) -> Fault:
    return Fault(name, Stage.REPORT, summary, answer)


HARMLESS = (
    Fault("nextlink", Stage.GRAPH, "the report on two pages (JSON)", _paged(lambda own: f"{own}&$skiptoken=1")),
    _report("no-bom", "no byte-order mark", with_bytes(lambda body: body.removeprefix(BOM))),
    _report("datetime-date", "the date with a time", _dates(lambda day: f"{day}T00:00:00Z")),
    _report("reordered-columns", "the columns in another order (CSV)", _columns(lambda cells: cells[::-1])),
    _report("extra-column", "one more column (CSV)", _columns(lambda cells: [*cells, b"new"])),
    _report("twice-equal", "every line twice", with_lines(lambda lines: [*lines, *lines])),
    _report("older-report", "yesterday's report", _older),
    _report("mixed-dates", "one line of yesterday's report", _mixed),
)

BROKEN = (
    Fault("nextlink-loop", Stage.GRAPH, "a next page that is this one (JSON)", _paged(lambda own: own)),
    Fault(
        "nextlink-host",
        Stage.GRAPH,
        "a next page on another host (JSON)",
        _paged(lambda _: "https://graph.example.net/beta/reports"),
    ),
    _report("empty-report", "no lines at all", with_lines(lambda _: [])),
    _report("empty-body", "no bytes at all", with_bytes(lambda _: b"")),
    _report("missing-column", "no column of products (CSV)", _columns(lambda cells: [cells[0], *cells[2:]])),
    _report("float-numbers", "counts that are no integers", with_first_count(12.5)),
    _report("empty-numbers", "counts that are missing", with_first_count(None)),
    _report("huge-numbers", "counts of a hundred digits", with_first_count(10**100)),
    _report("bad-date", "dates that are none", _dates(lambda _: "yesterday")),
    _report("one-bad-row", "one line of which cannot be read", _first(lambda line: (*line[:2], "many", *line[3:]))),
    _report(
        "twice-unequal",
        "one product twice, with other counts",
        with_lines(lambda lines: [*lines, (*lines[0][:2], 1, *lines[0][3:])]),
    ),
    _report("awkward-name", "quotes, commas and a backslash in a name", _name('A "quoted", broken \\ name')),
    _report("nul-name", "a NUL in a name", _name("A\0B")),
    _report(
        "surrogate-name",
        "a lone surrogate in a name (JSON)",
        _value('"productType":"\\ud800","assigned":1,"activated":1,"sharedComputerActivation":0'),
    ),
    _report("huge-cell", "a name of ten megabytes", _name("X" * _TEN_MEGABYTES)),
    _report("deep-json", "JSON nested a hundred thousand deep", _json("[" * 100_000)),
    _report(
        "duplicate-keys",
        "a key that comes twice",
        _value('"productType":"A","assigned":1,"assigned":2,"activated":1,"sharedComputerActivation":0'),
    ),
    _report(
        "nan",
        "a count that is NaN (JSON)",
        _value('"productType":"A","assigned":NaN,"activated":1,"sharedComputerActivation":0'),
    ),
    _report(
        "1e400",
        "a count that no float can hold (JSON)",
        _value('"productType":"A","assigned":1e400,"activated":1,"sharedComputerActivation":0'),
    ),
    _report("json-list", "a list in place of an object", _json(json.dumps([1, 2, 3]))),
    _report("json-no-value", "an object without its list", _json("{}")),
)
