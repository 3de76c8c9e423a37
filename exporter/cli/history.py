"""`history`: the stored reports, as CSV or as OpenMetrics for `promtool tsdb create-blocks-from openmetrics`."""

from __future__ import annotations

import csv
import io
import re
import sys
import time
from datetime import UTC, datetime
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from exporter.cli.common import set_up_log
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

    from exporter.cli import Arguments
    from exporter.metrics import Family, Sample
    from exporter.reports import Report
    from exporter.state import Snapshot
    from exporter.storage.history import Series

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Print the history; return the exit code."""
    config = load(arguments.flags, environ, need_tenants=False)
    set_up_log(config, "warning")
    if config.root.storage.path is None:
        raise config_error("storage.path", "is not set", "without storage there is no history")
    options = arguments.options
    since = _moment("--since", options["since"])
    until = _moment("--until", options["until"])
    step, extra_labels = _step(options["step"]), _labels(options["label"] or ())
    with History(config.root.storage.path) as history:
        chosen = history.series(config.configured, options["tenant"] or ())
        out: TextIO = sys.stdout
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(newline="")  # the lines bring their own ends, those of RFC 4180 for CSV
        if options["format"] == "csv":
            write_csv(out, history, chosen, since, until)
        else:
            until, max_age = min(until, time.time()), config.root.report.max_age
            out.writelines(
                openmetrics_lines(history, chosen, since, until, max_age=max_age, step=step, extra_labels=extra_labels)
            )
    return 0


def write_csv(out: TextIO, history: History, chosen: Iterable[Series], since: float, until: float) -> None:
    """Write the reports with a refresh date (midnight UTC) from `since` until before `until` (Unix seconds) as CSV.

    It is that of RFC 4180: a header, then a record for each report and product type. Counts of another report are
    empty. Product types are as Microsoft gave them: a spreadsheet may take one that begins with `=`, `+`, `-` or `@`
    for a formula, so import that column as text.

    Raises:
        StorageError: the file cannot be read.
    """
    columns = {report.name: [column.full_name for column in report.columns] for report in REPORTS.values()}
    counts = dict.fromkeys(name for names in columns.values() for name in names)
    about = ("cloud", "tenant_id", "tenant", "report", "refresh_date", "product_type")
    writer = csv.writer(out)
    writer.writerow([*about, *counts, "collected_at", "request_id"])
    for one in chosen:
        key = one.key
        for snapshot in history.current(one) if key.report in columns else ():
            day = snapshot.refresh_date
            if not since <= midnight(day) < until:
                continue
            read = datetime.fromtimestamp(snapshot.collected_at, UTC)
            for row in snapshot.rows:
                values = (key.cloud, key.tenant_id, one.name, key.report, day, row.product_type)
                given = dict(zip(columns[key.report], row.counts, strict=False))
                numbers = [given.get(name, "") for name in counts]
                writer.writerow([*values, *numbers, f"{read:%Y-%m-%dT%H:%M:%SZ}", snapshot.request_id])


def openmetrics_lines(
    history: History,
    chosen: Sequence[Series],
    since: float,
    until: float,
    *,
    max_age: float,
    step: float,
    extra_labels: Mapping[str, str],
) -> Iterator[str]:
    """Write what was on /metrics from `since` until before `until` (Unix seconds), as OpenMetrics 1.0.0.

    A report is repeated every `step` seconds from the moment it was first published until it was replaced by
    the next, but not beyond max_age after the last good poll with it: then the exporter had withdrawn it. At any
    time a tenant's name stands for one tenant only, whoever had it. A run until T and one since T make the same
    samples as one run over both.
    https://prometheus.io/docs/prometheus/latest/storage/#backfilling-from-openmetrics-format

    All samples of a metric must stand together: each report is read once for each metric that it brings, so that one
    tenant's past is held at a time, not everybody's.

    Args:
        history: the open storage.
        chosen: of which tenants' reports, sorted by the tenant's name.
        since: only samples from then on.
        until: only samples before that.
        max_age: that of tenants who are no longer configured, seconds.
        step: seconds between two samples of a series, at least 1.
        extra_labels: labels for every sample, such as job and instance.

    Yields:
        Lines, each with its line end; `# EOF` last.

    Raises:
        StorageError: the file cannot be read.
    """
    begin, end = _milliseconds(since), _milliseconds(until)
    for family, reports in _reports_of_families():
        yield family_header(family, openmetrics=True).decode()
        stored = ((report, one) for report in reports for one in chosen if one.key.report == report.name)
        for (report, name), group in groupby(stored, lambda pair: (pair[0], pair[1].name)):
            spans = _spans(family, report, name, _shown(history, (one for _, one in group), begin, end, max_age))
            for labels, values in spans.items():
                pairs = {**dict(zip(family.labels, labels, strict=True)), **extra_labels}
                line = series(family.full_name, sorted(pairs.items()))
                for start, last, value in values:
                    # The first sample of the span's own grid that is not before `since`.
                    first = start + max(0, -(-(begin - start) // _milliseconds(step))) * _milliseconds(step)
                    for at in range(first, min(last, end), _milliseconds(step)):
                        yield f"{line} {value} {at // 1000}.{at % 1000:03d}\n"
    yield EOF.decode()


def _reports_of_families() -> Iterator[tuple[Family, list[Report]]]:
    """Yield what a report brings to /metrics, each with the reports that may have it."""
    metrics = {one: {column.metric for column in one.columns} for one in REPORTS.values()}
    for family in REPORT_FAMILIES:
        owners = [one for one in metrics if family.name in metrics[one]]
        if not owners and family is not REPORT_DATE:  # targets and prices
            owners = [one for one in metrics if "assigned_users" in metrics[one]]
        yield family, owners or list(metrics)


def _spans(
    family: Family, report: Report, name: str, shown: Iterable[tuple[Series, Snapshot, int, int]]
) -> dict[tuple[str, ...], list[tuple[int, int, float]]]:
    """Return the values of each of a family's series by its labels, with the milliseconds from and to which each held.

    They are in order, without overlap.
    """
    spans: dict[tuple[str, ...], list[tuple[int, int, float]]] = {}
    for one, snapshot, start, end in shown:
        samples: Iterable[Sample] = (date_sample(name, report.name, snapshot),)
        if family is not REPORT_DATE:
            samples = count_samples(name, report, snapshot, one.tenant)
        for sample in samples:
            if sample.family == family.name:
                spans.setdefault(sample.labels, []).append((start, end, sample.value))
    return spans


def _shown(
    history: History, group: Iterable[Series], begin: int, end: int, max_age: float
) -> list[tuple[Series, Snapshot, int, int]]:
    """Return what one name had on /metrics between `begin` and `end`, with the milliseconds from and to which."""
    editions = [edition for one in group for edition in history.published(one)]
    editions.sort(key=lambda edition: edition.published_at)
    times = []
    for edition, after in zip_longest(editions, editions[1:]):
        tenant = edition.series.tenant
        expires = edition.confirmed_at + (tenant.report.max_age if tenant else max_age)
        ended = min(expires, after.published_at) if after else expires
        turns = (edition.published_at, *edition.withdrawn, ended)
        for start, stop in zip(turns[::2], turns[1::2], strict=True):
            times.append((edition, _milliseconds(start), _milliseconds(min(stop, ended))))
    times = [(edition, start, ended) for edition, start, ended in times if start < end and ended > begin]
    read = history.snapshots(edition for edition, _, _ in times)
    return [
        (edition.series, read[edition.number], start, ended)
        for edition, start, ended in times
        if edition.number in read
    ]


def _milliseconds(seconds: float) -> int:
    """Return whole milliseconds, Prometheus' unit of time; more than enough for what never ends."""
    return round(min(seconds, 1e15) * 1000)


def _moment(flag: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        what, fix = f"{text!r} is not a date or time", "write 2026-01-31 or 2026-01-31T12:00:00Z"
        raise config_error(flag, what, fix) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _step(text: str) -> float:
    try:
        step = parse_duration(text)
    except ValueError as error:
        what = f"has no unit; write {text}s or {text}m" if text.isdecimal() else f"is {error}; write it like 4m"
        raise ConfigError((f"--step: {text!r} {what}",)) from None
    if step <= 0:
        raise config_error("--step", f"{text!r} is not a duration", "write it like 4m")
    if step < 1:
        raise ConfigError((f"--step {step:g}s: at most one sample a second",))
    return step


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    taken = {label for family in REPORT_FAMILIES for label in family.labels}
    errors: list[str] = []
    labels: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        labels[name] = value
        if not equals:
            errors.append(f"--label: {name!r} has no value; write it like job=office365")
        elif value != value.encode(errors="replace").decode():
            errors.append(f"--label {name}: {value!r} is not UTF-8; choose another value")
        elif not _LABEL_NAME.match(name) or name.startswith("__"):
            errors.append(f"--label {name}: not a label name; use letters, digits and _, such as job=office365")
        elif name in taken:
            errors.append(f"--label {name}: the reports already have this label; choose another name")
    if errors:
        raise ConfigError(tuple(errors))
    return labels
