"""The metrics of the exporter and its process, rendered at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import PlatformCollector

from exporter.families import OWN_FAMILIES, SCRAPE_DURATION
from exporter.lines import EOF, family_header, lines, metric_lines
from exporter.metrics import Sample
from exporter.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

    from exporter.metrics import OwnMetrics


def process_collectors() -> tuple[Collector, ...]:
    """Return what collects `process_*` and `python_info`."""
    return (Process(), PlatformCollector(registry=None))


class Tail:
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
