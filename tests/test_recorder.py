"""What follows a poll, whatever happens to its tenant and to storage meanwhile."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from exporter.config import Report
from exporter.errors import Reason
from exporter.process_metrics import OwnMetrics
from exporter.recorder import Recorder
from exporter.state import Failure, Outcome
from exporter.storage import Storage
from exporter.storage.database import FILE_NAME
from exporter.storage.history import History
from tests.builders import KEY, NOON, Clock, snapshot, tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.config import Tenant
    from exporter.state import Key, Standing

CONTOSO = tenant()
GOOD = Outcome(NOON + 1, 0.5, snapshot(("OFFICE", (3, 2, 1))), rejected_rows=0)
FAILED = Outcome(NOON + 60, 0.5, failure=Failure(Reason.NETWORK, "no answer", "check the network"))


class Answering:
    """In place of a poller: the outcomes that it is given, and what happens during each poll."""

    def __init__(self, *outcomes: Outcome, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._outcomes = list(outcomes)
        self._meanwhile = meanwhile

    def poll(self, _tenant: Tenant, _key: Key, _standing: Standing) -> Outcome:
        """Return the next outcome."""
        self._meanwhile()
        return self._outcomes.pop(0)


def poll(recorder: Recorder, *outcomes: Outcome, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Let polls of contoso end with `outcomes`."""
    poller = Answering(*outcomes, meanwhile=meanwhile)
    for _ in outcomes:
        recorder.poll(poller, CONTOSO, KEY)  # type: ignore[arg-type]  # one method is all that is used


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """An open storage."""
    with closing(Storage.open(tmp_path / "storage", clock=Clock())) as opened:
        yield opened


def started(storage: Storage) -> Recorder:
    """Return a recorder that holds contoso."""
    recorder = Recorder(storage, OwnMetrics(storage=storage), Clock(), Clock())
    recorder.adopt([CONTOSO])
    return recorder


def test_a_report_older_than_the_one_held_is_counted(storage: Storage) -> None:
    """A good poll that brought an older report counts as stale, one that brought the same day's report does not."""
    own = OwnMetrics(storage=storage)
    recorder = Recorder(storage, own, Clock(), Clock())
    recorder.adopt([CONTOSO])
    older = replace(GOOD, snapshot=snapshot(("OFFICE", (9, 9, 9)), day=date(2026, 9, 18)))
    poll(recorder, GOOD, older, FAILED, GOOD)
    assert [sample.value for sample in own.samples() if sample.family == "exporter_stale_reports_total"] == [1]
    assert recorder.states.get(KEY).snapshot == GOOD.snapshot


@pytest.mark.parametrize("during", [GOOD, FAILED])
def test_a_tenant_disabled_during_its_poll_keeps_its_last_good_report(storage: Storage, during: Outcome) -> None:
    """The poll that was in flight neither brings a dropped tenant back, nor costs the report that storage holds."""
    recorder = started(storage)
    poll(recorder, GOOD)
    poll(recorder, during, meanwhile=lambda: recorder.adopt([]))
    assert recorder.states.polls(KEY) == (2, during is FAILED)
    for again in (recorder, started(storage)):
        again.adopt([CONTOSO])
        standing = again.states.get(KEY)
        assert (standing.snapshot, standing.last_success) == (GOOD.snapshot, GOOD.at)


def test_a_tenant_missing_for_one_reload_while_storage_fails_loses_nothing(storage: Storage) -> None:
    """What could not be stored outlasts a reload without its tenant, as it would outlast one with it."""
    recorder = started(storage)
    storage.close()
    poll(recorder, GOOD)
    held = recorder.states.get(KEY)
    for tenants in ([], [CONTOSO]):
        recorder.adopt(tenants)
    assert held.snapshot == GOOD.snapshot
    assert recorder.states.get(KEY) == held


def test_a_tenant_missing_for_one_reload_during_its_poll_loses_nothing(storage: Storage) -> None:
    """A tenant that is dropped and back before its poll ends has what was read before, and what the poll said."""
    recorder = started(storage)
    poll(recorder, GOOD)

    def flicker() -> None:
        recorder.adopt([])
        recorder.adopt([CONTOSO])

    poll(recorder, FAILED, meanwhile=flicker)
    standing = recorder.states.get(KEY)
    assert (standing.snapshot, standing.last_success, standing.consecutive_failures) == (GOOD.snapshot, GOOD.at, 1)
    assert storage.restore()[KEY] == standing


def test_a_poll_that_ends_after_its_tenant_was_renamed_is_stored_under_the_new_name(
    storage: Storage, tmp_path: Path
) -> None:
    """The name by which `history` knows a tenant is the one that it had at the end of its last poll."""
    recorder = started(storage)
    poll(recorder, GOOD, meanwhile=lambda: recorder.adopt([tenant("woodgrove")]))
    with History(tmp_path / "storage") as history:
        assert [series.name for series in history.series()] == ["woodgrove"]


def test_a_deleted_database_begins_again_with_all_that_is_known(storage: Storage, tmp_path: Path) -> None:
    """When the file is deleted, that is noticed without a poll, and the next file holds the last numbers."""
    recorder = started(storage)
    poll(recorder, GOOD)
    (tmp_path / "storage" / FILE_NAME).unlink()
    recorder.repair_storage()
    assert storage.up
    assert storage.restore() == {KEY: recorder.states.get(KEY)}
    storage.close()
    with closing(Storage.open(tmp_path / "storage", clock=Clock())) as again:
        assert started(again).states.get(KEY).snapshot == GOOD.snapshot


def test_a_repair_knows_when_numbers_were_withdrawn(storage: Storage, tmp_path: Path) -> None:
    """Where the poll that brought withdrawn numbers back could not be stored, the repair stores the gap, too."""
    recorder = Recorder(storage, OwnMetrics(storage=storage), Clock(), Clock())
    recorder.adopt([tenant(report=Report.model_validate({"max_age": "1h"}))])
    poll(recorder, GOOD)
    assert storage._connection is not None
    storage._connection.execute("PRAGMA query_only = ON")
    poll(recorder, replace(GOOD, at=GOOD.at + 5 * 3600))
    storage._connection.execute("PRAGMA query_only = OFF")
    assert recorder.repair_storage()
    with History(tmp_path / "storage") as history:
        (edition,) = history.published(history.series()[0])
    assert edition.withdrawn == (GOOD.at + 3600, GOOD.at + 5 * 3600)


def test_storage_that_comes_back_gives_and_takes(tmp_path: Path, storage: Storage) -> None:
    """After storage.path was unusable at the start, what it holds is restored and what was polled is stored."""
    poll(started(storage), GOOD)
    storage.close()
    folder, away = tmp_path / "storage", tmp_path / "away"
    folder.rename(away)
    folder.write_text("not a folder")
    memory = Storage.open(folder, clock=Clock())
    recorder = started(memory)
    poll(recorder, FAILED)
    recorder.repair_storage()
    assert memory.up is False
    folder.unlink()
    away.rename(folder)
    recorder.repair_storage()
    standing = recorder.states.get(KEY)
    assert (memory.problem, standing.snapshot, standing.consecutive_failures) == ("", GOOD.snapshot, 1)
    assert memory.restore()[KEY].snapshot == GOOD.snapshot
    memory.close()
