"""The metrics of the exporter and its process, rendered at each scrape."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import Metric, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter.families import OWN_FAMILIES, SCRAPE_DURATION
from exporter.metrics import Sample
from exporter.sample_lines import EOF, family_header, lines, metric_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.metrics import OwnMetrics


def process_collectors() -> tuple[Collector, ...]:
    """Return what collects `process_*` and `python_info`."""
    return (FastProcessCollector(), PlatformCollector(registry=None))


class ProcessMetrics:
    """Renders the process's own series.

    The exporter's counts change with polls and not with scrapes, so their lines are kept until they do.

    Args:
        own: the exporter's counts.
        collectors: of prometheus-client, for what else the process tells of itself; gauges and counters only.
    """

    def __init__(self, own: OwnMetrics, collectors: Sequence[Collector] = ()) -> None:
        self._own = own
        self._collectors = collectors
        self._kept: dict[bool, tuple[tuple[Sample, ...], bytes]] = {}
        self._lines: dict[tuple[str, bool], tuple[Sequence[object], bytes]] = {}

    def text(self, *, openmetrics: bool) -> bytes:
        """Return the lines, with OpenMetrics' end."""
        samples = tuple(self._own.samples())
        kept, text = self._kept.get(openmetrics, ((), b""))
        if kept != samples:
            text = _rendered(samples, openmetrics=openmetrics)
            self._kept[openmetrics] = (samples, text)
        pieces = [text]
        if self._own.scrape_seconds:
            pieces.append(family_header(SCRAPE_DURATION, openmetrics=openmetrics))
            pieces.append(lines(SCRAPE_DURATION, (Sample(SCRAPE_DURATION.name, (), self._own.scrape_seconds),)))
        for collector in self._collectors:
            pieces += [self._of(metric, openmetrics=openmetrics) for metric in collector.collect()]
        return b"".join((*pieces, EOF) if openmetrics else pieces)

    def _of(self, metric: Metric, *, openmetrics: bool) -> bytes:
        """Return a metric's lines; most of them are those of the scrape before."""
        samples, made = self._lines.get((metric.name, openmetrics), ((), b""))
        if samples != metric.samples:
            made = metric_lines(metric, openmetrics=openmetrics)
            self._lines[metric.name, openmetrics] = (metric.samples, made)
        return made


def _rendered(samples: Sequence[Sample], *, openmetrics: bool) -> bytes:
    by_family: dict[str, list[Sample]] = {}
    for sample in samples:
        by_family.setdefault(sample.family, []).append(sample)
    pieces = []
    for family in OWN_FAMILIES:
        if family.name in by_family:
            pieces += [family_header(family, openmetrics=openmetrics), lines(family, by_family[family.name])]
    return b"".join(pieces)


class FastProcessCollector(Collector):
    """`process_*` as prometheus-client's collector gives it, with fewer reads of /proc; nothing where there is none.

    Args:
        proc: where it is.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._files = f"{proc}/self/fd"
        self._metrics = tuple(ProcessCollector(proc=proc, registry=None).collect())
        self._fixed = {m.name: m.samples[0].value for m in self._metrics if m.name == "process_start_time_seconds"}
        self._last: dict[str, Metric] = {}
        if self._metrics:
            self._page_size = os.sysconf("SC_PAGESIZE")
            # Kept open: a scrape tells of the process's memory also when no further file can be opened.
            self._statm = os.open(f"{proc}/self/statm", os.O_RDONLY)
            weakref.finalize(self, os.close, self._statm)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now; without what cannot be read."""
        if not self._metrics:
            return
        now = self._values()
        for metric in self._metrics:
            if metric.name in now:
                again = self._last.get(metric.name)
                if again is None or again.samples[0].value != now[metric.name]:
                    again = Metric(metric.name, metric.documentation, metric.type)
                    again.add_sample(metric.samples[0].name, {}, now[metric.name])
                    self._last[metric.name] = again
                yield again

    def _values(self) -> dict[str, float]:
        import resource  # noqa: PLC0415 - does not exist on Windows, which has no /proc either

        used = resource.getrusage(resource.RUSAGE_SELF)
        values = dict(self._fixed)
        values["process_cpu_seconds"] = used.ru_utime + used.ru_stime
        values["process_max_fds"] = float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        size, resident, *_ = os.pread(self._statm, 200, 0).split()
        values["process_virtual_memory_bytes"] = float(size) * self._page_size
        values["process_resident_memory_bytes"] = float(resident) * self._page_size
        with suppress(OSError):
            # From Linux 6.2 on the folder's size says how many files are open, before that its list does.
            values["process_open_fds"] = float(os.stat(self._files).st_size or len(os.listdir(self._files)))  # noqa: PTH116, PTH208 - a scrape waits
        return values
