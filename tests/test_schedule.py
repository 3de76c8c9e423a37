"""When polls are due, and that they run then."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Poll
from exporter.errors import Reason
from exporter.schedule import Schedule, next_due, next_fire
from exporter.state import Failure, Key, Outcome, Standing
from tests.builders import KEY, NOON, Clock, tenant

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Tenant

HOURLY = Poll()


def key(number: int) -> Key:
    """Return one of many keys."""
    return replace(KEY, tenant_id=str(number))


def after(at: float, reason: Reason | None = None, *, failures: int = 0, not_before: float = 0.0) -> Standing:
    """Return the standing after a poll that ended at `at`."""
    failure = Failure(reason, "no", "fix") if reason else None
    return Standing(None, None, Outcome(at, 1.0, None, failure, not_before=not_before), failures)


def test_a_report_that_was_never_tried_is_due_now() -> None:
    """The first poll waits for nothing."""
    assert next_due(HOURLY, KEY, Standing(), NOON) == NOON


def test_a_restored_report_waits_for_its_due_time() -> None:
    """After a restart, a poll that was good half an hour ago is not made again at once."""
    assert NOON + 1 < next_due(HOURLY, KEY, after(NOON - 1), NOON) <= NOON + 1.5 * 3600 + 300


def test_what_is_past_due_is_due_at_once() -> None:
    """A report that nobody polled for days is due in the past: now."""
    assert next_due(HOURLY, KEY, after(NOON - 86400), NOON) < NOON


def test_later_polls_spread_evenly_over_the_interval() -> None:
    """A thousand tenants that were all polled at once are due in every tenth of the interval alike."""
    tenths = [0] * 10
    for number in range(1000):
        due = next_due(HOURLY, key(number), after(NOON), NOON)
        due = next_due(HOURLY, key(number), after(due), due)
        tenths[int(due % 3600 // 360)] += 1
    assert min(tenths) > 70
    assert max(tenths) < 130


@given(st.integers(0, 10_000), st.floats(0, 86400), st.sampled_from(["1m", "1h", "6h"]))
def test_polls_follow_each_other_by_the_interval(number: int, start: float, interval: str) -> None:
    """Polls are at least half an interval apart, and at most one and a half of it and the jitter."""
    poll = Poll.model_validate({"interval": interval, "jitter": "5m"})
    at = NOON + start
    for _ in range(5):
        due = next_due(poll, key(number), after(at), at)
        assert poll.interval / 2 - 1 <= due - at <= 1.5 * poll.interval + min(poll.jitter, poll.interval / 2) + 1
        at = due


@pytest.mark.parametrize("reason", [Reason.PERMISSION, Reason.CREDENTIALS, Reason.TENANT, Reason.UNSUPPORTED])
def test_a_failure_that_needs_an_operator_is_tried_again_after_1_2_5_15_minutes_then_hourly(reason: Reason) -> None:
    """The pauses after a refusal grow to an hour and stay there, for ever."""
    pauses = [next_due(HOURLY, KEY, after(NOON, reason, failures=n), NOON) - NOON for n in (1, 2, 3, 4, 5, 6, 1000)]
    assert pauses == [60, 120, 300, 900, 3600, 3600, 3600]


def test_an_interval_shorter_than_the_pauses_makes_them_no_shorter() -> None:
    """A tenant with a short interval is not asked more often for being refused."""
    poll = Poll.model_validate({"interval": "30s"})
    pauses = [next_due(poll, KEY, after(NOON, Reason.PERMISSION, failures=n), NOON) - NOON for n in (1, 2, 3, 4, 9)]
    assert pauses == [60, 120, 300, 900, 3600]


def test_no_poll_is_due_before_microsoft_allows_it() -> None:
    """Retry-After moves the next poll there, never earlier."""
    late = NOON + 7200
    assert next_due(HOURLY, KEY, after(NOON, Reason.THROTTLED, failures=1, not_before=late), NOON) == late


def test_no_poll_waits_for_more_than_a_day_because_microsoft_asks_for_it() -> None:
    """A Retry-After of a year puts the next poll off by a day, and that day ends."""
    standing = after(NOON, Reason.THROTTLED, failures=1, not_before=NOON + 365 * 86400)
    assert [next_due(HOURLY, KEY, standing, NOON + hours * 3600) - NOON for hours in (0, 12, 24)] == [86400] * 3


@pytest.mark.parametrize("jump", [-10 * 365 * 86400, -86400, 86400, 10 * 365 * 86400])
def test_a_clock_that_jumped_neither_stalls_nor_stampedes(jump: float) -> None:
    """After a jump, back or forward, each report is due at once, and once."""
    standing = after(NOON, Reason.THROTTLED, failures=1, not_before=NOON + 600)
    now = NOON + jump
    assert next_due(HOURLY, KEY, standing, now) <= now
    assert next_due(HOURLY, KEY, after(now), now) > now


@pytest.mark.parametrize(
    ("line", "after_", "expected"),
    [
        ("0 0 * * 0", "2026-11-23T00:00", "2026-11-29T00:00"),
        ("0 0 * * 7", "2026-11-23T00:00", "2026-11-29T00:00"),
        ("0 0 * * mon", "2026-11-24T00:00", "2026-11-30T00:00"),
        ("15 */6 * * *", "2026-11-23T06:15", "2026-11-23T12:15"),
        ("0 3 13 * fri", "2026-11-23T00:00", "2026-11-27T03:00"),
        ("0 3 13 * fri", "2026-12-11T04:00", "2026-12-13T03:00"),
        ("30 2 * * *", "2026-03-28T03:00", "2026-03-29T03:30"),
        ("30 2 * * *", "2026-10-25T02:00", "2026-10-25T02:30"),
        ("0 0 * * *", "2026-03-29T00:02", "2026-03-30T00:00"),
        ("0 0 * * mon", "2026-03-24T00:00", "2026-03-30T00:00"),
        ("0 0 1 * *", "2026-03-02T00:00", "2026-04-01T00:00"),
        ("0 0 29 2 *", "2026-03-02T00:00", "2028-02-29T00:00"),
    ],
)
def test_a_schedule_means_what_cron_means(line: str, after_: str, expected: str) -> None:
    """Weekdays count from Sunday, day and weekday are either-or, and hours are those of the time zone."""
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime.fromisoformat(after_).replace(tzinfo=berlin, second=1)
    fires = next_fire(line, "Europe/Berlin", moment.timestamp())
    assert datetime.fromtimestamp(fires, berlin).strftime("%Y-%m-%dT%H:%M") == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.parametrize(("line", "hours"), [("0 0 * * *", 24), ("30 2 * * *", 24), ("*/15 * * * *", 0.25)])
def test_a_change_of_the_clocks_leaves_out_no_poll(zone: str, line: str, hours: float) -> None:
    """Over a year, in every zone, two slots are never further apart than usual and the hour that clocks go back."""
    fires = [datetime(2026, 1, 1, tzinfo=UTC).timestamp()]
    while fires[-1] < datetime(2027, 1, 1, tzinfo=UTC).timestamp():
        fires.append(next_fire(line, zone, fires[-1]))
    gaps = [(later - earlier) / 3600 for earlier, later in pairwise(fires[1:])]
    assert max(gaps) <= (hours + 1 if hours > 1 else hours)
    assert min(gaps) > 0


def test_a_scheduled_poll_is_due_at_its_slot_with_jitter() -> None:
    """Under `schedule`, the next poll is at the next slot, at most the jitter later."""
    poll = Poll.model_validate({"schedule": "0 * * * *", "jitter": "5m"})
    slot = datetime(2026, 9, 21, 15, tzinfo=UTC).timestamp()
    dues = [next_due(poll, key(n), after(slot - 1800), slot - 1800) - slot for n in range(100)]
    assert min(dues) >= 0
    assert 250 < max(dues) < 300


def polled_tenants(number: int) -> list[Tenant]:
    """Return so many tenants with one report each."""
    return [tenant(tenant_id=key(place).tenant_id) for place in range(number)]


def run_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def test_due_polls_run_at_once_and_bounded() -> None:
    """All tasks that are due run, never more at a time than the bound."""
    running, most, done = 0, 0, []
    lock = threading.Lock()

    def work(_: Tenant, polled: Key) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        done.append(polled)

    schedule = Schedule(lambda _, polled: time.time() + (86400 if polled in done else 0), work)
    schedule.start()
    schedule.replace(polled_tenants(40), 4)
    run_until(lambda: len(done) == 40)
    schedule.stop()
    assert {polled: done.count(polled) for polled in done} == dict.fromkeys(map(key, range(40)), 1)
    assert most == 4


def test_a_task_that_is_due_again_at_once_is_never_lost() -> None:
    """However soon a poll is due again after its end, it runs again: none is dropped on the way."""
    runs = {key(number): 0 for number in range(30)}

    def work(_: Tenant, polled: Key) -> None:
        runs[polled] += 1

    schedule = Schedule(lambda _, polled: 0.0 if runs[polled] < 30 else time.time() + 86400, work)
    schedule.start()
    schedule.replace(polled_tenants(30), 8)
    run_until(lambda: min(runs.values()) == 30, seconds=30)
    schedule.stop()
    assert set(runs.values()) == {30}


def test_a_task_that_raises_is_planned_again() -> None:
    """An exception in a poll costs that poll and no other."""
    ran: list[float] = []

    def work(_: Tenant, _key: Key) -> None:
        ran.append(time.time())
        raise RuntimeError("a bug")

    schedule = Schedule(lambda _, _key: (ran[-1] + 0.05) if ran else 0.0, work)
    schedule.start()
    schedule.replace([tenant()], 1)
    run_until(lambda: len(ran) >= 3)
    schedule.stop()
    assert len(ran) >= 3


def test_replaced_tasks_run_and_removed_ones_do_not() -> None:
    """After `replace`, only the new tasks run, under the new bound."""
    ran: list[str] = []
    old, new = tenant("old", tenant_id="old"), tenant("new", tenant_id="new")

    def due(polled: Tenant, _: Key) -> float:
        return time.time() + 0.2 if polled is old else 0.0 if not ran else time.time() + 99

    schedule = Schedule(due, lambda polled, _: ran.append(polled.name))
    schedule.start()
    schedule.replace([old], 1)
    schedule.replace([new], 2)
    run_until(lambda: bool(ran))
    time.sleep(0.3)
    schedule.stop()
    assert ran == ["new"]


def test_after_a_clock_jump_every_poll_is_scheduled_again() -> None:
    """When the clock jumps to after a poll's due time, it runs without waiting for the old moment."""
    clock = Clock(time.time())
    ran: list[int] = []
    due = clock.now + 3600
    schedule = Schedule(
        lambda _, _key: due if not ran else due * 2, lambda _, _key: ran.append(1), clock=clock, monotonic=lambda: 0.0
    )
    schedule.start()
    schedule.replace([tenant()], 1)
    clock.now += 7200
    # The scheduler's own clock is the system's, which did not jump: what counts is that the task was planned for now.
    schedule.plan_again()
    job = schedule._scheduler.get_job(repr(KEY))
    schedule.stop()
    assert ran or job.next_run_time.timestamp() == pytest.approx(clock.now, abs=1)
