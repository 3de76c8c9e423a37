"""The reports and their counts, read from CSV or JSON strictly: a row that is not understood is rejected."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exporter.errors import ReportError
from exporter.state import Row, is_ahead_of_clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_ROWS = 1_000
"""More rows than this are not a report of product types: a tenant has a handful of them."""

MAX_NAME = 256
"""The longest product type taken, in characters."""

MAX_COUNT = 2**53
"""The largest count taken: Prometheus' samples are floats, and up to here each integer is one."""

_DATE_COLUMN, _PRODUCT_COLUMN = "Report Refresh Date", "Product Type"
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T00:00:00(?:\.0+)?Z?)?", re.ASCII)
_COUNT = re.compile(r"\d{1,16}", re.ASCII)
# C0, DEL and C1, separators of lines, and what turns the direction of text: they steer terminals or hide text.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NO_ROWS = "it has no rows: Microsoft gives such a report for a day or so; it does not mean zero users"


@dataclass(frozen=True, slots=True)
class Column:
    """One count of a report: header in CSV, property in JSON, and the metric without the common prefix.

    `help` says what Microsoft's column counts; `labels` are further labels of the metric's samples.
    """

    csv: str
    json: str
    metric: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """A short name, unique in the report."""
        return self.labels[-1][1] if self.labels else self.metric

    @property
    def full_name(self) -> str:
        """Metric and labels, unique over all reports: the column of the history."""
        return "_".join([self.metric, *(value for _, value in self.labels)])


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """A report that was read: the oldest date of the good rows, those rows, and why each other row was not taken.

    There is one row a product type, sorted by it, and at least one.
    """

    refresh_date: date
    rows: tuple[Row, ...]
    rejected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report of Graph: its name in the configuration and in the label `report`, and the last part of its path.

    Its columns are in Microsoft's order; `permission` is what an app needs to read it.
    """

    name: str
    function: str
    columns: tuple[Column, ...]
    permission: str = "Reports.Read.All"

    def parse(self, pages: Sequence[bytes], form: str, *, now: float, measured: bool = True) -> ParsedReport:
        """Read the report from its raw bytes.

        Args:
            pages: one CSV file, or the pages of a JSON answer.
            form: csv or json.
            now: Unix seconds: a date more than two days ahead of it is no refresh date.
            measured: whether the answer said where it ends. A CSV file that did not may have been cut anywhere, so its
                last line counts only with its line end; a cut between two lines looks like a whole file.

        Raises:
            ReportError: it cannot be read, or has no good row. Nothing else is raised, whatever the bytes.
        """
        cells = (
            _csv_rows(pages[0], self.columns, measured=measured) if form == "csv" else _json_rows(pages, self.columns)
        )
        good: dict[str, list[tuple[date, tuple[int, ...]]]] = {}
        rejected: list[str] = []
        for number, row in enumerate(cells, start=1):
            if number > MAX_ROWS:
                raise ReportError(f"it has more than {MAX_ROWS} rows")
            try:
                day, product_type, counts = _checked(row, now)
            except ValueError as why:
                rejected.append(f"row {number}: {why}")
            else:
                good.setdefault(product_type, []).append((day, counts))
        return _assembled(good, rejected)


_REPORTS = (
    # https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
    Report(
        name="activations_user_counts",
        function="getOffice365ActivationsUserCounts",
        columns=(
            Column("Assigned", "assigned", "assigned_users", "Users who were assigned a licence"),
            Column("Activated", "activated", "activated_users", "Users who activated their licence on a device"),
            Column(
                "Shared Computer Activation",
                "sharedComputerActivation",
                "shared_computer_users",
                "Users who used their licence on a shared computer",
            ),
        ),
    ),
    # https://learn.microsoft.com/graph/api/reportroot-getoffice365activationcounts
    Report(
        name="activations_platform_counts",
        function="getOffice365ActivationCounts",
        columns=tuple(
            Column(header, key, "platform_activations", "Activations by platform", (("platform", platform),))
            for header, key, platform in (
                ("Windows", "windows", "windows"),
                ("Mac", "mac", "mac"),
                ("Android", "android", "android"),
                ("iOS", "ios", "ios"),
                ("Windows 10 Mobile", "windows10Mobile", "windows_10_mobile"),
            )
        ),
    ),
)
REPORTS: Mapping[str, Report] = MappingProxyType({report.name: report for report in _REPORTS})
DEFAULT_REPORTS = ("activations_user_counts",)


def _assembled(good: dict[str, list[tuple[date, tuple[int, ...]]]], rejected: list[str]) -> ParsedReport:
    """Drop each product type whose rows contradict each other; equal rows count once."""
    days: list[date] = []
    rows: list[Row] = []
    for product_type, found in sorted(good.items()):
        if len({counts for _, counts in found}) > 1:
            rejected.extend([f"{product_type!r}: it is in several rows with different counts"] * len(found))
            continue
        days.extend(day for day, _ in found)
        rows.append(Row(product_type, found[0][1]))
    if not rows:
        raise ReportError(f"it has no usable row; {rejected[0]}" if rejected else _NO_ROWS)
    return ParsedReport(min(days), tuple(rows), tuple(rejected))


def _checked(cells: Sequence[object] | str, now: float) -> tuple[date, str, tuple[int, ...]]:
    """Return a row's date, product type and counts.

    Raises:
        ValueError: why the row is not taken; the message is short and contains nothing of the row but its product type.
    """
    if isinstance(cells, str):
        raise ValueError(cells)  # noqa: TRY004 - it is the reason why there are no cells
    day, product_type, *counts = cells
    return _day(day, now), _name(product_type), tuple(_count(count) for count in counts)


def _day(value: object, now: float) -> date:
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("its refresh date is not a date")
    day = date.fromisoformat(found.group(1))
    if is_ahead_of_clock(day, now):
        raise ValueError(f"its refresh date {day} is more than two days ahead of this machine's clock: check the clock")
    return day


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it has no product type")
    if len(value) > MAX_NAME:
        raise ValueError(f"its product type is longer than {MAX_NAME} characters")
    if _STEERING.search(value):
        raise ValueError("its product type contains a control character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("its product type is not Unicode text") from None
    return value


def _count(value: object) -> int:
    if isinstance(value, str) and _COUNT.fullmatch(value.strip()):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ValueError("a count is not a non-negative integer")
    return value


def _csv_rows(body: bytes, columns: Iterable[Column], *, measured: bool) -> Iterator[Sequence[object] | str]:
    """Yield each row's cells (date, product type, counts), or why it has none.

    The columns are found by their names; a byte-order mark may stand before them, once or twice.
    """
    try:
        text = body.decode("utf-8").lstrip("\ufeff")
    except UnicodeDecodeError:
        raise ReportError("it is not UTF-8 text") from None
    if text.lstrip()[:1] in {"<", "{"}:
        raise ReportError("it is a page of HTML, XML or JSON, not CSV")
    rest = ""
    if not measured:
        text, end, rest = text.rpartition("\n")
        text += end
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().casefold() for name in next(lines, [])]
        at = [_position(header, name) for name in (_DATE_COLUMN, _PRODUCT_COLUMN, *(c.csv for c in columns))]
        for line in lines:
            if line:
                wrong = f"it has {len(line)} cells where the header line has {len(header)}"
                yield [line[i] for i in at] if len(line) == len(header) else wrong
        if rest:
            yield "its line is incomplete, and the answer has no length: it may have been cut off"
    except csv.Error as error:
        raise ReportError(f"it is not CSV: {error} (line {lines.line_num})") from None


def _position(header: list[str], name: str) -> int:
    if header.count(name.casefold()) != 1:
        raise ReportError(f"its header line has not exactly one column {name!r}")
    return header.index(name.casefold())


def _json_rows(pages: Sequence[bytes], columns: Iterable[Column]) -> Iterator[Sequence[object] | str]:
    """Yield each row's cells (date, product type, counts), or why it has none."""
    names = ("reportRefreshDate", "productType", *(column.json for column in columns))
    for page in pages:
        try:
            document = json.loads(page.decode("utf-8-sig"), object_pairs_hook=_unambiguous)
        except UnicodeDecodeError:
            raise ReportError("it is not UTF-8 text") from None
        except (ValueError, RecursionError):
            raise ReportError("it is not JSON") from None
        rows = document.get("value") if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise ReportError("it is not a JSON object with one array named value")
        for row in rows:
            if not isinstance(row, dict):
                yield "it is not an object, or has a key twice"
                continue
            # Text is no count here: JSON has numbers.
            day, product_type, *counts = (row.get(name) for name in names)
            yield [day, product_type, *(None if isinstance(count, str) else count for count in counts)]


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """Return the object, or None where a key is in it twice: nobody can say which value is meant."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else None
