"""What scrapes and the event loop feel of polls, rendering and crowds."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from exporter.simulator.tenants import make_tenants
from tests.bench.clients import Client, value
from tests.bench.filling import configure, fill, stored
from tests.bench.measuring import quantile
from tests.bench.results import Bar, Result, Table, at_most, figure, milliseconds
from tests.bench.servers import Exporter, Microsoft

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from tests.bench.bench import Bench

_LIVE = 40
_OFTEN = "20s"
_LATENCY = 0.05
_WORKERS = 16
_FLUSHED = b"\x00\x00\xff\xff"
"""The end of what was compressed beforehand: RFC 1951's empty block of a flush."""


class Asker:
    """Asks for one path every now and then, in a process that does nothing else, while the `with` block runs.

    Args:
        exporter: whom.
        path: what for.
        pause: seconds between an answer and the next question.
    """

    def __init__(self, exporter: Exporter, path: str, pause: float) -> None:
        self.answers: list[tuple[float, float]] = []
        context = multiprocessing.get_context("spawn")
        self._ours, self._theirs = context.Pipe()
        arguments = (exporter.address, exporter.user, path, pause, self._theirs)
        self._process = context.Process(target=_ask, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.send(None)
        self.answers = self._ours.recv()
        self._process.join()

    def times(self, since: float = 0.0) -> list[float]:
        """Return how long each answer took, in seconds, of the questions asked from a moment on (Unix seconds)."""
        return [taken for asked, taken in self.answers if asked >= since]


def _ask(address: str, user: str, path: str, pause: float, end: Connection[Any, Any]) -> None:
    answers = []
    with Client(address, user=user) as client:
        while not end.poll(pause):
            asked = time.time()
            answers.append((asked, client.get(path)[0]))
    end.send(answers)


def storms(bench: Bench) -> Result:
    """All tenants polled at once after the start, at 50 ms a request: how long it takes, and who feels it."""
    rows, bars = [], []
    for size in bench.sizes(1000, 10_000):
        found, more = _storm(bench, size)
        rows.append(found)
        bars += more
    head = (
        "tenants",
        "all polled, s",
        "bound by latency, s",
        "CPU of the process, s",
        "scrape p50, ms",
        "p99, ms",
        "longest, ms",
        "/-/healthy p50, ms",
        "p99, ms",
        "longest, ms",
        "with the start",
    )
    title = f"A storm: every tenant polled for the first time, {_LATENCY * 1000:g} ms a request, {_WORKERS} workers"
    note = (
        "Bound by latency: requests of a poll x latency x tenants / workers. During the storm, one client scrapes "
        "(gzip) ten times a second, another asks for `/-/healthy` a hundred times: what holds the event loop keeps it "
        "waiting."
    )
    return Result((Table(title, head, rows, note),), bars)


def _storm(bench: Bench, size: int) -> tuple[Sequence[str], list[Bar]]:
    folder = bench.new_folder()
    with Microsoft(folder, size, _LATENCY) as microsoft:
        configuration = configure(folder, size, microsoft.addresses)
        with (
            Exporter(bench.installation, configuration) as exporter,
            Asker(exporter, "/metrics", 0.1) as scraper,
            Asker(exporter, "/-/healthy", 0.01) as prober,
        ):
            text = exporter.await_polls(pause=1)
            spent = exporter.processor
    successes = _samples(text, "last_success_timestamp_seconds")
    durations = _samples(text, "last_poll_duration_seconds")
    began = min(at - took for at, took in zip(successes, durations, strict=True))
    lasted = max(successes) - began
    requests = value(text, "office365_activations_exporter_http_requests_total") / size
    by_latency = requests * _LATENCY * size / _WORKERS
    scrapes, probes = scraper.times(began), prober.times(began)
    p99, lag = quantile(scrapes, 0.99), max(probes)
    asked = (scrapes, probes)
    felt = [milliseconds(found) for times in asked for found in (median(times), quantile(times, 0.99), max(times))]
    felt.append(milliseconds(max(prober.times())))
    row = (f"{size:,}", figure(lasted), figure(by_latency), figure(spent), *felt)
    bound = max(by_latency, spent)
    bars = [at_most(f"{size:,} tenants: longest wait for /-/healthy in the storm", lag * 1000, 50, "ms")]
    if size <= 1000:
        what = (
            f"{size:,} tenants: all polled ÷ the larger bound ({figure(bound)} s; {figure(requests)} requests a poll)"
        )
        bars.append(at_most(what, lasted / bound, 1.3))
        bars.append(at_most(f"{size:,} tenants: p99 of a scrape in the storm", p99 * 1000, 50, "ms"))
    return row, bars


def _samples(text: str, name: str) -> list[float]:
    """Return a family's values, in the order of the tenants."""
    start = f"office365_activations_{name}{{"
    return [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)]


def after_a_poll(bench: Bench) -> Result:
    """The scrape that is the first to show a poll, and the one after it, against all others."""
    size = bench.size(10_000)
    with live(bench, size, _OFTEN) as exporter:
        exporter.await_polls()
        just_after, others, delays = _watch(exporter, size, 40 if bench.quick else 150)
    rows = [
        (name, f"{len(times):,}", milliseconds(median(times)), milliseconds(max(times)))
        for name, times in (("just after a poll", just_after), ("any other", others))
    ]
    title = f"A scrape (gzip) at {size:,} tenants, of which {_LIVE} are polled every {_OFTEN}; milliseconds"
    note = (
        "Just after a poll: the scrape that is the first to show it, and the next. The other tenants come from storage."
    )
    table = Table(title, ("scrape", "how many", "p50", "longest"), rows, note)
    ratio = median(just_after) / median(others)
    bars = (
        at_most(f"{size:,} tenants: p50 just after a poll ÷ p50 of any other", ratio, 1.5),
        at_most(f"{size:,} tenants: longest scrape just after a poll", max(just_after) * 1000, 50, "ms"),
        at_most(f"{size:,} tenants: longest time until one of {len(delays)} polls showed", max(delays), 2, "s"),
    )
    return Result((table,), bars)


@contextmanager
def live(bench: Bench, size: int, every: str, *flags: str, user: str = "") -> Iterator[Exporter]:
    """Start an exporter of which a few tenants are polled often; the others come from storage.

    A tenant's budget is seven calls in ten minutes.

    Args:
        bench: how.
        size: how many tenants.
        every: how often the few are polled.
        flags: the exporter's.
        user: whom they let in, where they let nobody else in.
    """
    folder = bench.new_folder()
    with Microsoft(folder, size) as microsoft:
        configuration = configure(folder, size, microsoft.addresses, live=_LIVE, every=every, **stored(folder))
        fill(configuration, live=_LIVE)
        with Exporter(bench.installation, configuration, *flags, user=user) as exporter:
            yield exporter


def _watch(exporter: Exporter, size: int, seconds: float) -> tuple[list[float], list[float], list[float]]:
    """Scrape again and again.

    Returns:
        The times of the scrapes just after a change, those of all others, and how long after its end each poll showed.
    """
    just_after: list[float] = []
    others: list[float] = []
    delays: list[float] = []
    before, lately = b"", 0
    live_only = "&".join(f"tenant={tenant.name}" for tenant in make_tenants(0, size, shared_app=True)[:_LIVE])
    shown: set[float] = set()
    end = time.monotonic() + seconds
    with exporter.client() as client:
        while time.monotonic() < end:
            taken, body = client.get("/metrics")
            tenants = body[: body.rindex(_FLUSHED)]
            lately = 2 if before not in (b"", tenants) else max(0, lately - 1)
            (just_after if lately else others).append(taken)
            before = tenants
            if lately == 2:
                found = set(_samples(client.text(f"/metrics?{live_only}"), "last_success_timestamp_seconds"))
                delays += [time.time() - at for at in found - shown if shown]
                shown |= found
            time.sleep(0.02)
    return just_after, others, delays
