"""Polls: how many a second, what one costs, and how that grows with the tenants."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.clients import value
from tests.bench.filling import configure, stored
from tests.bench.measuring import alternate
from tests.bench.results import Result, Table, at_most, figure
from tests.bench.servers import Exporter, Microsoft
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tests.bench.bench import Bench


_TELLING = 1000
"""With fewer tenants, what one of them costs is lost in what the process costs anyway."""


@dataclass(frozen=True, slots=True)
class Polled:
    """A process that has polled every tenant once; seconds and MiB.

    Attributes:
        lasted: from the start of the first poll to the end of the last.
        processor: taken since the process was started.
        resident: its memory.
    """

    lasted: float
    processor: float
    resident: float


def poll_all(bench: Bench, size: int, *, certificate: bool = False, storage: bool = False, **keys: Any) -> Polled:
    """Start an exporter and let it poll every tenant once."""
    folder = bench.new_folder()
    if certificate:
        pair = make_pair()
        (folder / "app.pem").write_bytes(pair.certificate + pair.key)
        keys["auth"] = {"certificate_file": str(folder / "app.pem")}
    if storage:
        keys |= stored(folder)
    with Microsoft(folder, size) as microsoft:
        configuration = configure(folder, size, microsoft.addresses, **keys)
        with Exporter(bench.installation, configuration) as exporter:
            text = exporter.await_polls(pause=min(10, max(0.1, size / 5000)))
            spent, resident = exporter.processor, exporter.resident
    if (failures := value(text, "office365_activations_exporter_failures_total")) > 0:
        raise RuntimeError(f"{failures:g} polls failed: {exporter.log[-2000:]}")
    ended = _values(text, "last_success_timestamp_seconds")
    took = _values(text, "last_poll_duration_seconds")
    lasted = max(ended) - min(at - duration for at, duration in zip(ended, took, strict=True))
    return Polled(lasted, spent, resident)


def _values(text: str, name: str) -> list[float]:
    start = f"office365_activations_{name}{{"
    return [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)]


def polls(bench: Bench) -> Result:
    """Polls a second without any latency, and the CPU of a poll: by credential, with storage and without."""
    size = bench.size(1000)
    kinds: dict[str, dict[str, Any]] = {
        "secret": {},
        "certificate": {"certificate": True},
        "secret, a credential of its own for each tenant": {"own_secrets": True},
        "secret, with storage": {"storage": True},
    }
    base = {kind: poll_all(bench, 1, **keys).processor for kind, keys in kinds.items()}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}

    def measure(kind: str) -> Callable[[], float]:
        def once() -> float:
            done = poll_all(bench, size, **kinds[kind])
            rates[kind].append(size / done.lasted)
            return (done.processor - base[kind]) / (size - 1)

        return once

    costs = alternate(bench.rounds, {kind: measure(kind) for kind in kinds})
    secret = costs["secret"]
    rows = [
        (kind, figure(median(rates[kind])), figure(costs[kind] * 1000), figure(costs[kind] / secret)) for kind in kinds
    ]
    head = ("credential", "polls a second", "CPU of a poll, ms", "÷ secret")
    note = (
        "First polls: discovery, token, Graph, download, all over TLS, and the rendering. The simulation is a process "
        "of its own on the same machine, and takes a share of it. CPU: of the whole process, less that of a process "
        "with one tenant."
    )
    ratio = costs["certificate"] / secret
    bar = at_most("CPU of a poll: certificate ÷ secret", ratio, 2)
    return Result((Table(f"First polls of {size:,} tenants, no latency, 16 workers", head, rows, note),), (bar,))


def scale(bench: Bench) -> Result:
    """Memory of a tenant and CPU of a poll at 10 to 50,000 tenants."""
    one = poll_all(bench, 1)
    rows: list[Sequence[str]] = []
    for size in bench.sizes(10, 1000, 10_000, 50_000):
        done = poll_all(bench, size)
        rows.append((
            f"{size:,}",
            figure(done.resident),
            figure((done.resident - one.resident) * 1024 / (size - 1)) if size >= _TELLING else "—",
            figure((done.processor - one.processor) / (size - 1) * 1000) if size >= _TELLING else "—",
            figure(done.lasted),
            figure(size / done.lasted),
        ))  # fmt: skip
    head = (
        "tenants",
        "memory, MiB",
        "more for each tenant, KiB",
        "CPU of a first poll, ms",
        "all polled in, s",
        "polls/s",
    )
    note = (
        f"One tenant's process takes {figure(one.resident)} MiB and {figure(one.processor)} s of CPU up to its first "
        "poll; that is taken off the others before they are divided. Six product types, one app for all, memory only."
    )
    return Result((Table("What a tenant costs", head, rows, note),))
