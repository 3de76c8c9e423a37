"""Reading a report's bytes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ReportError
from exporter.metrics import TENANT_FAMILIES
from exporter.reports import REPORTS
from exporter.state import Row
from tests.builders import NOON, PLATFORMS, USERS

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden" / "reports"
HEADER = "Report Refresh Date,Product Type,Assigned,Activated,Shared Computer Activation"
DOCUMENTED_CSV = f"{HEADER}\n2017-09-01,Office 365 ProPlus,2679,1710,1024\n"
DOCUMENTED_JSON = {
    "value": [
        {
            "reportRefreshDate": "2017-09-01",
            "productType": "Office 365 ProPlus",
            "assigned": 2679,
            "activated": 1710,
            "sharedComputerActivation": 1024,
        }
    ]
}


def parse_csv(text: str | bytes, report: str = USERS) -> Any:
    """Parse one CSV report."""
    return REPORTS[report].parse([text.encode() if isinstance(text, str) else text], "csv", now=NOON)


def parse_json(*documents: Any, report: str = USERS) -> Any:
    """Parse the pages of a JSON report."""
    return REPORTS[report].parse([json.dumps(document).encode() for document in documents], "json", now=NOON)


def json_row(**changes: Any) -> dict[str, Any]:
    """Return the documentation's row with changes."""
    return DOCUMENTED_JSON["value"][0] | changes


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.*")), ids=lambda path: path.name)
def test_reports_on_file_are_read_as_their_golden_files_say(path: Path, golden: Callable[[Path, str], None]) -> None:
    """Each stored report gives exactly the rows, rejections or error of its golden file."""
    report = PLATFORMS if path.name.startswith("platforms") else USERS
    try:
        parsed = REPORTS[report].parse([path.read_bytes()], path.suffix[1:], now=NOON)
    except ReportError as error:
        text = f"error: {error.message}\n"
    else:
        rows = [f"{row.product_type!r}: {', '.join(map(str, row.counts))}" for row in parsed.rows]
        text = "\n".join([f"date: {parsed.refresh_date}", *rows, *(f"rejected: {why}" for why in parsed.rejected), ""])
    golden(GOLDEN / "expected" / f"{path.name}.txt", text)


def test_the_documentations_rows_are_the_same_in_csv_and_json() -> None:
    """Microsoft's example rows are read as they stand there, from CSV and from JSON."""
    expected = (Row("Office 365 ProPlus", (2679, 1710, 1024)),)
    for parsed in (parse_csv(DOCUMENTED_CSV), parse_json(DOCUMENTED_JSON)):
        assert (parsed.refresh_date, parsed.rows, parsed.rejected) == (date(2017, 9, 1), expected, ())


@pytest.mark.parametrize("marks", [0, 1, 2])
def test_a_byte_order_mark_is_no_part_of_the_header(marks: int) -> None:
    """None, one or two byte-order marks before the header change nothing."""
    assert parse_csv("\ufeff" * marks + DOCUMENTED_CSV).rows == parse_csv(DOCUMENTED_CSV).rows


def test_columns_are_found_by_name() -> None:
    """Another order of the columns, and one more of them, change nothing."""
    text = (
        "Activated,Product Type,New Column,Assigned,Shared Computer Activation,Report Refresh Date\n"
        "1710,Office 365 ProPlus,x,2679,1024,2017-09-01\n"
    )
    assert parse_csv(text).rows == parse_csv(DOCUMENTED_CSV).rows


@pytest.mark.parametrize("bad", ["", "-1", "1.0", "1e3", "NaN", "١٢", "0x10", "1 000", "9007199254740993", "9" * 400])
def test_what_is_no_count_rejects_its_row_and_no_other(bad: str) -> None:
    """A row whose count is no non-negative integer is withdrawn and counted; the others stay."""
    parsed = parse_csv(f"{HEADER}\n2026-01-01,A,1,2,3\n2026-01-01,B,1,{bad},3\n")
    assert parsed.rows == (Row("A", (1, 2, 3)),)
    assert parsed.rejected == ("row 2: a count is not a non-negative integer",)


@pytest.mark.parametrize("bad", ["2679", None, True, 1.0, -1, 2**60, [1], {}])
def test_what_is_no_count_in_json_rejects_its_row(bad: object) -> None:
    """JSON's counts are integers: text, fractions, booleans, nulls and nonsense are not taken for one."""
    parsed = parse_json({"value": [json_row(), json_row(productType="B", assigned=bad)]})
    assert [row.product_type for row in parsed.rows] == ["Office 365 ProPlus"]
    assert len(parsed.rejected) == 1


@pytest.mark.parametrize("line", ["2026-01-01,B,1,2", "2026-01-01,B,1,2,3,4", "2026-13-01,B,1,2,3", "1/2/26,B,1,2,3"])
def test_a_row_of_another_shape_is_rejected(line: str) -> None:
    """A row with too few or too many cells, or without a date, is withdrawn: nothing in it can be trusted."""
    assert len(parse_csv(f"{HEADER}\n2026-01-01,A,1,2,3\n{line}\n").rejected) == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 257])
def test_a_product_type_without_a_usable_name_is_rejected(name: str) -> None:
    """An empty or endless product type becomes no label."""
    assert len(parse_csv(f"{HEADER}\n2026-01-01,A,1,2,3\n2026-01-01,{name},1,2,3\n").rejected) == 1


@pytest.mark.parametrize("point", [0, 7, 9, 0x1B, 0x7F, 0x85, 0x9B, 0x61C, 0x200E, 0x2028, 0x202E, 0x2066, 0x2069])
@pytest.mark.parametrize("parse", [parse_csv, parse_json])
def test_a_product_type_that_steers_is_rejected(parse: Callable[..., Any], point: int) -> None:
    """A row whose product type contains a control character, or one that turns the direction of text, is rejected."""
    name = f"VISIO{chr(point)}PLAN"
    text = f"{DOCUMENTED_CSV}2017-09-01,{name},1,2,3\n"
    parsed = parse(text if parse is parse_csv else {"value": [json_row(), json_row(productType=name)]})
    assert [row.product_type for row in parsed.rows] == ["Office 365 ProPlus"]
    assert parsed.rejected == ("row 2: its product type contains a control character",)


def test_a_lone_surrogate_is_rejected() -> None:
    """A product type that UTF-8 cannot hold, which JSON can carry, costs its own row only."""
    page = json.dumps({"value": [json_row(), json_row(productType="\ud800")]}).encode()
    parsed = REPORTS[USERS].parse([page], "json", now=NOON)
    assert (len(parsed.rows), len(parsed.rejected)) == (1, 1)


def test_equal_rows_of_one_product_type_count_once() -> None:
    """The same row twice is the same row."""
    assert parse_csv(DOCUMENTED_CSV + DOCUMENTED_CSV.splitlines()[1]).rows == parse_csv(DOCUMENTED_CSV).rows


def test_contradicting_rows_of_one_product_type_are_all_rejected() -> None:
    """Nobody can say which of two different rows of one product type is true, so neither is shown."""
    parsed = parse_csv(f"{HEADER}\n2026-01-01,A,1,2,3\n2026-01-01,A,1,2,4\n2026-01-01,A,1,2,3\n2026-01-01,B,1,1,1\n")
    assert parsed.rows == (Row("B", (1, 1, 1)),)
    assert len(parsed.rejected) == 3


def test_the_oldest_date_is_the_reports() -> None:
    """Where the rows' dates differ, the report is as old as its oldest row."""
    text = f"{HEADER}\n2026-01-02T00:00:00Z,A,1,2,3\n2026-01-01,B,1,2,3\n"
    assert parse_csv(text).refresh_date == date(2026, 1, 1)


def test_pages_of_json_are_one_report() -> None:
    """The rows of all pages make the report, and contradictions between them count too."""
    parsed = parse_json({"value": [json_row()]}, {"value": [json_row(productType="B"), json_row(assigned=1)]})
    assert [row.product_type for row in parsed.rows] == ["B"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "header line"),
        (HEADER.encode(), "does not mean zero users"),
        (b"\xff\xfe" + DOCUMENTED_CSV.encode("utf-16-le"), "not UTF-8"),
        (b"<html>", "HTML"),
        (b'{"error": {}}', "JSON, not CSV"),
        (DOCUMENTED_CSV.replace("Assigned", "Assignd").encode(), "'Assigned'"),
        (DOCUMENTED_CSV.replace("Activated", "Assigned").encode(), "'Assigned'"),
        ((HEADER + '\n2026-01-01,"A"x,1,2,3\n').encode(), "not CSV"),
        ((HEADER + "\n" + "2026-01-01,A,1,2,3\n" * 1001).encode(), "more than 1000 rows"),
        ((HEADER + "\n2026-01-01,A,x,2,3\n").encode(), "no usable row; row 1"),
    ],
)
def test_an_unusable_csv_says_why(body: bytes, why: str) -> None:
    """What cannot be read as this report is an error with its reason, never an empty report."""
    with pytest.raises(ReportError) as error:
        parse_csv(body)
    assert why in error.value.message


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"[]",
        b"{",
        b'{"value": {}}',
        b'{"value": []}',
        b'{"value": [], "value": []}',
        b'{"value": [' + b"[" * 100_000,
        b'{"value": [{"assigned": ' + b"9" * 5000 + b"}]}",
        b'{"value": [{"assigned": 1e400, "assigned": NaN}]}',
        b"\xff",
    ],
)
def test_an_unusable_json_is_the_report_error(page: bytes) -> None:
    """Whatever stands in place of the JSON ends in the one error."""
    with pytest.raises(ReportError):
        REPORTS[USERS].parse([page], "json", now=NOON)


def test_a_row_with_a_key_twice_is_rejected() -> None:
    """A JSON row that gives one count twice is withdrawn."""
    good = json.dumps(json_row())
    twice = good.replace('"assigned": 2679', '"assigned": 2679, "assigned": 1').replace("ProPlus", "B")
    parsed = REPORTS[USERS].parse([f'{{"value": [{good}, {twice}]}}'.encode()], "json", now=NOON)
    assert (len(parsed.rows), len(parsed.rejected)) == (1, 1)


def test_no_two_reports_or_columns_share_a_name() -> None:
    """A report bears its file's name; metrics, functions, headers, properties and samples are one column's each."""
    of_history = [column.full_name for report in REPORTS.values() for column in report.columns]
    assert len(set(of_history)) == len(of_history)
    metrics = [{column.metric for column in report.columns} for report in REPORTS.values()]
    assert sum(map(len, metrics)) == len(set().union(*metrics))
    assert list(REPORTS) == [report.name for report in REPORTS.values()]
    assert len({report.function for report in REPORTS.values()}) == len(REPORTS)
    for report in REPORTS.values():
        columns = report.columns
        for names in ([c.csv.casefold() for c in columns], [c.json for c in columns], [c.name for c in columns]):
            assert len(set(names)) == len(columns)
        assert len({(c.metric, c.labels) for c in columns}) == len(columns)
        assert len({(c.metric, tuple(name for name, _ in c.labels)) for c in columns}) == len(
            {c.metric for c in columns}
        )


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("name", REPORTS)
def test_each_report_is_read_by_the_names_of_its_columns(name: str, form: str) -> None:
    """Each report's columns become its rows' counts in the order of its list, whatever the order they come in."""
    columns = REPORTS[name].columns
    counts = tuple(range(1, len(columns) + 1))
    if form == "csv":
        head = ",".join([*(column.csv for column in reversed(columns)), "Product Type", "Report Refresh Date"])
        parsed = parse_csv(f"{head}\n{','.join(map(str, reversed(counts)))},VISIO,2026-01-01\n", name)
    else:
        row: dict[str, object] = {"productType": "VISIO", "reportRefreshDate": "2026-01-01"}
        row |= {column.json: count for column, count in zip(columns, counts, strict=True)}
        parsed = parse_json({"value": [row]}, report=name)
    assert (parsed.rows, parsed.rejected) == ((Row("VISIO", counts),), ())


@pytest.mark.parametrize("name", REPORTS)
def test_each_report_has_its_metrics(name: str) -> None:
    """Each column has its family on /metrics, with the column's labels and Microsoft's name for it in HELP."""
    families = {family.name: family for family in TENANT_FAMILIES}
    for column in REPORTS[name].columns:
        family = families[column.metric]
        assert family.labels == ("tenant", "product_type", *(label for label, _ in column.labels))
        assert column.csv in family.help


csv_like = st.lists(
    st.sampled_from([HEADER, "2026-01-01,A,1,2,3", "2026-01-01,B,x,,", '"', "\0", "\r", "\ufeff", ",", "\ud800"])
    | st.text(max_size=30),
    max_size=8,
).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("2026-01-01"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["value", *json_row()]) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)
json_like = json_values.map(lambda value: json.dumps(value).encode())


@given(
    st.binary(max_size=200) | csv_like | json_like, st.sampled_from(["csv", "json"]), st.sampled_from(sorted(REPORTS))
)
def test_any_bytes_give_good_rows_or_the_report_error(body: bytes, form: str, report: str) -> None:
    """`parse` returns rows that are fit to publish, or raises the report error, and nothing else, for any bytes."""
    try:
        parsed = REPORTS[report].parse([body], form, now=NOON)
    except ReportError:
        return
    assert parsed.rows
    names = [row.product_type for row in parsed.rows]
    assert names == sorted(set(names))
    for row in parsed.rows:
        row.product_type.encode("utf-8")
        assert all(type(count) is int and 0 <= count <= 2**53 for count in row.counts)
        assert len(row.counts) == len(REPORTS[report].columns)


@given(
    st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), min_size=1, max_size=50
        ).filter(str.strip),
        st.tuples(*[st.integers(0, 2**53)] * 3),
        min_size=1,
        max_size=6,
    )
)
def test_good_rows_survive_csv_and_json(table: dict[str, tuple[int, int, int]]) -> None:
    """Whatever product types and counts a report holds, they arrive unchanged in both formats."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in table]
    lines = [f"2026-01-01,{name},{a},{b},{c}" for name, (a, b, c) in zip(quoted, table.values(), strict=True)]
    expected = tuple(Row(name, table[name]) for name in sorted(table))
    assert parse_csv("\r\n".join([HEADER, *lines])).rows == expected
    rows = [
        json_row(reportRefreshDate="2026-01-01", productType=name, assigned=a, activated=b, sharedComputerActivation=c)
        for name, (a, b, c) in table.items()
    ]
    assert parse_json({"value": rows}).rows == expected


@pytest.mark.parametrize(("days", "taken"), [(-400, True), (0, True), (2, True), (3, False), (900, False)])
def test_a_date_in_the_future_is_rejected(days: int, *, taken: bool) -> None:
    """A refresh date more than two days ahead of the clock is a rejected row, and the reason names the clock."""
    day = (datetime.fromtimestamp(NOON, UTC) + timedelta(days=days)).date()
    bad = f"{day},VISIO,3,2,1\n"
    parsed = parse_csv(DOCUMENTED_CSV + bad)
    assert len(parsed.rows) == 1 + taken
    assert [("clock" in why) for why in parsed.rejected] == [True] * (not taken)


def test_a_last_line_without_its_end_is_rejected_where_nothing_said_how_long_the_report_is() -> None:
    """12345 may have become 123: such a line counts only if the answer said where it ends."""
    cut = DOCUMENTED_CSV + "2017-09-01,VISIO,3,2,1"
    whole = REPORTS[USERS].parse([cut.encode()], "csv", now=NOON)
    assert [row.product_type for row in whole.rows] == ["Office 365 ProPlus", "VISIO"]
    unsure = REPORTS[USERS].parse([cut.encode()], "csv", now=NOON, measured=False)
    assert [row.product_type for row in unsure.rows] == ["Office 365 ProPlus"]
    assert unsure.rejected == ("row 2: its line is incomplete, and the answer has no length: it may have been cut off",)
