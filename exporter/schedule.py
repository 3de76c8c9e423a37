"""When a poll is due (a pure function), and APScheduler, which runs it then."""

from __future__ import annotations

import hashlib
import threading
import time
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from exporter.config.times import parse_crontab
from exporter.errors import NEEDS_OPERATOR
from exporter.log import get_logger
from exporter.state import CLOCK_JUMP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from exporter.config import Poll, Tenant
    from exporter.state import Key, Standing

log = get_logger(__name__)

_AFTER_REFUSAL = (60.0, 120.0, 300.0, 900.0, 3600.0)
"""Pauses after a failure that needs an operator, in seconds; the last one for ever."""

_DAYS, _WEEK = 31, 7
_INSTANCES = 1000
"""`_running` lets no poll run twice at a time. APScheduler's own bound must never be met: it counts a run until shortly
after its end, and would drop, with no more than a log line, a poll that is due again at once."""

_LONGEST_WAIT = 86400.0


def next_due(poll: Poll, key: Key, standing: Standing, now: float, replica: str = "") -> float:
    """Return when the report's next poll is due, Unix seconds; the past or `now` means at once.

    A report that was never tried is due at once, and so is one whose last poll ended in the future: after a clock that
    jumped back nobody knows when that was. Later polls stand at the same place in each interval, each key at one of its
    own, so that they spread evenly. The function knows neither budget nor running polls.

    Args:
        poll: the tenant's settings.
        key: whose report.
        standing: where it stands.
        now: Unix seconds.
        replica: an id of the storage, so that two replicas do not poll in the same second.
    """
    last = standing.last
    if last is None or last.at > now + CLOCK_JUMP:
        return now
    ended = last.at
    earliest = min(last.not_before, ended + _LONGEST_WAIT)
    regular = _next_regular(poll, (key.cloud, key.tenant_id, key.report, replica), ended)
    if last.failure is not None and last.failure.reason in NEEDS_OPERATOR:
        step = _AFTER_REFUSAL[min(standing.consecutive_failures, len(_AFTER_REFUSAL)) - 1]
        return max(ended + step, earliest)
    return max(regular, earliest)


def _next_regular(poll: Poll, key: tuple[str, ...], ended: float) -> float:
    if poll.schedule is not None:
        slot = next_fire(poll.schedule, poll.timezone, ended)
        return slot + poll.jitter * _unit(key, slot)
    interval = poll.interval
    offset = interval * _unit(key, 0)
    slot = ((ended - offset) // interval + 1) * interval + offset
    if slot - ended < interval / 2:
        slot += interval
    return slot + min(poll.jitter, interval / 2) * _unit(key, slot)


def next_fire(line: str, timezone: str, after: float) -> float:
    """Return when a crontab line fires first after a moment, both Unix seconds."""
    day = datetime.fromtimestamp(after, ZoneInfo(timezone)).date()
    while True:
        for moment in _fires(line, timezone, day):
            if moment > after:
                return moment
        day += timedelta(days=1)


@lru_cache(maxsize=256)
def _fires(line: str, timezone: str, day: date) -> tuple[float, ...]:
    """Return when a crontab line fires on a day of the time zone, Unix seconds, in order.

    Day and weekday are either-or where both are given (https://man7.org/linux/man-pages/man5/crontab.5.html). A time
    that a change of the clocks leaves out comes an hour later, and one that it repeats comes twice.
    """
    crontab = _parse(line)
    either = len(crontab.days) < _DAYS and len(crontab.weekdays) < _WEEK
    fits = (any if either else all)((day.day in crontab.days, day.isoweekday() % 7 in crontab.weekdays))
    if not fits or day.month not in crontab.months:
        return ()
    moments: set[float] = set()
    for hour, minute in product(crontab.hours, crontab.minutes):
        local = datetime.combine(day, clock_time(hour, minute), ZoneInfo(timezone))
        first, second = local.timestamp(), local.replace(fold=1).timestamp()
        moments |= {first, max(first, second)}
    return tuple(sorted(moments))


_parse = lru_cache(maxsize=256)(parse_crontab)


def _unit(key: tuple[str, ...], slot: float) -> float:
    """Return a number in [0, 1) that is the same each time for one key and slot, and evenly spread over them."""
    text = "\0".join((*key, f"{slot:.0f}")).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48


class _WhenPlanned(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires when `Schedule` planned it, and, should that ever fail to plan it again, an hour after it fired.

    A job that ends with its one date would be taken away by APScheduler while, in another thread, it is planned again.
    """

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + timedelta(hours=1)


class Schedule:
    """Runs polls when they are due, a bounded number at a time.

    Args:
        due: returns when a tenant's report is polled next, Unix seconds.
        run: polls it once.
        clock: Unix seconds; the scheduler's own clock is the system's.
        monotonic: seconds.
    """

    def __init__(
        self,
        due: Callable[[Tenant, Key], float],
        run: Callable[[Tenant, Key], object],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._due = due
        self._poll = run
        self._clock = clock
        self._monotonic = monotonic
        self._tenants: dict[Key, Tenant] = {}
        self._running: set[Key] = set()
        self._stopped = False
        self._lock = threading.RLock()
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": _INSTANCES}
        )
        self._trigger = _WhenPlanned()
        self._executors: set[str] = set()

    def start(self) -> None:
        self._scheduler.start()

    def replace(self, tenants: Iterable[Tenant], concurrency: int) -> None:
        """Poll exactly these tenants' reports from now on; a poll that runs at this moment ends first."""
        with self._lock:
            self._executor = f"polls-{concurrency}"
            if self._executor not in self._executors:
                self._scheduler.add_executor(ThreadPoolExecutor(concurrency), self._executor)
                self._executors.add(self._executor)
            wanted = {key: tenant for tenant in tenants for key in tenant.keys}
            for key in self._tenants.keys() - wanted.keys():
                if self._scheduler.get_job(repr(key)) is not None:
                    self._scheduler.remove_job(repr(key))
            self._tenants = wanted
            self.plan_again()

    def plan_again(self) -> None:
        """Ask again when every report is due, as after a clock that jumped."""
        with self._lock:
            for key, tenant in self._tenants.items():
                self._plan(tenant, key)

    def stop(self, grace: float = 0.0) -> bool:
        """Start no further poll, wait `grace` seconds at most for those that run, and say whether all have ended."""
        with self._lock:
            self._stopped = True
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        end = self._monotonic() + grace
        while self._running and self._monotonic() < end:
            time.sleep(0.02)
        return not self._running

    def _plan(self, tenant: Tenant, key: Key) -> None:
        """Let the poll's job fire when it is due; one that runs is planned when it ends."""
        if key in self._running or self._stopped:
            return
        when = datetime.fromtimestamp(max(self._due(tenant, key), self._clock()), UTC)
        if self._scheduler.get_job(repr(key)) is not None:
            self._scheduler.modify_job(repr(key), next_run_time=when, executor=self._executor)
        else:
            job = {"id": repr(key), "next_run_time": when, "executor": self._executor}
            self._scheduler.add_job(self._run, self._trigger, (key,), **job)

    def _run(self, key: Key) -> None:
        with self._lock:
            tenant = self._tenants.get(key)
            if tenant is None or key in self._running:
                return
            self._running.add(key)
        try:
            if self._due(tenant, key) <= self._clock():
                self._poll(tenant, key)
        except Exception:
            log.exception("a poll failed: this is a bug in the exporter", report=key.report, tenant_id=key.tenant_id)
        finally:
            with self._lock:
                self._running.discard(key)
                if key in self._tenants:
                    self._plan(self._tenants[key], key)
