"""`history`: the stored reports, as CSV or as OpenMetrics for `promtool tsdb create-blocks-from openmetrics`."""

from __future__ import annotations

import csv
import io
import re
import sys
import time
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from exporter.cli.arguments import set_up_log
from exporter.config import load
from exporter.config.errors import config_error
from exporter.config.times import parse_duration
from exporter.errors import ConfigError
from exporter.exposition import EOF, family_header, series
from exporter.metrics import REPORT_DATE, REPORT_FAMILIES, count_samples, date_sample
from exporter.reports import REPORTS
from exporter.state import midnight
from exporter.storage.history import History

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from exporter.cli.arguments import Arguments
    from exporter.config import Tenant
    from exporter.metrics import Family, Sample
    from exporter.reports import Report
    from exporter.state import Snapshot
    from exporter.storage.history import Edition

    Span = tuple[int, int, float]
    """From, to (milliseconds) and the value between."""

# Just under Prometheus' look-back of 5 minutes, so that a range query sees no gap between two samples.
STEP = 240.0

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Print the history; return the exit code."""
    config = load(arguments.flags, environ, need_tenants=False)
    set_up_log(config, "warning")
    if config.storage.path is None:
        raise config_error("storage.path", "is not set", "without storage there is no history")
    options = arguments.options
    chosen: dict[str, Any] = {
        "tenants": tuple(options["tenant"] or ()),
        "since": _moment("--since", options["since"]),
        "until": _moment("--until", options["until"]),
    }
    repeated: dict[str, Any] = {"step": _step(options["step"]), "extra_labels": _labels(options["label"] or ())}
    with History.open(config.storage.path) as history:
        # Refuses unknown tenants before any output.
        history.series(tenants=chosen["tenants"], names=_names(config.configured))
        if options["format"] == "csv":
            lines = csv_lines(history, config.configured, **chosen)
        else:
            lines = openmetrics_lines(
                history, config.configured, max_age=config.root.report.max_age, now=time.time(), **repeated, **chosen
            )
        out: TextIO = sys.stdout
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(newline="")  # the lines bring their own ends, those of RFC 4180 for CSV
        out.writelines(lines)
    return 0


def csv_lines(
    history: History,
    configured: Iterable[Tenant] = (),
    *,
    tenants: Sequence[str] = (),
    since: float | None = None,
    until: float | None = None,
) -> Iterator[str]:
    """Write the stored reports as CSV (RFC 4180): a header, then a record a report and product type.

    A record has the columns cloud, tenant_id, tenant, report, refresh_date, product_type (as Microsoft gave it),
    the counts (empty where they are another report's), collected_at and request_id. Product types are not altered:
    a spreadsheet may take one that begins with `=`, `+`, `-` or `@` for a formula, so import that column as text.

    Args:
        history: the open storage.
        configured: the tenants as they are now, with their names.
        tenants: only these, by name or tenant id; all where empty.
        since: only reports whose refresh date (midnight UTC) is not before this, Unix seconds.
        until: only reports whose refresh date (midnight UTC) is before this, Unix seconds.

    Yields:
        Records, each with its line end.

    Raises:
        ConfigError: nothing is stored of one of `tenants`.
        StorageError: the file cannot be read.
    """
    columns = {report.name: [column.full_name for column in report.columns] for report in REPORTS.values()}
    counts = list(dict.fromkeys(name for names in columns.values() for name in names))
    before = ("cloud", "tenant_id", "tenant", "report", "refresh_date", "product_type")
    yield _record([*before, *counts, "collected_at", "request_id"])
    for one in history.series(tenants=tenants, names=_names(configured)):
        key = one.key
        for snapshot in history.current(one) if key.report in columns else ():
            day = snapshot.refresh_date
            begins = midnight(day)
            if (since is not None and begins < since) or (until is not None and begins >= until):
                continue
            read = datetime.fromtimestamp(snapshot.collected_at, UTC).isoformat(timespec="seconds")
            for row in snapshot.rows:
                values = dict(zip(columns[key.report], row.counts, strict=False))
                about = (key.cloud, key.tenant_id, one.tenant, key.report, day, row.product_type)
                numbers = [values.get(name, "") for name in counts]
                yield _record([*about, *numbers, read.replace("+00:00", "Z"), snapshot.request_id])


def _record(values: Iterable[object]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue()


def openmetrics_lines(
    history: History,
    configured: Iterable[Tenant],
    *,
    max_age: float,
    now: float,
    step: float = STEP,
    extra_labels: Mapping[str, str] | None = None,
    tenants: Sequence[str] = (),
    since: float | None = None,
    until: float | None = None,
) -> Iterator[str]:
    """Write what was on /metrics as OpenMetrics 1.0.0, every sample with its time.

    A report is repeated every `step` seconds from the moment it was first published until it was replaced by
    the next, but not beyond max_age after the last good poll with it: then the exporter had withdrawn it. At any
    time a tenant's name stands for one tenant only, whoever had it. A run until T and one since T make the same
    samples as one run over both.
    https://prometheus.io/docs/prometheus/latest/storage/#backfilling-from-openmetrics-format

    Args:
        history: the open storage.
        configured: the tenants as they are now, with names, renamed products, targets, prices and max_age.
        max_age: that of all other tenants' reports, seconds.
        now: Unix seconds; no sample is at or after it.
        step: seconds between two samples of a series, at least 1.
        extra_labels: labels for every sample, such as job and instance.
        tenants: only these, by name or tenant id; all where empty.
        since: only samples from then on, Unix seconds.
        until: only samples before that, Unix seconds.

    Yields:
        Lines, each with its line end; `# EOF` last.

    Raises:
        ConfigError: `step` or `extra_labels` cannot be used, or nothing is stored of one of `tenants`.
        StorageError: the file cannot be read.
    """
    extra = dict(extra_labels or {})
    _refuse_bad_arguments(step, extra)
    known = {(key.cloud, key.tenant_id): tenant for tenant in configured for key in tenant.keys}
    limits = (_milliseconds(since or 0.0), _milliseconds(now if until is None else min(until, now)))
    found = history.series(tenants=tenants, names=_names(known.values()))
    for family, reports in _reports_of_families():
        yield family_header(family, openmetrics=True).decode()
        stored = ((report, one) for report in reports for one in found if one.key.report == report.name)
        for (report, tenant), group in groupby(stored, lambda pair: (pair[0], pair[1].tenant)):
            editions = [edition for _, one in group for edition in history.published(one)]
            shown = [
                (edition, start, end)
                for edition, start, end in _shown(editions, known, max_age)
                if start < limits[1] and end > limits[0]
            ]
            read = history.snapshots(edition for edition, _, _ in shown)
            readable = (
                (read[edition.number], known.get(edition.series.place), start, end)
                for edition, start, end in shown
                if edition.number in read
            )
            spans = _spans(family, report, tenant, readable)
            columns = list(dict.fromkeys(labels[2:] for labels in spans))
            for labels in sorted(spans, key=lambda labels: (columns.index(labels[2:]), labels)):
                pairs = extra | dict(zip(family.labels, labels, strict=True))
                name = series(family.full_name, sorted(pairs.items()))
                yield from _samples(name, spans[labels], limits, _milliseconds(step))
    yield EOF.decode()


def _names(tenants: Iterable[Tenant]) -> Mapping[tuple[str, str], str]:
    """Return the configured name of each stored cloud and tenant id."""
    return {(key.cloud, key.tenant_id): tenant.name for tenant in tenants for key in tenant.keys}


def _reports_of_families() -> Iterator[tuple[Family, list[Report]]]:
    """Yield what a report brings to /metrics, each with the reports that may have it."""
    metrics = {one: {column.metric for column in one.columns} for one in REPORTS.values()}
    for family in REPORT_FAMILIES:
        owners = [one for one in metrics if family.name in metrics[one]]
        if not owners and family is not REPORT_DATE:  # targets and prices
            owners = [one for one in metrics if "assigned_users" in metrics[one]]
        yield family, owners or list(metrics)


def _spans(
    family: Family,
    report: Report,
    tenant: str,
    shown: Iterable[tuple[Snapshot, Tenant | None, int, int]],
) -> dict[tuple[str, ...], list[Span]]:
    """Return the values of each of a family's series by its labels: in order, without overlap."""
    spans: dict[tuple[str, ...], list[Span]] = {}
    for snapshot, configured, start, end in shown:
        samples: Iterable[Sample] = (date_sample(tenant, report.name, snapshot),)
        if family is not REPORT_DATE:
            samples = count_samples(tenant, report, snapshot, configured)
        for sample in samples:
            if sample.family == family.name:
                spans.setdefault(sample.labels, []).append((start, end, sample.value))
    return spans


def _shown(
    editions: list[Edition], known: Mapping[tuple[str, str], Tenant], max_age: float
) -> Iterator[tuple[Edition, int, int]]:
    """Yield each edition with the milliseconds from and to which it was on /metrics."""
    editions = sorted(editions, key=lambda edition: edition.published_at)
    ends = [*(after.published_at for after in editions[1:]), float("inf")]
    for edition, replaced in zip(editions, ends, strict=False):
        tenant = known.get(edition.series.place)
        end = min(replaced, edition.confirmed_at + (tenant.report.max_age if tenant else max_age))
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


def _refuse_bad_arguments(step: float, extra: Mapping[str, str]) -> None:
    taken = {label for family in REPORT_FAMILIES for label in family.labels}
    errors = [f"--step {step:g}s: at most one sample a second"] if step < 1 else []
    for name, value in extra.items():
        if value != value.encode(errors="replace").decode():
            errors.append(f"--label {name}: {value!r} is not UTF-8; choose another value")
        if not _LABEL_NAME.match(name) or name.startswith("__"):
            errors.append(f"--label {name}: not a label name; use letters, digits and _, such as job=office365")
        elif name in taken:
            errors.append(f"--label {name}: the reports already have this label; choose another name")
    if errors:
        raise ConfigError(tuple(errors))


def _moment(flag: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            (f"{flag}: {text!r} is not a date or time; write 2026-01-31 or 2026-01-31T12:00:00Z",)
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _step(text: str) -> float:
    try:
        step = parse_duration(text)
    except ValueError as error:
        what = f"has no unit; write {text}s or {text}m" if text.isdecimal() else f"is {error}; write it like 4m"
        raise ConfigError((f"--step: {text!r} {what}",)) from None
    if step <= 0:
        raise config_error("--step", f"{text!r} is not a duration", "write it like 4m")
    return step


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, equals, _ in split if not equals]:
        raise ConfigError(tuple(f"--label: {name!r} has no value; write it like job=office365" for name in wrong))
    return {name: value for name, _, value in split}
