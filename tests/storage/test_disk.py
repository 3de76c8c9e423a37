"""Disks that are full, read-only or strange, and processes that die, cost no stored number."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.storage import Storage, StorageError
from exporter.storage.history import History
from tests.storage.samples import CONTOSO, START, failed, good, report, standing
from tests.storage.states import FILE, FILLED, fill, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storage.samples import Clock

NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """Go on as a user for whom permissions count, also in a container where tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that any user may enter and read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_path_below_a_file_is_memory(tmp_path: Path, clock: Clock) -> None:
    """A storage.path that cannot be a folder is said, counted and survived."""
    (tmp_path / "file").touch()
    with closing(Storage.open(tmp_path / "file" / "storage", clock=clock)) as storage:
        assert (storage.file, storage.up, storage.errors) == (None, False, 1)
        assert "Not a directory" in storage.problem


def test_a_read_only_folder_still_gives_the_last_snapshots(reachable: Path, clock: Clock) -> None:
    """Where nothing may be written, the last snapshots and calls are read all the same, and polling goes on."""
    folder = reachable / "storage"
    fill(folder, clock)
    (folder / FILE).chmod(0o444)
    folder.chmod(0o555)
    with without_privileges(), closing(Storage.open(folder, clock=clock)) as storage:
        assert (storage.file, storage.up) == (None, False)
        assert "Permission denied" in storage.problem
        assert storage.restore() == FILLED
        assert storage.calls_since(0) == {CONTOSO: [START]}
        with History(folder) as history:
            assert [series.name for series in history.series()] == ["contoso"]


def test_a_folder_that_may_not_be_entered_is_an_error_with_its_path(reachable: Path, clock: Clock) -> None:
    """`history` as another user than the service's says what is not permitted, where."""
    folder = reachable / "storage"
    fill(folder, clock)
    folder.chmod(0)
    with without_privileges(), pytest.raises(StorageError, match=f"{FILE}.*Permission denied"):
        History(folder)


def test_a_link_to_a_volume_that_is_not_there_is_kept(folder: Path, clock: Clock) -> None:
    """A database that is a link to a missing folder is an error, and the link is what it was."""
    folder.mkdir(parents=True)
    (folder / FILE).symlink_to(folder / "missing" / FILE)
    with closing(Storage.open(folder, clock=clock)) as storage:
        assert storage.problem
    assert (folder / FILE).is_symlink()


def test_a_read_only_file_in_a_writable_folder_is_memory_too(reachable: Path, clock: Clock) -> None:
    """A file that may not be written is found out at the start, not at the first poll."""
    folder = reachable / "storage"
    fill(folder, clock)
    (folder / FILE).chmod(0o444)
    (folder / "office365-activations.lock").chmod(0o666)
    folder.chmod(0o777)
    with without_privileges(), closing(Storage.open(folder, clock=clock)) as storage:
        assert (storage.file, storage.up) == (None, False)
        assert storage.restore() == FILLED


def test_a_crashed_storage_in_a_read_only_folder_is_not_half_read(reachable: Path, clock: Clock) -> None:
    """Where the log holds more than the file and cannot be merged, nothing is read rather than old numbers."""
    folder, copied = reachable / "storage", reachable / "copied"
    fill(folder, clock)
    storage = Storage.open(folder, clock=clock)
    storage.save(CONTOSO, "contoso", standing(failed(START)), None)
    copied.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"{FILE}{suffix}", copied)
        (copied / f"{FILE}{suffix}").chmod(0o444)
    storage.close()
    copied.chmod(0o555)
    with without_privileges():
        with pytest.raises(StorageError, match=f"{FILE}-wal must be merged first"):
            History(copied)
        with closing(Storage.open(copied, clock=clock)) as memory:
            assert (memory.file, memory.up) == (None, False)
            assert memory.restore() == {}


def test_a_file_system_without_shared_memory_gets_a_rollback_journal(folder: Path, clock: Clock) -> None:
    """Where WAL cannot work, storage has a rollback journal, also in a file that was in WAL mode elsewhere."""
    fill(folder, clock)
    # What a file system without shared memory does, in small: the -shm file cannot be made.
    (folder / f"{FILE}-shm").symlink_to(folder / "missing" / "shm")
    storage = Storage.open(folder, clock=clock)
    assert storage.restore() == FILLED
    assert storage._connection is not None
    assert storage._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert storage._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    after = standing(good(report(0, START)), good(report(1, START + 60)))
    storage.save(CONTOSO, "contoso", after, report(1, START + 60))
    with History(folder) as history:
        assert len(history.current(history.series()[0])) == 2
    storage.close()
    storage = Storage.open(folder, clock=clock)
    assert storage.restore() == {CONTOSO: after}
    storage.close()


def test_a_full_disk_is_survived_and_healed(folder: Path) -> None:
    """When no file can grow, saves fail with the fix, the saved stays, and the next save after is whole again."""
    with started("fill", folder) as process:
        assert process.stdout is not None
        full, *rest = process.stdout.read().splitlines()
    assert "cannot save the poll of contoso: " in full
    assert "(check the disk of storage.path" in full or "(free some space" in full
    assert rest == ["kept", "healed"]


def test_a_full_disk_at_the_start_still_gives_the_last_snapshots(folder: Path, clock: Clock) -> None:
    """A restart on a full disk brings the last snapshots back, in memory."""
    fill(folder, clock)
    with started("open-full", folder) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "None ['global']\n"


def test_a_kill_at_any_moment_loses_nothing_that_was_saved(folder: Path, clock: Clock) -> None:
    """After SIGKILL in mid-write the storage opens whole: every save that returned, and at most one more."""
    moments = random.Random(4)
    confirmed = -1
    for _ in range(6):
        with started("write", folder) as process:
            assert process.stdout is not None
            for _ in range(moments.randint(1, 60)):
                confirmed = int(process.stdout.readline())
            process.kill()
            confirmed = max([confirmed, *(int(line) for line in process.stdout if line.endswith("\n"))])
        storage = Storage.open(folder, clock=clock)
        assert (storage.up, storage.errors) == (True, 0)
        held = storage.restore()[CONTOSO]
        assert held.snapshot is not None
        number = held.snapshot.rows[0].counts[0]
        assert number in {confirmed, confirmed + 1}
        assert [row.counts for row in held.snapshot.rows] == [(number,), (2 * number,)]
        assert held.last_success == held.snapshot.collected_at + 1
        storage.close()
        with History(folder) as history:
            dates = [snapshot.refresh_date for snapshot in history.current(history.series()[0])]
        assert dates == [report(n, 0).refresh_date for n in range(number + 1)]
        confirmed = number
