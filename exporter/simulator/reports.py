"""The two reports: what they say for any day, computed and never stored, and how CSV and JSON write it.

https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
https://learn.microsoft.com/graph/api/reportroot-getoffice365activationcounts
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from exporter.simulator.tenants import COMPANIES, between, draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Date, product type, and one cell for each column.
Line: TypeAlias = tuple[object, ...]

BOM = b"\xef\xbb\xbf"


# Product type and the largest share of the tenant's people that holds it; the first is in every tenant.
PRODUCTS = (
    ("Microsoft 365 Apps for enterprise", 1.0),
    ("Microsoft 365 Apps for business", 0.5),
    ("Visio Plan 2", 0.2),
    ("Project Plan 3", 0.15),
    ("Project Plan 5", 0.06),
    ("Project Online Desktop Client", 0.1),
    ("Visio Desktop App", 0.12),
    ("Office for Mac", 0.3),
)
# A service plan of the E5 suites that is never installed: as many users as the first product has, none active.
E5_PLAN = "Microsoft Excel Advanced Analytics"
_E5_SHARE = 0.4
_LEAST_PRODUCTS, _MOST_PRODUCTS = 3, 6
_SMALLEST, _LARGEST = 80, 9000
_DAYS_BEHIND = 2
_SATURDAY = 5
_EPOCH = date(2024, 1, 1)


@dataclass(frozen=True, slots=True)
class Report:
    """One report of Graph.

    Attributes:
        name: as in the exporter's configuration.
        function: its name in Graph's path.
        columns: of the CSV, after the date and the product type.
        keys: the JSON properties that stand for these columns.
    """

    name: str
    function: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]


USER_COUNTS = Report(
    "activations_user_counts",
    "getOffice365ActivationsUserCounts",
    ("Assigned", "Activated", "Shared Computer Activation"),
    ("assigned", "activated", "sharedComputerActivation"),
)
PLATFORM_COUNTS = Report(
    "activations_platform_counts",
    "getOffice365ActivationCounts",
    ("Windows", "Mac", "Android", "iOS", "Windows 10 Mobile"),
    ("windows", "mac", "android", "ios", "windows10Mobile"),
)
REPORTS: Mapping[str, Report] = {report.name: report for report in (USER_COUNTS, PLATFORM_COUNTS)}
BY_FUNCTION: Mapping[str, Report] = {report.function: report for report in REPORTS.values()}


@dataclass(frozen=True, slots=True)
class Row:
    """One product type's numbers, in the order of the report's columns; the name in title case, as in JSON."""

    product_type: str
    counts: tuple[int, ...]


def refresh_date(now: float) -> date:
    """Return the date of the newest report at `now` (Unix seconds): two days behind, by UTC."""
    return datetime.fromtimestamp(now, UTC).date() - timedelta(days=_DAYS_BEHIND)


def make_rows(seed: int, tenant: str, report: Report, day: date, *, low: bool = False) -> tuple[Row, ...]:
    """Return the rows of a tenant's report for `day`, past or future.

    With `low`, the first product and some others are activated by well under half of those who hold them.
    """
    rows = [_row(seed, tenant, report, day, number, low=low) for number in _products(seed, tenant)]
    if tenant == COMPANIES[0] or draw(seed, tenant, "E5") < _E5_SHARE:
        assigned = _users(seed, tenant, day, 0, low=low)[0]
        rows.append(Row(E5_PLAN, (assigned, 0, 0) if report is USER_COUNTS else (0,) * len(report.columns)))
    return tuple(rows)


def render_csv(report: Report, lines: Iterable[Line]) -> bytes:
    """Return the report as the download host sends it, with a byte-order mark."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("Report Refresh Date", "Product Type", *report.columns))
    writer.writerows(lines)
    return BOM + text.getvalue().encode()


def render_json(report: Report, lines: Iterable[Line], context: str) -> bytes:
    """Return the report as beta sends it with `$format=application/json`."""
    keys = ("reportRefreshDate", "productType", *report.keys)
    document = {"@odata.context": context, "value": [dict(zip(keys, line, strict=True)) for line in lines]}
    return json.dumps(document, separators=(",", ":")).encode()


def _products(seed: int, tenant: str) -> list[int]:
    wanted = _LEAST_PRODUCTS + int(draw(seed, tenant, "products") * (_MOST_PRODUCTS - _LEAST_PRODUCTS + 1))
    others = sorted(range(1, len(PRODUCTS)), key=lambda number: draw(seed, tenant, "product", number))
    return [0, *sorted(others[: wanted - 1])]


def _row(seed: int, tenant: str, report: Report, day: date, number: int, *, low: bool) -> Row:
    users = _users(seed, tenant, day, number, low=low)
    counts = _platforms(seed, tenant, number, users[1]) if report is PLATFORM_COUNTS else users
    return Row(PRODUCTS[number][0], counts)


def _users(seed: int, tenant: str, day: date, number: int, *, low: bool) -> tuple[int, int, int]:
    """Return assigned, activated and shared computer activation of one product."""
    key = (seed, tenant, number)
    assigned = max(1, round(_size(seed, tenant, number) * _level(day, *key)))
    activated = round(assigned * _ratio(day, *key, low=low))
    if number and draw(*key, "over") < 0.05:  # people who lost the licence after activating
        activated = assigned + 2
    shared = round(assigned * max(0.0, between(-0.08, 0.15, *key, "shared")))
    return assigned, activated, shared


def _size(seed: int, tenant: str, number: int) -> float:
    people: float = _SMALLEST * (_LARGEST / _SMALLEST) ** draw(seed, tenant, "people")
    return people if number == 0 else people * PRODUCTS[number][1] * between(0.3, 1.0, seed, tenant, number, "share")


def _level(day: date, *key: object) -> float:
    """Return the size of a product relative to its mean: a slow wave, which stands still at weekends."""
    workday = day - timedelta(days=max(0, day.weekday() - _SATURDAY + 1))
    period = between(500.0, 1500.0, *key, "period")
    angle = 2 * math.pi * ((workday - _EPOCH).days / period + draw(*key, "phase"))
    return 1 + between(0.08, 0.3, *key, "amplitude") * math.sin(angle)


def _ratio(day: date, *key: object, low: bool) -> float:
    """Return activated over assigned: healthy tenants stay above 0.55, low ones under 0.45."""
    number = key[-1]
    if low and (number == 0 or draw(*key, "low") < 0.4):
        middle = between(0.15, 0.38, *key, "ratio")
    else:
        middle = between(0.63, 0.9, *key, "ratio")
    angle = 2 * math.pi * ((day - _EPOCH).days / between(90.0, 400.0, *key, "habit") + draw(*key, "start"))
    return middle + 0.05 * math.sin(angle)


def _platforms(seed: int, tenant: str, number: int, activated: int) -> tuple[int, ...]:
    """Return activations on Windows, Mac, Android, iOS and Windows 10 Mobile: one person may use several."""
    key = (seed, tenant, number)
    shares = (
        between(0.7, 1.2, *key, "windows"),
        between(0.02, 0.3, *key, "mac"),
        between(0.0, 0.2, *key, "android"),
        between(0.05, 0.4, *key, "ios"),
        0.0,
    )
    return tuple(round(activated * share) for share in shares)
