"""Whatever state the disk is in, polling begins; and nobody's numbers are overwritten."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from exporter.storage import Storage, StorageError, StorageLockedError, database
from exporter.storage.database import find_damage
from exporter.storage.history import History
from exporter.storage.schema import newest
from tests.storage.samples import CONTOSO, START, failed, standing
from tests.storage.states import FILE, FILLED, fill, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storage.samples import Clock


def test_what_is_created_is_private(folder: Path, storage: Storage) -> None:
    """The folder is 0700 and every file in it 0600."""
    storage.save(CONTOSO, "contoso", standing(failed(START)), None)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        FILE: 0o600,
        f"{FILE}-wal": 0o600,
        f"{FILE}-shm": 0o600,
        "office365-activations.lock": 0o600,
    }


def test_all_is_well(folder: Path, clock: Clock) -> None:
    """A sound storage opens without a word."""
    fill(folder, clock)
    storage = Storage.open(folder, clock=clock)
    assert (storage.up, storage.problem, storage.errors, storage.restore()) == (True, "", 0, FILLED)
    storage.close()


def test_without_a_path_it_is_memory(clock: Clock) -> None:
    """An unset storage.path is no failure, and there is nothing to repair."""
    with closing(Storage.open(None, clock=clock)) as storage:
        assert (storage.file, storage.up, storage.errors, storage.needs_repair) == (None, None, 0, False)


def not_a_database(file: Path) -> None:
    """Overwrite everything."""
    file.write_bytes(b"never a database\n" * 1000)


def truncated(file: Path) -> None:
    """Cut the file short."""
    file.write_bytes(file.read_bytes()[:9000])


def scribbled(file: Path) -> None:
    """Overwrite everything after the first page."""
    whole = bytearray(file.read_bytes())
    whole[4096:] = b"\xa5" * (len(whole) - 4096)
    file.write_bytes(whole)


def headless(file: Path) -> None:
    """Leave a few bytes."""
    file.write_bytes(b"SQLite")


@pytest.mark.parametrize("damage", [not_a_database, truncated, scribbled, headless])
def test_a_damaged_file_is_set_aside(folder: Path, clock: Clock, damage: object) -> None:
    """A damaged file is renamed with its companions, a new one begins, and that is counted."""
    fill(folder, clock)
    assert callable(damage)
    damage(folder / FILE)
    damaged = (folder / FILE).read_bytes()
    (folder / f"{FILE}-wal").write_bytes(b"")
    storage = Storage.open(folder, clock=clock)
    assert (storage.up, storage.errors, storage.restore()) == (True, 1, {})
    storage.save(CONTOSO, "contoso", FILLED[CONTOSO], None)
    storage.close()
    aside = folder / f"{FILE}.damaged-20260301T060000Z"
    assert aside.read_bytes() == damaged
    damage(folder / FILE)
    storage = Storage.open(folder, clock=clock)
    storage.close()
    assert (folder / f"{aside.name}-again").exists(), "twice in a second loses neither"
    assert aside.read_bytes() == damaged


def test_the_look_for_damage_is_bounded(folder: Path, clock: Clock) -> None:
    """A look that would take too long ends, and the file counts as sound until SQLite finds otherwise."""
    storage = Storage.open(folder, clock=clock)
    assert storage._connection is not None
    storage._connection.execute("CREATE TABLE big (number INTEGER PRIMARY KEY, text TEXT)")
    storage._connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "INSERT INTO big SELECT i, 'text' FROM n"
    )
    storage.close()
    whole = bytearray((folder / FILE).read_bytes())
    whole[-4096:] = b"\xa5" * 4096
    (folder / FILE).write_bytes(whole)
    assert find_damage(folder / FILE, limit=0) == "", "the look ended before the last page"
    assert find_damage(folder / FILE) != ""


def test_another_programs_lock_at_the_start_changes_no_journal(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that another program holds for a moment is not taken for a file system that cannot do WAL."""
    fill(folder, clock)
    monkeypatch.setattr(database, "_use_rollback_journal", lambda _: pytest.fail("the journal would be another one"))
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(Storage.open(folder, clock=clock)) as storage:
            assert "database is locked" in storage.problem
            other.execute("ROLLBACK")
            with storage.repairing():
                pass
            assert storage.up


def test_a_newer_schema_is_left_untouched(folder: Path, clock: Clock) -> None:
    """A file of a newer version is refused by name and not changed by a byte; polling goes on in memory."""
    fill(folder, clock)
    with closing(sqlite3.connect(folder / FILE)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = (folder / FILE).read_bytes()
    with closing(Storage.open(folder, clock=clock)) as storage:
        assert (storage.file, storage.up, storage.errors, storage.restore()) == (None, False, 1, {})
        assert re.search(rf"{FILE}: written by a newer version .* \(schema 99", storage.problem)
    with pytest.raises(StorageError, match="schema 99"):
        History(folder)
    assert (folder / FILE).read_bytes() == before


def test_a_second_process_is_refused_by_the_first_ones_name(folder: Path, clock: Clock) -> None:
    """While a process uses the storage, another one is told which; when that ends, the storage is free."""
    with started("hold", folder) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(StorageLockedError) as caught:
            Storage.open(folder, clock=clock)
        assert caught.value.message.startswith(f"{folder}: in use by process {first.pid} on ")
        assert "other_process" in caught.value.message
        first.kill()
    storage = Storage.open(folder, clock=clock)
    assert storage.up
    holder = (folder / "office365-activations.lock").read_text(encoding="utf-8")
    assert holder.startswith(f"process {os.getpid()} on ")
    assert holder.endswith(", since 2026-03-01T06:00:00+00:00")
    storage.close()


def test_a_holder_that_could_not_write_its_name_still_holds(folder: Path, clock: Clock, storage: Storage) -> None:
    """An empty lock file is still a lock."""
    (folder / "office365-activations.lock").write_bytes(b"")
    with pytest.raises(StorageLockedError, match="an unknown process"):
        Storage.open(folder, clock=clock)


def test_a_failed_opening_gives_the_lock_back(folder: Path, clock: Clock) -> None:
    """After a refusal the folder is not locked."""
    folder.mkdir()
    (folder / FILE).mkdir()
    with closing(Storage.open(folder, clock=clock)) as first, closing(Storage.open(folder, clock=clock)) as second:
        assert first.problem == second.problem == f"{folder / FILE}: is not a regular file"


def test_a_named_pipe_in_the_place_of_the_file_is_refused_at_once(folder: Path) -> None:
    """Where a program that waits for a named pipe would wait for ever, `history` and `serve` say what is wrong."""
    folder.mkdir()
    os.mkfifo(folder / FILE)
    with started("open", folder) as serve, started("read", folder) as history:
        for process in (serve, history):
            said, _ = process.communicate(timeout=60)
            assert said == f"{folder / FILE}: is not a regular file\n"


def test_the_schema_has_a_version(storage: Storage) -> None:
    """A fresh file has the newest version."""
    assert storage._connection is not None
    assert storage._connection.execute("PRAGMA user_version").fetchone() == (newest(),)
