"""Frozen values to rows and back: every statement that reads or writes the tables."""

from __future__ import annotations

import json
from dataclasses import astuple
from datetime import date
from typing import TYPE_CHECKING, Any

from exporter.errors import Reason
from exporter.state import Failure, Key, Outcome, Row, Snapshot, Standing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

# How long a call to Graph is remembered, seconds: several times Microsoft's window of ten minutes.
CALL_MEMORY = 3600.0
# How many reports one transaction of `delete_older` removes: a poll never waits long for it.
DELETE_BATCH = 500

_SAVE_SERIES = """
    INSERT INTO series (cloud, tenant_id, report, tenant, last_success, failures_in_row,
        last_at, last_duration, last_rejected_rows, last_not_before,
        last_reason, last_message, last_hint, last_request_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (cloud, tenant_id, report) DO UPDATE SET
        tenant = excluded.tenant, last_success = excluded.last_success,
        failures_in_row = excluded.failures_in_row, last_at = excluded.last_at,
        last_duration = excluded.last_duration, last_rejected_rows = excluded.last_rejected_rows,
        last_not_before = excluded.last_not_before, last_reason = excluded.last_reason,
        last_message = excluded.last_message, last_hint = excluded.last_hint,
        last_request_id = excluded.last_request_id
"""
_READ_SERIES = """
    SELECT cloud, tenant_id, report, held, last_success, failures_in_row, last_at, last_duration,
        last_rejected_rows, last_not_before, last_reason, last_message, last_hint, last_request_id
    FROM series WHERE last_at IS NOT NULL OR held IS NOT NULL
"""
_READ_HELD = """
    SELECT edition.id, refresh_date, collected_at, request_id, product_type, counts
    FROM series JOIN edition ON edition.id = series.held JOIN product ON product.edition = edition.id
    ORDER BY edition.id, product_type
"""
_READ_REPORTS = """
    SELECT edition.id, refresh_date, collected_at, request_id, product_type, counts
    FROM series JOIN edition ON edition.series = series.id JOIN product ON product.edition = edition.id
    WHERE cloud = ? AND tenant_id = ? AND report = ? AND refresh_date >= ? AND replaced_at IS NULL
    ORDER BY refresh_date, edition.id, product_type
"""
# The last sign of life of a tenant's report: its last poll, else its last call.
_LAST_SEEN = "coalesce(last_at, (SELECT max(at) FROM call WHERE call.series = series.id), 0)"


def write_standing(
    connection: sqlite3.Connection, key: Key, tenant_name: str, standing: Standing, snapshot: Snapshot | None
) -> None:
    """Write a poll: the standing after it and, if it read one, its report."""
    last, failure = standing.last, standing.last.failure if standing.last else None
    outcome = (last.at, last.duration, last.rejected_rows, last.not_before) if last else (None,) * 4
    texts = (
        map(_storable, (failure.reason, failure.message, failure.hint, failure.request_id)) if failure else (None,) * 4
    )
    connection.execute(
        _SAVE_SERIES,
        (*astuple(key), tenant_name, standing.last_success, standing.failures_in_row, *outcome, *texts),
    )
    series = _series(connection, key)
    if snapshot is not None and snapshot != standing.snapshot:
        _write_edition(connection, series, snapshot)
    if standing.snapshot is not None:
        # Also after a failed poll: heals what an earlier write, on a full disk, has missed.
        held = _write_edition(connection, series, standing.snapshot)
        _write_published(connection, series, held, standing.last_success or standing.snapshot.collected_at)


def read_standings(connection: sqlite3.Connection) -> dict[Key, Standing]:
    """Read the standing of every tenant's report that has one."""
    held = dict(snapshots(connection.execute(_READ_HELD)))
    standings = {}
    for cloud, tenant_id, report, edition, last_success, failures_in_row, *outcome in connection.execute(_READ_SERIES):
        standings[Key(cloud, tenant_id, report)] = Standing(
            held.get(edition), last_success, _outcome(outcome), failures_in_row
        )
    return standings


def read_reports(connection: sqlite3.Connection, key: Key, since: date) -> list[Snapshot]:
    """Read the reports from `since` on, oldest first: for each refresh date the numbers that Microsoft gave last."""
    rows = connection.execute(_READ_REPORTS, (*astuple(key), since.isoformat()))
    return [snapshot for _, snapshot in snapshots(rows)]


def snapshots(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[int, Snapshot]]:
    """Group rows of (edition, refresh date, collected at, request id, product type, counts) by edition.

    Rows of one edition must follow each other. Product types are few and repeat in every report: equal ones
    share one object.
    """
    names: dict[str, str] = {}
    last: tuple[Any, ...] | None = None
    products: list[Row] = []
    for edition, refresh_date, collected_at, request_id, product_type, counts in rows:
        head = (edition, refresh_date, collected_at, request_id)
        if head != last:
            if last is not None:
                yield last[0], _snapshot(last, products)
            last, products = head, []
        products.append(Row(names.setdefault(product_type, product_type), tuple(json.loads(counts))))
    if last is not None:
        yield last[0], _snapshot(last, products)


def write_call(connection: sqlite3.Connection, key: Key, at: float) -> None:
    """Write a call to Graph and forget the old ones of the same key."""
    connection.execute("INSERT OR IGNORE INTO series (cloud, tenant_id, report) VALUES (?, ?, ?)", astuple(key))
    series = _series(connection, key)
    connection.execute("INSERT INTO call (series, at) VALUES (?, ?)", (series, at))
    connection.execute("DELETE FROM call WHERE series = ? AND at < ?", (series, at - CALL_MEMORY))


def read_calls(connection: sqlite3.Connection, since: float) -> dict[Key, list[float]]:
    """Read the calls to Graph from `since` on (Unix seconds), oldest first."""
    calls: dict[Key, list[float]] = {}
    for cloud, tenant_id, report, at in connection.execute(
        "SELECT cloud, tenant_id, report, at FROM call JOIN series ON series.id = series WHERE at >= ? ORDER BY at",
        (since,),
    ):
        calls.setdefault(Key(cloud, tenant_id, report), []).append(at)
    return calls


def release_unseen(connection: sqlite3.Connection, before: float) -> None:
    """Let go of the held report of every tenant that was not polled since `before` (Unix seconds)."""
    statement = f"UPDATE series SET held = NULL WHERE held IS NOT NULL AND {_LAST_SEEN} < ?"  # noqa: S608 - a constant
    connection.execute(statement, (before,))


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


def delete_unseen(connection: sqlite3.Connection, before: float) -> None:
    """Delete the tenants that have no report and were not polled since `before` (Unix seconds)."""
    connection.execute(
        f"""
        DELETE FROM series WHERE {_LAST_SEEN} < ? AND held IS NULL
            AND NOT EXISTS (SELECT 1 FROM edition WHERE edition.series = series.id)
        """,  # noqa: S608 - a constant
        (before,),
    )


def _series(connection: sqlite3.Connection, key: Key) -> int:
    found: int = connection.execute(
        "SELECT id FROM series WHERE cloud = ? AND tenant_id = ? AND report = ?", astuple(key)
    ).fetchone()[0]
    return found


def _write_edition(connection: sqlite3.Connection, series: int, snapshot: Snapshot) -> int:
    """Write a report; the same date again replaces, other numbers than before stay as a revision."""
    day = snapshot.refresh_date.isoformat()
    rows = [(row.product_type, json.dumps(row.counts, separators=(",", ":"))) for row in snapshot.rows]
    current = connection.execute(
        "SELECT id, collected_at FROM edition WHERE series = ? AND refresh_date = ? AND replaced_at IS NULL",
        (series, day),
    ).fetchone()
    if current is not None:
        edition: int = current[0]
        stored = connection.execute("SELECT product_type, counts FROM product WHERE edition = ?", (edition,)).fetchall()
        if sorted(stored) == sorted(rows):
            if current[1] != snapshot.collected_at:
                connection.execute(
                    "UPDATE edition SET collected_at = ?, request_id = ? WHERE id = ?",
                    (snapshot.collected_at, snapshot.request_id, edition),
                )
            return edition
        connection.execute("UPDATE edition SET replaced_at = ? WHERE id = ?", (snapshot.collected_at, edition))
    written = connection.execute(
        "INSERT INTO edition (series, refresh_date, collected_at, request_id) VALUES (?, ?, ?, ?)",
        (series, day, snapshot.collected_at, snapshot.request_id),
    ).lastrowid
    connection.executemany(f"INSERT INTO product VALUES ({written}, ?, ?)", rows)  # noqa: S608 - a number
    return int(written or 0)


def _write_published(connection: sqlite3.Connection, series: int, held: int, at: float) -> None:
    connection.execute("UPDATE series SET held = ? WHERE id = ? AND held IS NOT ?", (held, series, held))
    connection.execute(
        "UPDATE edition SET published_at = coalesce(published_at, ?), confirmed_at = ? WHERE id = ?",
        (at, at, held),
    )


def _snapshot(head: tuple[Any, ...], products: list[Row]) -> Snapshot:
    _, refresh_date, collected_at, request_id = head
    return Snapshot(date.fromisoformat(refresh_date), tuple(products), collected_at, request_id)


def _outcome(columns: Iterable[Any]) -> Outcome | None:
    at, duration, rejected_rows, not_before, reason, message, hint, request_id = columns
    if at is None:
        return None
    failure = None if reason is None else Failure(_reason(reason), message, hint, request_id)
    return Outcome(at, duration, failure=failure, rejected_rows=rejected_rows, not_before=not_before)


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:  # of a version that told more apart
        return Reason.INTERNAL


def _storable(text: str) -> str:
    """Return `text` as UTF-8 can hold it: a lone surrogate becomes a question mark."""
    return text.encode(errors="replace").decode()
