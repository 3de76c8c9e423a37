"""What is saved is what is restored."""

from __future__ import annotations

import io
import math
import shutil
import sqlite3
import tempfile
import threading
from contextlib import closing, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cli.history import openmetrics_lines, write_csv
from exporter.errors import Reason
from exporter.state import Failure, Key, Outcome, Row, Snapshot, Standing
from exporter.storage import Storage, StorageError, StorageLockedError
from exporter.storage.database import FILE_NAME, LOCK_NAME
from exporter.storage.history import History
from tests.storage.samples import CONTOSO, DAY, FABRIKAM, START, Clock, day, failed, good, report, standing

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.tuples(*[st.integers(0, 2**63 - 1)] * 3)
TIMES = st.floats(0, 2**33)


def rows(products: dict[str, tuple[int, ...]]) -> tuple[Row, ...]:
    """Return the rows as a snapshot holds them."""
    return tuple(Row(name, counts) for name, counts in sorted(products.items()))


SNAPSHOTS = st.builds(
    Snapshot,
    st.integers(0, 3).map(day),
    st.dictionaries(TEXT, COUNTS, min_size=1, max_size=3).map(rows),
    TIMES,
    TEXT,
)
OUTCOMES = st.one_of(
    st.builds(Outcome, TIMES, TIMES, SNAPSHOTS, rejected_rows=st.integers(0, 9)),
    st.builds(
        Outcome,
        TIMES,
        TIMES,
        failure=st.builds(Failure, st.sampled_from(Reason), TEXT, TEXT, TEXT),
        rejected_rows=st.none() | st.integers(0, 9),
        not_before=TIMES,
    ),
)
KEYS = st.builds(Key, st.sampled_from(["global", "china"]), st.sampled_from(["1", "2"]), TEXT)


def query(folder: Path, statement: str) -> list[Any]:
    """Ask the file itself."""
    with closing(sqlite3.connect(folder / "office365-activations.db")) as connection:
        return connection.execute(statement).fetchall()


@given(st.lists(st.tuples(KEYS, OUTCOMES), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_polls_come_back_as_they_were(polls: list[tuple[Key, Outcome]]) -> None:
    """After any sequence of polls, whatever the names and counts, storage restores exactly what memory holds."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.open(Path(folder), clock=Clock())
        standings: dict[Key, Standing] = {}
        for key, outcome in polls:
            standings[key] = standings.get(key, Standing()).after(outcome)
            storage.save(key, "contoso", standings[key], outcome.snapshot)
            assert storage.restore() == standings
        storage.close()
        storage = Storage.open(Path(folder), clock=Clock())
        assert storage.restore() == standings
        storage.close()


def test_the_same_date_with_other_numbers_keeps_the_old_ones_as_a_revision(storage: Storage, folder: Path) -> None:
    """Numbers that Microsoft changed after the fact replace the old ones, which stay as a revision."""
    first, second = report(0, START, OFFICE=(10, 5, 1)), report(0, START + 3600, OFFICE=(11, 5, 1))
    storage.save(CONTOSO, "contoso", standing(good(first)), first)
    storage.save(CONTOSO, "contoso", standing(good(first), good(second)), second)
    restored = storage.restore()[CONTOSO].snapshot
    assert restored == second
    assert query(folder, "SELECT counts, replaced_at FROM edition JOIN product ON edition = id ORDER BY id") == [
        ("[10,5,1]", START + 3600),
        ("[11,5,1]", None),
    ]


def test_the_same_date_with_the_same_numbers_is_no_revision(storage: Storage, folder: Path) -> None:
    """A report read again and again is stored once, with its first publication and its last reading."""
    first, second = report(0, START), report(0, START + 3600)
    storage.save(CONTOSO, "contoso", standing(good(first)), first)
    storage.save(CONTOSO, "contoso", standing(good(first), good(second)), second)
    times = query(folder, "SELECT published_at, collected_at, confirmed_at, replaced_at FROM edition")
    assert times == [(START + 1, START + 3600, START + 3601, None)]
    assert storage.restore()[CONTOSO].snapshot == second


def test_an_older_report_is_stored_but_never_stands(storage: Storage, folder: Path) -> None:
    """A report older than the held one goes into the history, and restoring still gives the newer one."""
    newer, older = report(3, START), report(2, START + 3600)
    storage.save(CONTOSO, "contoso", standing(good(newer)), newer)
    after = standing(good(newer), good(older))
    storage.save(CONTOSO, "contoso", after, older)
    assert storage.restore() == {CONTOSO: after}
    assert query(folder, "SELECT refresh_date, published_at IS NULL FROM edition ORDER BY refresh_date") == [
        (str(day(2)), 1),
        (str(day(3)), 0),
    ]


def test_a_save_heals_what_an_earlier_one_missed(storage: Storage) -> None:
    """A report that could not be saved when it came is saved with the next poll, even if that poll fails."""
    after = standing(good(report(0, START)), failed(START + 3600))
    storage.save(CONTOSO, "contoso", after, None)
    assert storage.restore() == {CONTOSO: after}


def test_a_standing_without_an_outcome_comes_back(storage: Storage) -> None:
    """A report that is there before any poll is restored as it is."""
    bare = Standing(snapshot=report(0, START))
    storage.save(CONTOSO, "contoso", bare, None)
    assert storage.restore() == {CONTOSO: bare}


def test_a_full_disk_costs_the_write_only(storage: Storage) -> None:
    """A save that finds no space raises StorageError with its fix, and what was stored before is still there."""
    first, second = report(0, START), report(1, START + DAY, **{f"PRODUCT {i}" * 500: (i,) for i in range(99)})
    storage.save(CONTOSO, "contoso", standing(good(first)), first)
    assert storage._connection is not None
    storage._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError, match=r"cannot save the poll of contoso: database or disk is full") as caught:
        storage.save(CONTOSO, "contoso", standing(good(first), good(second)), second)
    assert caught.value.reason is Reason.INTERNAL
    assert "free some space" in caught.value.hint
    assert storage.restore() == {CONTOSO: standing(good(first))}
    storage._connection.execute("PRAGMA max_page_count = 100000")
    storage.save(CONTOSO, "contoso", standing(good(first), good(second)), second)
    assert storage.restore() == {CONTOSO: standing(good(first), good(second))}


def test_a_text_that_utf8_cannot_hold_is_no_exception_of_another_kind(storage: Storage) -> None:
    """A lone surrogate in a message is replaced; in a product name it is a StorageError, and nothing is written."""
    outcome = Outcome(START, 1, failure=Failure(Reason.SERVER, "odd \ud800", "hint"))
    storage.save(CONTOSO, "contoso", standing(outcome), None)
    last = storage.restore()[CONTOSO].last
    assert last is not None
    assert last.failure == Failure(Reason.SERVER, "odd ?", "hint")
    odd = Snapshot(day(0), (Row("\ud800", (1,)),), START, "")
    with pytest.raises(StorageError, match="surrogates not allowed"):
        storage.save(FABRIKAM, "fabrikam", standing(good(odd)), odd)
    assert set(storage.restore()) == {CONTOSO}


def test_a_reason_of_another_version_is_an_internal_one(storage: Storage, folder: Path) -> None:
    """An outcome with a reason that this version does not know is restored as internal."""
    storage.save(CONTOSO, "contoso", standing(failed(START)), None)
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE series SET last_reason = 'moonphase'")
    last = storage.restore()[CONTOSO].last
    assert last is not None
    assert last.failure is not None
    assert last.failure.reason is Reason.INTERNAL


def test_calls_survive_a_restart(folder: Path, clock: Clock) -> None:
    """The calls to Graph of the last hour are known after a restart, and older ones are forgotten."""
    storage = Storage.open(folder, clock=clock)
    for at in (START - 5000, START, START, START + 60):
        storage.record_call(CONTOSO, at)
    storage.record_call(FABRIKAM, START - 10)
    storage.close()
    storage = Storage.open(folder, clock=clock)
    assert storage.calls_since(START) == {CONTOSO: [START, START, START + 60]}
    assert storage.calls_since(0) == {CONTOSO: [START, START, START + 60], FABRIKAM: [START - 10]}
    assert storage.restore() == {}, "a call is no outcome"
    storage.close()


def test_retention_deletes_old_reports_but_not_the_held_one(storage: Storage, clock: Clock, folder: Path) -> None:
    """Reports older than the retention go, with their revisions; the one on /metrics stays while it is polled."""
    outcomes = [good(report(n, START + n * DAY)) for n in range(10)]
    outcomes.insert(1, good(report(0, START + 60, OFFICE=(7, 7, 7))))
    for n, outcome in enumerate(outcomes, start=1):
        storage.save(CONTOSO, "contoso", standing(*outcomes[:n]), outcome.snapshot)
    clock.now = START + 9 * DAY
    assert storage.retain(5 * DAY) == 5, "the revision of day 0, and the days 0 to 3"
    assert query(folder, "SELECT min(refresh_date) FROM edition") == [(str(day(4)),)]
    assert storage.retain(DAY) == 4
    assert storage.retain(0) == 1
    assert storage.restore() == {CONTOSO: standing(*outcomes)}
    assert query(folder, "SELECT count(*) FROM product") == [(1,)]


def test_retention_forgets_a_tenant_that_is_gone(storage: Storage, clock: Clock, folder: Path) -> None:
    """A tenant that was not polled for the whole retention is deleted, another one stays."""
    first = report(0, START)
    storage.save(CONTOSO, "contoso", standing(good(first)), first)
    storage.record_call(CONTOSO, START)
    clock.now = START + 100 * DAY
    last = report(100, clock.now)
    storage.save(FABRIKAM, "fabrikam", standing(good(last)), last)
    assert storage.retain(50 * DAY) == 1
    assert set(storage.restore()) == {FABRIKAM}
    assert query(folder, "SELECT (SELECT count(*) FROM product), (SELECT count(*) FROM call)") == [(1, 0)]


def test_a_clock_that_is_years_ahead_deletes_nothing(storage: Storage, clock: Clock) -> None:
    """Age is counted from the newest report, by Microsoft's dates: neither history nor last good report goes."""
    outcomes = [good(report(n, START + n * DAY)) for n in range(10)]
    for n, outcome in enumerate(outcomes, start=1):
        storage.save(CONTOSO, "contoso", standing(*outcomes[:n]), outcome.snapshot)
    clock.now = START + 6 * 365 * DAY
    storage.save(FABRIKAM, "fabrikam", standing(failed(clock.now)), None)
    assert storage.retain(5 * 365 * DAY) == 0
    assert storage.restore()[CONTOSO] == standing(*outcomes)
    assert len(storage.reports(CONTOSO, date.min)) == 10


def test_a_clock_that_is_years_behind_forgets_no_tenant(storage: Storage) -> None:
    """A tenant whose last poll is dated by such a clock is not taken for one that is gone."""
    behind, right = good(replace(report(0, START), collected_at=10.0)), good(report(0, START))
    storage.save(CONTOSO, "contoso", standing(behind), behind.snapshot)
    storage.save(FABRIKAM, "fabrikam", standing(right), right.snapshot)
    assert storage.retain(50 * DAY) == 0
    assert storage.restore()[CONTOSO] == standing(behind)


def test_retention_of_more_than_all_time_deletes_nothing(storage: Storage) -> None:
    """A retention longer than the calendar is fine."""
    first = report(0, START)
    storage.save(CONTOSO, "contoso", standing(good(first)), first)
    assert storage.retain(1e12) == 0


def test_threads_save_side_by_side(storage: Storage) -> None:
    """Many threads saving, reading and counting at once lose nothing and meet no error."""
    errors: list[BaseException] = []

    def poll(number: int) -> None:
        key, held = Key("global", f"tenant-{number}", "activations_user_counts"), Standing()
        try:
            for n in range(20):
                outcome = good(report(n, START + n * DAY))
                held = held.after(outcome)
                storage.record_call(key, outcome.at)
                storage.save(key, f"tenant-{number}", held, outcome.snapshot)
                assert storage.restore()[key] == held
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=poll, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(storage.restore()) == 8
    assert all(len(calls) == 1 for calls in storage.calls_since(0).values())


@pytest.mark.parametrize(
    "use",
    [
        lambda storage: storage.restore(),
        lambda storage: storage.save(CONTOSO, "contoso", Standing(), None),
        lambda storage: storage.record_call(CONTOSO, START),
        lambda storage: storage.calls_since(0),
        lambda storage: storage.retain(1),
    ],
)
def test_a_closed_storage_says_so(storage: Storage, use: Callable[[Storage], object]) -> None:
    """After close, which may come twice, every method raises StorageError."""
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match="closed database"):
        use(storage)


def test_memory_keeps_the_last_report_and_the_calls(clock: Clock) -> None:
    """Without a file the last report and the calls of this process are kept, and no older report."""
    storage = Storage.open(None, clock=clock)
    outcomes = [good(report(number, START + number)) for number in range(3)]
    for number, outcome in enumerate(outcomes, start=1):
        storage.save(CONTOSO, "contoso", standing(*outcomes[:number]), outcome.snapshot)
    assert storage.restore() == {CONTOSO: standing(*outcomes)}
    assert storage.reports(CONTOSO, date.min) == [outcomes[-1].snapshot]
    for at in (START - 5000, START, START + 1):
        storage.record_call(CONTOSO, at)
    assert storage.calls_since(START) == {CONTOSO: [START, START + 1]}
    storage.close()


def test_a_save_never_lowers_what_is_held(storage: Storage) -> None:
    """A poll that knew nothing of the newer report that is stored, or that failed, leaves it the last good one."""
    newer, older = good(report(3, START)), good(report(1, START + 60))
    storage.save(CONTOSO, "contoso", standing(newer), newer.snapshot)
    for later in (standing(older), standing(failed(START + 120))):
        storage.save(CONTOSO, "contoso", later, None)
        held = storage.restore()[CONTOSO]
        assert held.snapshot == newer.snapshot
        assert held.last_success is not None


def test_the_same_report_read_again_in_the_same_moment_has_the_newer_request_id(storage: Storage) -> None:
    """What is restored is the last poll's, down to Graph's request-id, also where the clock has not moved."""
    first = good(report(1, START))
    again = replace(first, snapshot=replace(report(1, START), request_id="another"))
    storage.save(CONTOSO, "contoso", standing(first), first.snapshot)
    storage.save(CONTOSO, "contoso", standing(first, again), again.snapshot)
    assert storage.restore()[CONTOSO].snapshot == again.snapshot


def test_a_stored_report_of_the_future_gives_way(storage: Storage) -> None:
    """A report dated more than two days ahead of the clock is replaced by the next good one, older though that is."""
    future, now = good(report(900, START)), good(report(1, START + 60))
    storage.save(CONTOSO, "contoso", standing(future), future.snapshot)
    storage.save(CONTOSO, "contoso", standing(future, now), now.snapshot)
    assert storage.restore()[CONTOSO].snapshot == now.snapshot


def test_a_version_with_fewer_columns_keeps_the_numbers_of_one_with_more(storage: Storage) -> None:
    """After a rollback the same report with fewer columns is the stored one, and no number of it is replaced."""
    more, fewer = good(report(1, START, OFFICE=(3, 2, 1, 9))), good(report(1, START + 60, OFFICE=(3, 2, 1)))
    storage.save(CONTOSO, "contoso", standing(more), more.snapshot)
    storage.save(CONTOSO, "contoso", standing(fewer), fewer.snapshot)
    (kept,) = storage.reports(CONTOSO, date.min)
    assert kept.rows[0].counts == (3, 2, 1, 9)
    changed = good(report(1, START + 120, OFFICE=(3, 2, 2)))
    storage.save(CONTOSO, "contoso", standing(changed), changed.snapshot)
    (kept,) = storage.reports(CONTOSO, date.min)
    assert kept.rows[0].counts == (3, 2, 2)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE product SET counts = '[1,2'",
        "UPDATE product SET counts = '[\"1\",2,3]'",
        "UPDATE product SET counts = '[-1,2,3]'",
        "UPDATE product SET product_type = CAST(x'ff41' AS TEXT)",
        "UPDATE product SET product_type = CAST(product_type AS BLOB)",
        "UPDATE edition SET request_id = CAST(request_id AS BLOB)",
        "UPDATE edition SET refresh_date = 'yesterday'",
        "UPDATE edition SET collected_at = 'noon'",
        "UPDATE series SET last_at = 'noon'",
        "UPDATE series SET last_success = 'noon'",
        "UPDATE series SET failures_in_row = 9e999",
    ],
)
def test_an_unreadable_row_costs_only_itself(storage: Storage, folder: Path, damage: str) -> None:
    """A row that cannot be read loses its own report, is counted, and every other tenant's is restored."""
    for number, key in enumerate((CONTOSO, FABRIKAM)):
        outcome = good(report(number, START))
        storage.save(key, "tenant", standing(outcome), outcome.snapshot)
    where = "WHERE id = 1" if "series SET" in damage or "edition SET" in damage else "WHERE edition = 1"
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute(f"{damage} {where}")
    restored = storage.restore()
    assert restored[FABRIKAM] == standing(good(report(1, START)))
    assert restored.get(CONTOSO, standing()).snapshot is None
    assert storage.errors == 1
    assert storage.up, "the file as a whole works"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE product SET counts = '[1,2'",
        "UPDATE product SET counts = x'00'",
        "UPDATE product SET product_type = CAST(x'ff41' AS TEXT)",
        "UPDATE edition SET refresh_date = 'yesterday'",
        "UPDATE edition SET collected_at = 'noon'",
        "UPDATE edition SET collected_at = 1e300",
        "UPDATE edition SET published_at = 'noon'",
        "UPDATE edition SET confirmed_at = 'noon'",
        "UPDATE series SET last_success = 'noon'",
        "UPDATE series SET tenant = CAST(x'ff41' AS TEXT)",
        "UPDATE series SET tenant = CAST(tenant AS BLOB)",
        "UPDATE withdrawal SET until = 'noon'",
        "UPDATE call SET at = 'noon'",
    ],
)
def test_the_next_good_poll_replaces_what_cannot_be_read(storage: Storage, folder: Path, damage: str) -> None:
    """Rows that cannot be read keep no later poll from being stored, no budget from being known and no history."""
    polls = [good(report(0, START + hours * 3600)) for hours in (0, 5, 6)]
    polls.append(good(report(1, START + DAY)))
    for number in range(1, len(polls)):
        storage.save(CONTOSO, "contoso", standing(*polls[:number]), polls[number - 1].snapshot, 3600)
    storage.record_call(CONTOSO, START)
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute(damage)
    assert "noon" not in str(storage.calls_since(0))
    for times in range(2):
        with History(folder) as history:
            found = history.series()
            write_csv(io.StringIO(), history, found, 0.0, math.inf)
            lines = openmetrics_lines(history, found, 0.0, START + 9 * DAY, max_age=3600, step=3600, extra_labels={})
            "".join(lines).encode()
        storage.save(CONTOSO, "contoso", standing(*polls), polls[-1].snapshot, 3600)
        assert storage.restore() == {CONTOSO: standing(*polls)}, times


def kept_while_down(storage: Storage) -> None:
    """Save two days' reports and a call; nothing reaches the file."""
    outcomes = [good(report(number, START + number * DAY)) for number in (2, 3)]
    for number, outcome in enumerate(outcomes, start=1):
        with suppress(StorageError):
            storage.save(CONTOSO, "contoso", standing(*outcomes[:number]), outcome.snapshot)
    with suppress(StorageError):
        storage.record_call(CONTOSO, START)


def test_storage_that_could_not_be_opened_is_opened_later(folder: Path, clock: Clock) -> None:
    """What was kept in memory while storage.path could not be used is in the file once it can."""
    folder.write_text("in the way")
    storage = Storage.open(folder, clock=clock)
    kept_while_down(storage)
    with pytest.raises(StorageError, match="cannot open the storage"), storage.repairing():
        pass
    assert (storage.up, storage.errors) == (False, 2)
    folder.unlink()
    with storage.repairing():
        pass
    assert (storage.up, storage.problem, storage.file) == (True, "", folder / FILE_NAME)
    assert [one.refresh_date for one in storage.reports(CONTOSO, date.min)] == [day(2), day(3)]
    assert storage.calls_since(0) == {CONTOSO: [START]}
    storage.close()
    with closing(Storage.open(folder, clock=clock)) as again:
        assert again.restore()[CONTOSO].snapshot == report(3, START + 3 * DAY)


def test_what_was_withdrawn_while_storage_was_down_is_known_later(folder: Path, clock: Clock) -> None:
    """The times in which numbers were not shown are taken from memory to the file, as the numbers are."""
    folder.write_text("in the way")
    storage = Storage.open(folder, clock=clock)
    outcomes = [good(report(0, START + hours * 3600 - 1)) for hours in (0, 5)]
    for number, outcome in enumerate(outcomes, start=1):
        storage.save(CONTOSO, "contoso", standing(*outcomes[:number]), outcome.snapshot, 3600)
    folder.unlink()
    with storage.repairing():
        pass
    storage.close()
    with History(folder) as history:
        (edition,) = history.published(history.series()[0])
    assert edition.withdrawn == (START + 3600, START + 5 * 3600)


@pytest.mark.parametrize("how", ["file", "folder", "replaced"])
def test_a_database_that_is_deleted_while_it_is_used_is_noticed(
    folder: Path, clock: Clock, storage: Storage, how: str
) -> None:
    """A deleted or replaced file is counted, and a new one begins with what is saved then, twice in a row."""
    for _ in range(2):
        storage.save(CONTOSO, "contoso", standing(good(report(0, START))), report(0, START))
        if how == "folder":
            shutil.rmtree(folder)
        elif how == "file":
            (folder / FILE_NAME).unlink()
        else:
            (folder / FILE_NAME).rename(folder / "elsewhere")
            (folder / FILE_NAME).write_bytes(b"")
        assert storage.needs_repair
        with pytest.raises(StorageError, match="was deleted or replaced while it was in use"):
            storage.save(CONTOSO, "contoso", standing(good(report(1, START + DAY))), report(1, START + DAY))
        assert storage.problem
        with storage.repairing():
            storage.save(CONTOSO, "contoso", standing(good(report(1, START + DAY))), None)
        assert not storage.problem
        with History(folder) as history:
            assert history.current(history.series()[0])[-1] == report(1, START + DAY)


def test_a_deleted_lock_file_admits_nobody_to_a_file_in_use(folder: Path, clock: Clock, storage: Storage) -> None:
    """Without its lock file a storage lets go of the database, and takes it again only where nobody else has."""
    first, second = (standing(good(report(n, START + n * DAY))) for n in range(2))
    (folder / LOCK_NAME).unlink()
    with closing(Storage.open(folder, clock=clock)) as other:
        assert storage.needs_repair
        with pytest.raises(StorageError, match="its lock was deleted or replaced"):
            storage.save(CONTOSO, "contoso", first, None)
        with pytest.raises(StorageLockedError), storage.repairing():
            pass
        storage.save(CONTOSO, "contoso", first, None)
        assert (storage.file, storage.up, other.restore()) == (None, False, {})
        other.save(FABRIKAM, "fabrikam", second, None)
    with storage.repairing():
        pass
    assert storage.up
    assert storage.restore() == {CONTOSO: first, FABRIKAM: second}
    with pytest.raises(StorageLockedError):
        Storage.open(folder, clock=clock)


def test_a_repair_in_which_a_save_fails_is_none(storage: Storage) -> None:
    """Storage is up again only when everything known could be saved."""
    assert storage._connection is not None
    first = report(1, START + DAY, **{f"PRODUCT {i}" * 500: (i,) for i in range(99)})
    storage._connection.execute("PRAGMA max_page_count = 1")
    with suppress(StorageError):
        storage.save(CONTOSO, "contoso", standing(good(first)), first)
    assert storage.problem
    with pytest.raises(StorageError, match="disk is full"), storage.repairing():
        storage.save(CONTOSO, "contoso", standing(good(first)), None)
    assert storage.problem
    storage._connection.execute("PRAGMA max_page_count = 100000")
    with storage.repairing():
        storage.save(CONTOSO, "contoso", standing(good(first)), None)
    assert not storage.problem


def test_another_programs_lock_holds_nobody_up(folder: Path, storage: Storage) -> None:
    """While another program keeps the file locked, one operation waits for it and the next ones fail at once."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="database is locked") as caught:
            storage.save(CONTOSO, "contoso", standing(failed(START)), None)
        assert "stop it" in caught.value.hint
        for _ in range(50):
            with pytest.raises(StorageError, match="database is locked"):
                storage.save(CONTOSO, "contoso", standing(failed(START)), None)
        other.execute("ROLLBACK")
    with storage.repairing():
        storage.save(CONTOSO, "contoso", standing(failed(START)), None)
    assert not storage.problem


def test_a_repair_waits_for_a_lock_that_is_given_back(folder: Path, storage: Storage) -> None:
    """A program that locks the file for moments, again and again, keeps no repair from its end."""
    outcome = good(report(1, START))
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="database is locked"):
            storage.save(CONTOSO, "contoso", standing(outcome), outcome.snapshot)
        with storage.repairing():
            soon = threading.Timer(0.1, other.execute, ["ROLLBACK"])
            soon.start()
            storage.save(CONTOSO, "contoso", standing(outcome), None)
        soon.join()
    assert storage.up


def test_two_storages_have_two_identities(folder: Path, clock: Clock) -> None:
    """The id is another one for each file and each memory, and the same at each opening of one file."""
    identities = []
    for path in (folder, folder, None, None, None):
        with closing(Storage.open(path, clock=clock)) as storage:
            identities.append(storage.identity)
    assert identities[0] == identities[1]
    assert len(set(identities)) == 4
