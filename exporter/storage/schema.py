"""The tables of the SQLite file, and their migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

# Each script by the version that it makes, which the file holds as its `user_version`.
# Never change one that was released: add the next.
#
# - series: a tenant's report and its last outcome; `held` is the edition on /metrics.
# - edition: one set of numbers that Microsoft gave for one refresh date. The current one of a date has no
#   `replaced_at`; the others are its revisions. `published_at` and `confirmed_at` are the first and the last
#   good poll with it on /metrics; both are empty if it never was there (a report older than the held one).
# - product: an edition's rows; `counts` is a JSON array in the order of the report's columns, to which a newer version
#   may append.
# - withdrawal: the times in which an edition was not on /metrics because the last good poll was too long ago.
# - call: the calls to Graph, for the quota budget.
# - storage: a random id of this file, so that two replicas do not poll in the same second.
#
# No STRICT tables: SQLite before 3.37, which some systems with Python 3.11 still have, takes them for damage.
MIGRATIONS: Mapping[int, str] = {
    2: """
        CREATE TABLE series (
            id INTEGER PRIMARY KEY,
            cloud TEXT NOT NULL,
            tenant_id TEXT NOT NULL,
            report TEXT NOT NULL,
            tenant TEXT NOT NULL DEFAULT '',
            held INTEGER REFERENCES edition(id),
            last_success REAL,
            failures_in_row INTEGER NOT NULL DEFAULT 0,
            last_at REAL,
            last_duration REAL,
            last_rejected_rows INTEGER,
            last_not_before REAL,
            last_reason TEXT,
            last_message TEXT,
            last_hint TEXT,
            last_request_id TEXT,
            UNIQUE (cloud, tenant_id, report)
        );
        CREATE INDEX series_held ON series (held);
        CREATE TABLE edition (
            id INTEGER PRIMARY KEY,
            series INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
            refresh_date TEXT NOT NULL,
            collected_at REAL NOT NULL,
            request_id TEXT NOT NULL,
            published_at REAL,
            confirmed_at REAL,
            replaced_at REAL
        );
        CREATE UNIQUE INDEX edition_current ON edition (series, refresh_date) WHERE replaced_at IS NULL;
        CREATE INDEX edition_series ON edition (series, published_at);
        CREATE TABLE product (
            edition INTEGER NOT NULL REFERENCES edition(id) ON DELETE CASCADE,
            product_type TEXT NOT NULL,
            counts TEXT NOT NULL,
            PRIMARY KEY (edition, product_type)
        ) WITHOUT ROWID;
        CREATE TABLE withdrawal (
            edition INTEGER NOT NULL REFERENCES edition(id) ON DELETE CASCADE,
            since REAL NOT NULL,
            until REAL NOT NULL
        );
        CREATE INDEX withdrawal_edition ON withdrawal (edition);
        CREATE TABLE call (
            id INTEGER PRIMARY KEY,
            series INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
            at REAL NOT NULL
        );
        CREATE INDEX call_series ON call (series, at);
        CREATE TABLE storage (id TEXT NOT NULL);
        INSERT INTO storage VALUES (lower(hex(randomblob(8))));
    """,
}


def newest() -> int:
    """Return the version that this program writes."""
    return max(MIGRATIONS)


def version(connection: sqlite3.Connection) -> int:
    """Return the version of the file; 0 of an empty one."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to the newest version, all in one transaction.

    Raises:
        sqlite3.Error: it failed; the file is as it was.
    """
    found = version(connection)
    scripts = "".join(script for made, script in MIGRATIONS.items() if made > found)
    with connection:  # rolls back on an exception
        connection.executescript(f"BEGIN IMMEDIATE; {scripts} PRAGMA user_version = {newest()}; COMMIT")
