"""The shape of the two reports, CSV and JSON.

https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
https://learn.microsoft.com/graph/api/reportroot-getoffice365activationcounts
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Date, product type, and one cell for each column.
Line: TypeAlias = tuple[object, ...]

BOM = b"\xef\xbb\xbf"


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


def render_csv(report: Report, lines: Iterable[Line]) -> bytes:
    """Return the report as the download host sends it, with a byte-order mark."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("Report Refresh Date", "Product Type", *report.columns))
    writer.writerows(lines)
    return BOM + text.getvalue().encode()


def render_json(report: Report, lines: Iterable[Line], context: str, next_link: str = "") -> bytes:
    """Return the report as beta sends it with `$format=application/json`."""
    keys = ("reportRefreshDate", "productType", *report.keys)
    document: dict[str, Any] = {"@odata.context": context}
    if next_link:
        document["@odata.nextLink"] = next_link
    document["value"] = [dict(zip(keys, line, strict=True)) for line in lines]
    return json.dumps(document, separators=(",", ":")).encode()
