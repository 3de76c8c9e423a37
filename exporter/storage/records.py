"""The SQL statements that read and write the tables."""

from __future__ import annotations

import json
import math
from dataclasses import astuple
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from exporter.errors import Reason
from exporter.state import Failure, Key, Outcome, Row, Snapshot, Standing, is_ahead_of_clock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

# How long a call to Graph is remembered, seconds: several times Microsoft's window of ten minutes.
CALL_MEMORY = 3600.0
# How many reports one transaction of `delete_older` removes: a poll never waits long for it.
DELETE_BATCH = 500
# Unix seconds beyond which no time can be written.
_YEAR_9999 = 253_370_764_800.0

_SAVE_SERIES = """
    UPDATE series SET tenant = ?, last_success = coalesce(?, last_success), failures_in_row = ?,
        last_at = ?, last_duration = ?, last_rejected_rows = ?, last_not_before = ?,
        last_reason = ?, last_message = ?, last_hint = ?, last_request_id = ?
    WHERE id = ?
"""
_READ_SERIES = """
    SELECT cloud, tenant_id, report, held, last_success, failures_in_row, last_at, last_duration,
        last_rejected_rows, last_not_before, last_reason, last_message, last_hint, last_request_id
    FROM series WHERE last_at IS NOT NULL OR held IS NOT NULL
"""
_READ_SNAPSHOTS = """
    SELECT edition.id, refresh_date, collected_at, request_id, product_type, counts
    FROM edition JOIN product ON product.edition = edition.id
    WHERE {} ORDER BY refresh_date, edition.id, product_type
"""


def write_standing(
    connection: sqlite3.Connection,
    key: Key,
    tenant_name: str,
    standing: Standing,
    snapshot: Snapshot | None,
    *,
    max_age: float = math.inf,
) -> None:
    """Write a poll: the standing after it and, if it read one, its report.

    A newer report that the file holds is not lowered, unless it is dated ahead of the clock.
    """
    last, failure = standing.last, standing.failure
    outcome = (last.at, last.duration, last.rejected_rows, last.not_before) if last else (None,) * 4
    texts = (failure.reason, failure.message, failure.hint, failure.request_id) if failure else ()
    # A lone surrogate, which UTF-8 cannot hold, becomes a question mark.
    storable = [value.encode(errors="replace").decode() for value in texts] or (None,) * 4
    series = _series(connection, key)
    connection.execute(
        _SAVE_SERIES, (tenant_name, standing.last_success, standing.consecutive_failures, *outcome, *storable, series)
    )
    if snapshot is not None and snapshot != standing.snapshot:
        _write_edition(connection, series, snapshot)
    if standing.snapshot is not None:
        # Also after a failed poll: repairs what an earlier write, on a full disk, has missed.
        written = _write_edition(connection, series, standing.snapshot)
        at = standing.last_success or standing.snapshot.collected_at
        if not _holds_newer(connection, series, standing.snapshot.refresh_date, at):
            connection.execute("UPDATE series SET held = ? WHERE id = ? AND held IS NOT ?", (written, series, written))
            _confirm(connection, written, at, max_age)


def read_standings(connection: sqlite3.Connection, unreadable: Callable[[str], None]) -> dict[Key, Standing]:
    """Read the standing of every tenant's report that has one.

    Args:
        connection: to the tables.
        unreadable: called, with a sentence each, for what cannot be read and is therefore left out.
    """
    held = snapshots(connection, unreadable, "edition.id IN (SELECT held FROM series)")
    standings = {}
    for row in connection.execute(_READ_SERIES):
        cloud, tenant_id, report, edition, last_success, consecutive_failures, *outcome = row
        try:
            standings[Key(cloud, tenant_id, report)] = Standing(
                held.get(edition),
                None if last_success is None else number(last_success),
                _outcome(outcome),
                int(consecutive_failures),
            )
        except (ValueError, TypeError, OverflowError) as error:
            unreadable(f"the stored state of {tenant_id}'s {report} cannot be read and is left out: {error}")
    return standings


def read_reports(
    connection: sqlite3.Connection, key: Key, since: date, unreadable: Callable[[str], None]
) -> list[Snapshot]:
    """Read the reports from `since` on, oldest first: for each refresh date the numbers that Microsoft gave last."""
    where = """
        series = (SELECT id FROM series WHERE cloud = ? AND tenant_id = ? AND report = ?)
        AND refresh_date >= ? AND replaced_at IS NULL
    """
    return list(snapshots(connection, unreadable, where, (*astuple(key), since.isoformat())).values())


def snapshots(
    connection: sqlite3.Connection, unreadable: Callable[[str], None], where: str, values: Sequence[object] = ()
) -> dict[int, Snapshot]:
    """Read the editions that are `where`, by their number, the oldest refresh date first.

    An edition that cannot be read in whole is left out: no report is shown in part. Product types are few and repeat
    in every report: equal ones share one object.
    """
    names: dict[str, str] = {}
    found = {}
    rows = connection.execute(_READ_SNAPSHOTS.format(where), values)
    for (edition, refresh_date, collected_at, request_id), products in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        try:
            found[edition] = Snapshot(
                date.fromisoformat(refresh_date),
                tuple(Row(text(names.setdefault(name, name)), _counts(counts)) for *_, name, counts in products),
                number(collected_at),
                text(request_id),
            )
        except (ValueError, TypeError) as error:
            unreadable(f"stored report {edition} of {refresh_date} cannot be read and is left out: {error}")
    return found


def merge(source: sqlite3.Connection, target: sqlite3.Connection, unreadable: Callable[[str], None]) -> None:
    """Write all that `source` holds to `target`, which may hold older and newer reports already."""
    for of_source, *key in source.execute("SELECT id, cloud, tenant_id, report FROM series"):
        series = _series(target, Key(*key))
        for edition, snapshot in snapshots(source, unreadable, "series = ?", (of_source,)).items():
            written = _write_edition(target, series, snapshot)
            for times in source.execute(
                "SELECT published_at, confirmed_at FROM edition WHERE id = ? AND published_at IS NOT NULL", (edition,)
            ):
                target.execute(
                    "UPDATE edition SET published_at = coalesce(published_at, ?), confirmed_at = ? WHERE id = ?",
                    (*times, written),
                )
            for times in source.execute("SELECT since, until FROM withdrawal WHERE edition = ?", (edition,)):
                target.execute("INSERT INTO withdrawal VALUES (?, ?, ?)", (written, *times))
    merge_standings(source, target, unreadable)


def merge_standings(source: sqlite3.Connection, target: sqlite3.Connection, unreadable: Callable[[str], None]) -> None:
    """Write to `target` where the reports of `source` stand, and the calls to Graph."""
    standings = read_standings(source, unreadable)
    for *names, tenant in source.execute("SELECT cloud, tenant_id, report, tenant FROM series"):
        key = Key(*names)
        if key in standings:
            write_standing(target, key, tenant, standings[key], None)
    for key, calls in read_calls(source, 0.0).items():
        for at in calls:
            write_call(target, key, at)


def keep_recent(connection: sqlite3.Connection, key: Key, days: int) -> None:
    """Delete the reports of `key` that are more than `days` older than the held one, revisions included."""
    connection.execute(
        """
        DELETE FROM edition WHERE id IN (
            SELECT edition.id FROM series
            JOIN edition AS last ON last.id = series.held
            JOIN edition ON edition.series = series.id AND edition.id <> last.id
                AND (edition.refresh_date < date(last.refresh_date, ?) OR edition.replaced_at IS NOT NULL)
            WHERE series.id = ?)
        """,
        (f"-{days} days", _series(connection, key)),
    )


def write_call(connection: sqlite3.Connection, key: Key, at: float) -> None:
    """Write a call to Graph and forget the old ones of the same key."""
    series = _series(connection, key)
    connection.execute("INSERT INTO call (series, at) VALUES (?, ?)", (series, at))
    connection.execute("DELETE FROM call WHERE series = ? AND at < ?", (series, at - CALL_MEMORY))


def read_calls(connection: sqlite3.Connection, since: float) -> dict[Key, list[float]]:
    """Read the calls to Graph from `since` on (Unix seconds), oldest first."""
    calls: dict[Key, list[float]] = {}
    for cloud, tenant_id, report, at in connection.execute(
        "SELECT cloud, tenant_id, report, at FROM call JOIN series ON series.id = series"
        " WHERE at >= ? AND typeof(at) = 'real' ORDER BY at",
        (since,),
    ):
        calls.setdefault(Key(cloud, tenant_id, report), []).append(at)
    return calls


def newest_report(connection: sqlite3.Connection) -> float:
    """Return the refresh date of the newest held report, midnight UTC as Unix seconds; 0 where there is none."""
    dates = "SELECT max(CAST(strftime('%s', refresh_date) AS REAL)) FROM series JOIN edition ON edition.id = held"
    return float(connection.execute(dates).fetchone()[0] or 0)


def delete_older(connection: sqlite3.Connection, before: date) -> int:
    """Delete a batch of reports with an older refresh date, held ones aside; return how many there were."""
    return connection.execute(
        """
        DELETE FROM edition WHERE id IN (
            SELECT edition.id FROM edition JOIN series ON series.id = edition.series
            WHERE refresh_date < ? AND series.held IS NOT edition.id LIMIT ?)
        """,
        (before.isoformat(), DELETE_BATCH),
    ).rowcount


def delete_unseen(connection: sqlite3.Connection, before: float, day: date) -> int:
    """Delete the tenants' reports that were not polled since `before` (Unix seconds) and have none from `day` on.

    The last sign of life is the last poll, else the last call.
    """
    return connection.execute(
        """
        DELETE FROM series
        WHERE coalesce(last_at, (SELECT max(at) FROM call WHERE call.series = series.id), 0) < ?
            AND NOT EXISTS (SELECT 1 FROM edition WHERE edition.series = series.id AND refresh_date >= ?)
        """,
        (before, day.isoformat()),
    ).rowcount


def number(value: object) -> float:
    """Return a stored number of seconds; ValueError where it is none."""
    if not isinstance(value, int | float) or not abs(value) < _YEAR_9999:
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def text(value: object) -> str:
    """Return a stored text; ValueError where it is none or was not UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")  # noqa: TRY004 - of the file, not of the program
    value.encode()
    return value


def _series(connection: sqlite3.Connection, key: Key) -> int:
    connection.execute("INSERT OR IGNORE INTO series (cloud, tenant_id, report) VALUES (?, ?, ?)", astuple(key))
    found: int = connection.execute(
        "SELECT id FROM series WHERE cloud = ? AND tenant_id = ? AND report = ?", astuple(key)
    ).fetchone()[0]
    return found


def _write_edition(connection: sqlite3.Connection, series: int, snapshot: Snapshot) -> int:
    """Write a report; the same date again replaces, other numbers than before stay as a revision."""
    day = snapshot.refresh_date.isoformat()
    rows = [(row.product_type, json.dumps(row.counts, separators=(",", ":"))) for row in snapshot.rows]
    current = connection.execute(
        "SELECT id FROM edition WHERE series = ? AND refresh_date = ? AND replaced_at IS NULL",
        (series, day),
    ).fetchone()
    if current is not None:
        stored = connection.execute("SELECT product_type, counts FROM product WHERE edition = ?", current).fetchall()
        if _same(stored, rows):
            connection.execute(
                "UPDATE edition SET collected_at = ?, request_id = ? WHERE id = ?",
                (snapshot.collected_at, snapshot.request_id, *current),
            )
            return int(current[0])
        connection.execute("UPDATE edition SET replaced_at = ? WHERE id = ?", (snapshot.collected_at, *current))
    written = connection.execute(
        "INSERT INTO edition (series, refresh_date, collected_at, request_id) VALUES (?, ?, ?, ?)",
        (series, day, snapshot.collected_at, snapshot.request_id),
    ).lastrowid
    connection.executemany(f"INSERT INTO product VALUES ({written}, ?, ?)", rows)  # noqa: S608 - a number
    return int(written or 0)


def _same(stored: list[tuple[str, str]], rows: list[tuple[str, str]]) -> bool:
    """Say whether the numbers are those stored, also where a newer version has stored more columns than it reads."""
    known = dict(stored)
    return known.keys() == dict(rows).keys() and all(
        f"{known[product_type][:-1]},".startswith(f"{counts[:-1]},") for product_type, counts in rows
    )


def _holds_newer(connection: sqlite3.Connection, series: int, day: date, now: float) -> bool:
    newer = connection.execute(
        "SELECT date(refresh_date) FROM series JOIN edition ON edition.id = held"
        " WHERE series.id = ? AND date(refresh_date) > ?",
        (series, day.isoformat()),
    ).fetchone()
    return newer is not None and not is_ahead_of_clock(date.fromisoformat(newer[0]), now)


def _confirm(connection: sqlite3.Connection, edition: int, at: float, max_age: float) -> None:
    """Write that the edition was on /metrics at `at`, and until when it had been withdrawn before."""
    connection.execute(
        "INSERT INTO withdrawal SELECT id, confirmed_at + ?1, ?2 FROM edition"
        " WHERE id = ?3 AND typeof(confirmed_at) = 'real' AND confirmed_at + ?1 < ?2",
        (max_age, at, edition),
    )
    connection.execute(
        "UPDATE edition SET published_at = coalesce(published_at, ?), confirmed_at = ? WHERE id = ?", (at, at, edition)
    )


def _counts(stored: str) -> tuple[int, ...]:
    counts = json.loads(stored)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"{stored!r} are not counts")
    return tuple(counts)


def _outcome(columns: Iterable[Any]) -> Outcome | None:
    at, duration, rejected_rows, not_before, reason, message, hint, request_id = columns
    if at is None:
        return None
    failure = None
    if reason is not None:
        known = Reason(reason) if reason in set(Reason) else Reason.INTERNAL  # another version may distinguish more
        failure = Failure(known, text(message), text(hint), text(request_id))
    rejected = None if rejected_rows is None else int(rejected_rows)
    return Outcome(number(at), number(duration), failure=failure, rejected_rows=rejected, not_before=number(not_before))
