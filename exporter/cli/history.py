"""`history`: the stored reports, as CSV or as OpenMetrics for promtool."""

from __future__ import annotations

import io
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.config import load
from exporter.config.errors import config_error
from exporter.config.times import parse_duration
from exporter.errors import ConfigError
from exporter.families import TENANT_FAMILIES
from exporter.labels import product_labels
from exporter.metrics import target_of
from exporter.reports import REPORTS
from exporter.storage.history import History, csv_lines
from exporter.storage.openmetrics import Derived, Gauge, openmetrics_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TextIO

    from exporter.cli.arguments import Arguments
    from exporter.config import Config, Tenant
    from exporter.families import Family
    from exporter.state import Key
    from exporter.storage.history import Edition

    _Value = tuple[Mapping[str, str], float]


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Print the history; return the exit code."""
    config = load(arguments.flags, environ, need_tenants=False)
    if config.storage.path is None:
        raise config_error("storage.path", "is not set", "without storage there is no history")
    options = arguments.options
    chosen: dict[str, Any] = {
        "tenants": tuple(options["tenant"] or ()),
        "names": {(key.cloud, key.tenant_id): name for key, name in _names(config).items()},
        "since": _moment("--since", options["since"]),
        "until": _moment("--until", options["until"]),
    }
    repeated = {"step": _step(options["step"]), "extra_labels": _labels(options["label"] or ())}
    with History.open(config.storage.path) as history:
        history.series(tenants=chosen["tenants"], names=chosen["names"])  # refuses unknown ones before any output
        if options["format"] == "csv":
            columns = {report.name: [column.full_name for column in report.columns] for report in REPORTS.values()}
            _write(csv_lines(history, columns=columns, **chosen))
        else:
            _write(_openmetrics(history, config, chosen | repeated))
    return 0


def _openmetrics(history: History, config: Config, chosen: Mapping[str, Any]) -> Iterator[str]:
    known = {key: tenant for tenant in config.tenants for key in tenant.keys}
    helps = {family.name: family for family in TENANT_FAMILIES}

    def labels(key: Key, product_types: Sequence[str]) -> Mapping[str, str]:
        return product_labels(product_types, known[key].report.product_names if key in known else {})

    def max_age(key: Key) -> float:
        return known[key].report.max_age if key in known else config.report.max_age

    gauges = {
        report.name: [
            Gauge(helps[column.metric].full_name, helps[column.metric].help, dict(column.labels))
            for column in report.columns
        ]
        for report in REPORTS.values()
    }
    return openmetrics_lines(
        history,
        gauges=gauges,
        derived=_derived(known, helps, labels),
        now=time.time(),
        product_labels=labels,
        max_age=max_age,
        **chosen,
    )


def _derived(
    known: Mapping[Key, Tenant],
    helps: Mapping[str, Family],
    labels: Callable[[Key, Sequence[str]], Mapping[str, str]],
) -> list[Derived]:
    """Return what rules and dashboards need for the past: the report's date, targets and prices as configured now."""

    def dates(edition: Edition) -> Iterator[_Value]:
        day = edition.snapshot.refresh_date
        yield {"report": edition.key.report}, datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()

    def by_product(value_of: Callable[[Tenant, str, int], float | None]) -> Callable[[Edition], Iterator[_Value]]:
        def values(edition: Edition) -> Iterator[_Value]:
            if (tenant := known.get(edition.key)) is None:
                return
            column = [one.metric for one in REPORTS[edition.key.report].columns].index("assigned_users")
            named = labels(edition.key, [row.product_type for row in edition.snapshot.rows])
            for row in edition.snapshot.rows:
                label = named.get(row.product_type)
                if label is None or column >= len(row.counts):
                    continue
                if (value := value_of(tenant, label, row.counts[column])) is not None:
                    yield {"product_type": label}, value

        return values

    def prices(edition: Edition) -> Iterator[_Value]:
        for about, price in by_product(lambda tenant, label, _: tenant.prices.price_of(label))(edition):
            yield {**about, "currency": known[edition.key].prices.currency or ""}, price

    targets = by_product(lambda tenant, label, assigned: target_of(tenant.targets, label, assigned))
    users = [name for name, one in REPORTS.items() if "assigned_users" in {column.metric for column in one.columns}]
    return [
        Derived(helps[name].full_name, helps[name].help, reports, values)
        for name, reports, values in (
            ("target_ratio", users, targets),
            ("license_price", users, prices),
            ("report_refresh_timestamp_seconds", tuple(REPORTS), dates),
        )
    ]


def _names(config: Config) -> Mapping[Key, str]:
    return {key: tenant.name for tenant in config.tenants for key in tenant.keys}


def _write(lines: Iterator[str]) -> None:
    out: TextIO = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding="utf-8", newline="")  # the lines bring their own ends, those of RFC 4180 for CSV
    out.writelines(lines)


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
