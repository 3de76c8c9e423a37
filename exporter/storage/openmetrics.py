"""The stored reports as OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from exporter.state import Key
    from exporter.storage.history import Edition, History, Series

    Span = tuple[int, int, float]
    """From, to (milliseconds) and the value between."""

# Just under Prometheus' look-back of 5 minutes, so that a range query sees no gap between two samples.
STEP = 240.0

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Gauge:
    """How a report's column goes to /metrics: its metric, and its labels next to tenant and product_type."""

    name: str
    help: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Derived:
    """A metric that /metrics showed next to a report's columns, such as the report's date or a target.

    Attributes:
        name: its metric.
        help: its HELP.
        reports: the reports that bring it.
        samples: the labels next to tenant, and the value, of each of its series while a report was on /metrics.
    """

    name: str
    help: str
    reports: Sequence[str]
    samples: Callable[[Edition], Iterator[tuple[Mapping[str, str], float]]]


def as_given(_key: Key, product_types: Sequence[str]) -> Mapping[str, str]:
    """Return Microsoft's own names as the labels of `product_types`."""
    return {product_type: product_type for product_type in product_types}


def openmetrics_lines(
    history: History,
    *,
    gauges: Mapping[str, Sequence[Gauge]],
    derived: Sequence[Derived] = (),
    now: float,
    step: float = STEP,
    product_labels: Callable[[Key, Sequence[str]], Mapping[str, str]] = as_given,
    max_age: Callable[[Key], float] = lambda _: float("inf"),
    extra_labels: Mapping[str, str] | None = None,
    tenants: Sequence[str] = (),
    names: Mapping[tuple[str, str], str] | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Iterator[str]:
    """Write what was on /metrics as OpenMetrics 1.0.0, every sample with its time.

    A report is repeated every `step` seconds from the moment it was first published until it was replaced by
    the next, but not beyond `max_age` after the last good poll with it: then the exporter had withdrawn it. At any
    time a tenant's name stands for one tenant only, whoever had it. A run until T and one since T make the same
    samples as one run over both.
    https://prometheus.io/docs/prometheus/latest/storage/#backfilling-from-openmetrics-format

    Args:
        history: the open storage.
        gauges: for each report the gauges of its counts, in their order; other reports are left out.
        derived: the metrics that follow from a report, as the configuration is now.
        now: Unix seconds; no sample is at or after it.
        step: seconds between two samples of a series, at least 1.
        product_labels: the labels of one report's product types, as on /metrics; a missing one is left out.
        max_age: the seconds after which a report without a good poll is withdrawn.
        extra_labels: labels for every sample, such as job and instance.
        tenants: only these, by name or tenant id; all where empty.
        names: the configured name of a cloud and tenant id.
        since: only samples from then on, Unix seconds.
        until: only samples before that, Unix seconds.

    Yields:
        Lines, each with its line end; `# EOF` last.

    Raises:
        ConfigError: `step` or `extra_labels` cannot be used, or nothing is stored of one of `tenants`.
        StorageError: the file cannot be read.
    """
    extra = dict(extra_labels or {})
    _refuse_bad_arguments(step, extra, gauges)
    limits = (_milliseconds(since or 0.0), _milliseconds(now if until is None else min(until, now)))
    found = [series for series in history.series(tenants=tenants, names=names) if series.key.report in gauges]
    for family, report, columns in _families(gauges):
        yield f"# HELP {family} {_escape_help(gauges[report][columns[0]].help)}\n# TYPE {family} gauge\n"
        for tenant, group in groupby((one for one in found if one.key.report == report), lambda one: one.tenant):
            editions = _in_order(history, group)
            for column in columns:
                labels = {**extra, **gauges[report][column].labels, "tenant": tenant}
                steps = _steps(editions, column, product_labels, max_age)
                for product_label, spans in sorted(steps.items()):
                    name = family + _labels({**labels, "product_type": product_label})
                    yield from _samples(name, spans, limits, _milliseconds(step))
    for metric in derived:
        yield f"# HELP {metric.name} {_escape_help(metric.help)}\n# TYPE {metric.name} gauge\n"
        of_metric = (one for report in metric.reports for one in found if one.key.report == report)
        for (_, tenant), group in groupby(of_metric, lambda one: (one.key.report, one.tenant)):
            steps_of = _derived_steps(_in_order(history, group), metric, max_age)
            for more, spans in sorted(steps_of.items()):
                name = metric.name + _labels({**extra, "tenant": tenant, **dict(more)})
                yield from _samples(name, spans, limits, _milliseconds(step))
    yield "# EOF\n"


def _families(gauges: Mapping[str, Sequence[Gauge]]) -> Iterator[tuple[str, str, list[int]]]:
    """Yield each metric with its report and the report's columns that go to it."""
    for report, columns in gauges.items():
        for name in dict.fromkeys(gauge.name for gauge in columns):
            yield name, report, [number for number, gauge in enumerate(columns) if gauge.name == name]


def _in_order(history: History, group: Iterator[Series]) -> list[Edition]:
    editions = [edition for series in group for edition in history.published(series)]
    return sorted(editions, key=lambda edition: edition.published_at)


def _steps(
    editions: list[Edition],
    column: int,
    product_labels: Callable[[Key, Sequence[str]], Mapping[str, str]],
    max_age: Callable[[Key], float],
) -> dict[str, list[Span]]:
    """Return for each product label its values, in order, without overlap."""
    steps: dict[str, list[Span]] = {}
    for edition, start, end in _shown(editions, max_age):
        labels = product_labels(edition.key, [row.product_type for row in edition.snapshot.rows])
        for row in edition.snapshot.rows:
            if row.product_type in labels and column < len(row.counts):
                steps.setdefault(labels[row.product_type], []).append((start, end, row.counts[column]))
    return steps


def _derived_steps(
    editions: list[Edition], metric: Derived, max_age: Callable[[Key], float]
) -> dict[tuple[tuple[str, str], ...], list[Span]]:
    """Return the same of a derived metric, by its labels."""
    steps: dict[tuple[tuple[str, str], ...], list[Span]] = {}
    for edition, start, end in _shown(editions, max_age):
        for labels, value in metric.samples(edition):
            steps.setdefault(tuple(labels.items()), []).append((start, end, value))
    return steps


def _shown(editions: list[Edition], max_age: Callable[[Key], float]) -> Iterator[tuple[Edition, int, int]]:
    """Yield each edition with the milliseconds from and to which it was on /metrics."""
    ends = [*(after.published_at for after in editions[1:]), float("inf")]
    for edition, replaced in zip(editions, ends, strict=False):
        end = min(replaced, edition.confirmed_at + max_age(edition.key))
        start = edition.published_at
        for since, until in edition.withdrawn:
            yield edition, _milliseconds(start), _milliseconds(min(since, end))
            start = until
        yield edition, _milliseconds(start), _milliseconds(end)


def _samples(name: str, spans: list[Span], limits: tuple[int, int], step: int) -> Iterator[str]:
    since, until = limits
    for start, end, value in spans:
        # The first sample of the span's own grid that is not before `since`.
        first = start + max(0, -(-(since - start) // step)) * step
        for at in range(first, min(end, until), step):
            yield f"{name} {value} {at // 1000}.{at % 1000:03d}\n"


def _milliseconds(seconds: float) -> int:
    """Return whole milliseconds, Prometheus' unit of time; more than enough for what never ends."""
    return round(min(seconds, 1e15) * 1000)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(labels.items()))
    return "{" + pairs + "}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _refuse_bad_arguments(step: float, extra: Mapping[str, str], gauges: Mapping[str, Sequence[Gauge]]) -> None:
    taken = {"tenant", "product_type"} | {
        name for columns in gauges.values() for gauge in columns for name in gauge.labels
    }
    errors = [f"--step {step:g}s: at most one sample a second"] if step < 1 else []
    for name in extra:
        if not _LABEL_NAME.match(name) or name.startswith("__"):
            errors.append(f"--label {name}: not a label name; use letters, digits and _, such as job=office365")
        elif name in taken:
            errors.append(f"--label {name}: the reports already have this label; choose another name")
    if errors:
        raise ConfigError(tuple(errors))
