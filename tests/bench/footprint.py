"""Start-up and memory against bare prometheus-client, and where the memory is."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.bench.filling import configure
from tests.bench.measuring import alternate
from tests.bench.results import Bar, Result, Table, at_most, figure, milliseconds
from tests.bench.servers import Exporter, Microsoft, Stock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.servers import Server

_SCRAPES = 200
_FEWER_SCRAPES = 5
_PARTS = (
    "asyncio",
    "ssl",
    "prometheus_client",
    "yaml",
    "pydantic",
    "exporter.config",
    "structlog",
    "exporter.log",
    "httptools",
    "exporter.web.server",
    "sqlite3",
    "exporter.storage",
    "exporter.exporter",
    "exporter.cli.serve",
    "apscheduler.schedulers.background",
    "exporter.schedule",
    "httpx",
    "exporter.graph",
    "exporter.poller",
    "requests",
    "msal",
    "exporter.auth",
    "exporter.microsoft",
)
"""In the order in which a start imports them: what one brings along is counted where it comes first."""

_WEIGH = r"""
import os, sys, time
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before = memory()
print("python", before, time.process_time())
for part in sys.argv[1:]:
    started = time.process_time()
    __import__(part)
    now = memory()
    print(part, now - before, time.process_time() - started)
    before = now
"""


def start(bench: Bench) -> Result:
    """Time from the start of the process to the first 200 on /-/healthy."""
    rows, bars = [], []
    for size in bench.sizes(1, 1000, 10_000):
        configuration = configure(bench.new_folder(), size)

        def exporter(configuration: Path = configuration) -> float:
            return _started(Exporter(bench.installation, configuration))

        def stock() -> float:
            return _started(Stock(bench.installation, bench.folder))

        exporter(), stock()  # bytecode is written at the first start
        found = alternate(bench.rounds * 2, {"exporter": exporter, "stock": stock})
        ratio = found["exporter"] / found["stock"]
        rows.append((f"{size:,}", milliseconds(found["exporter"]), milliseconds(found["stock"]), figure(ratio)))
        if size == 1:
            bars.append(at_most("start to first 200, one tenant: exporter ÷ bare prometheus-client", ratio, 4))
    head = ("tenants", "exporter", "bare prometheus-client", "ratio")
    note = "prometheus-client answers on every path; it is asked for `/metrics`."
    return Result((Table("From the start of the process to the first 200, milliseconds", head, rows, note),), bars)


def _started(server: Server) -> float:
    with server:
        return server.started_in


def memory(bench: Bench) -> Result:
    """Resident memory, every tenant polled, after 200 scrapes, against prometheus-client."""
    rows: list[Sequence[str]] = []
    bars: list[Bar] = []
    for size in bench.sizes(1, 1000, 10_000):
        own, text = _polled(bench, size)
        folder = bench.new_folder()
        with Stock(bench.installation, folder) as bare:
            _scrape(bare, _SCRAPES)
            plain = bare.resident
        with Stock(bench.installation, folder, text) as gauges:
            _scrape(gauges, _SCRAPES if size == 1 else _FEWER_SCRAPES)
            filled = gauges.resident
        rows.append((f"{size:,}", *map(figure, (own, plain, filled, own / plain, own / filled))))
        if size == 1:
            bars.append(at_most("memory at one tenant, polled: exporter ÷ bare prometheus-client", own / plain, 3.2))
        if size == 10_000:
            what = "memory at 10,000 tenants, polled: exporter ÷ prometheus-client with gauges for the same samples"
            bars.append(at_most(what, own / filled, 1))
    head = ("tenants", "exporter", "bare prometheus-client", "with gauges", "÷ bare", "÷ with gauges")
    note = (
        f"After {_SCRAPES} scrapes (gzip); prometheus-client with the gauges of many tenants after {_FEWER_SCRAPES}, "
        "which take their time. Every tenant has been polled over TLS, with a token of its own."
    )
    return Result((Table("Resident memory, MiB", head, rows, note),), bars)


def _polled(bench: Bench, size: int) -> tuple[float, str]:
    """Return the exporter's memory, and a scrape."""
    folder = bench.new_folder()
    with Microsoft(folder, size) as microsoft:
        configuration = configure(folder, size, microsoft.addresses)
        with Exporter(bench.installation, configuration) as exporter:
            text = exporter.await_polls(pause=max(0.2, size / 2000))
            _scrape(exporter, _SCRAPES)
            return exporter.resident, text


def _scrape(server: Server, times: int) -> None:
    for _ in range(times):
        with server.client() as client:
            client.get("/metrics")


def parts(bench: Bench) -> Result:
    """Where memory and start-up time of the process of one tenant are."""
    words: list[str | Path] = [bench.installation.python, "-c", _WEIGH, *_PARTS]
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(bench.rounds):
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=bench.installation.environment)
        for name, weight, seconds in re.findall(r"^(\S+) (\S+) (\S+)$", done.stdout, re.MULTILINE):
            found.setdefault(name, []).append((float(weight), float(seconds)))
    rows, total = [], 0.0
    for name, weighed in found.items():
        weight, seconds = (sorted(column)[len(column) // 2] for column in zip(*weighed, strict=True))
        total += weight
        rows.append((f"`{name}`", f"{weight:.1f}", f"{total:.1f}", f"{seconds * 1000:.0f}"))
    folder = bench.new_folder()
    with Microsoft(folder, 1) as microsoft:
        configuration = configure(folder, 1, microsoft.addresses)
        with Exporter(bench.installation, configuration) as exporter:
            exporter.await_polls()
            polled = exporter.resident
            _scrape(exporter, _SCRAPES)
            scraped = exporter.resident
    rows.append(
        ("the running process after its first poll (trust store, connections, threads)", "", f"{polled:.1f}", "")
    )
    rows.append((f"and after {_SCRAPES} scrapes", "", f"{scraped:.1f}", ""))
    title = "Where the memory of one tenant's process is: resident MiB by import, in the order of a start"
    return Result((Table(title, ("after", "more", "in all", "CPU, ms"), rows),))
