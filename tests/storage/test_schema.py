"""Old files become new ones without losing a number."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from exporter.storage import Storage, database, schema
from tests.storage.samples import CONTOSO, START, Clock, good, report, standing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seen", range(len(schema.MIGRATIONS) + 1))
def test_a_file_of_any_older_version_opens(
    folder: Path, clock: Clock, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has seen only some of the migrations is brought forward and works."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / database.FILE_NAME)) as connection, monkeypatch.context() as older:
        if seen:
            older.setattr(schema, "MIGRATIONS", dict(list(schema.MIGRATIONS.items())[:seen]))
            schema.migrate(connection)
    storage = Storage.open(folder, clock=clock)
    storage.save(CONTOSO, "contoso", standing(good(report(0, START))), report(0, START))
    assert storage.restore() == {CONTOSO: standing(good(report(0, START)))}
    storage.close()


def test_a_migration_keeps_what_is_stored(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file written by today's version is whole after tomorrow's migration."""
    storage = Storage.open(folder, clock=clock)
    storage.save(CONTOSO, "contoso", standing(good(report(0, START))), report(0, START))
    storage.close()
    tomorrow = "ALTER TABLE series ADD COLUMN colour TEXT DEFAULT 'blue';"
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, schema.newest() + 1: tomorrow})
    storage = Storage.open(folder, clock=clock)
    assert storage.restore() == {CONTOSO: standing(good(report(0, START)))}
    assert storage._connection is not None
    assert storage._connection.execute("SELECT colour FROM series").fetchone() == ("blue",)
    storage.close()


def test_a_migration_that_fails_changes_nothing(folder: Path, clock: Clock) -> None:
    """A migration is whole or not at all, and the storage says that it could not be opened."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / database.FILE_NAME)) as connection:
        connection.execute("CREATE TABLE product (somebody_elses TEXT)")
    with closing(Storage.open(folder, clock=clock)) as storage:
        assert "table product already exists" in storage.problem
    with closing(sqlite3.connect(folder / database.FILE_NAME)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("product",)]
        assert schema.version(connection) == 0


def test_a_file_system_that_declines_wal_is_noticed() -> None:
    """SQLite's other answer to a wish for WAL, which is no error, is taken for what it is."""
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError, match="the file system cannot do WAL"),
    ):
        database._use_wal(connection)


def test_a_connection_that_cannot_be_set_up_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite refuses a PRAGMA, no connection is left open."""
    opened: list[sqlite3.Connection] = []

    class Refusing(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
            opened.append(self)

    monkeypatch.setattr(sqlite3, "connect", Refusing)
    for connect in (database.connect, database.connect_readonly):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            connect(tmp_path / database.FILE_NAME)
    assert opened
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")
