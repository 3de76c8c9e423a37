"""What follows a poll: the outcome is stored, shown, counted and logged."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.log import get_logger
from exporter.quota import WINDOW, Budget
from exporter.state import ReportStates
from exporter.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from exporter.config import Tenant
    from exporter.poller import Poller
    from exporter.process_metrics import OwnMetrics
    from exporter.state import Key, Outcome, Standing
    from exporter.storage import Storage

log = get_logger(__name__)


class Recorder:
    """Takes the outcomes of polls in, and holds where every report stands.

    Args:
        storage: keeps it over restarts; what it kept is where this begins.
        own: the exporter's counters.
        clock: Unix seconds.
        monotonic: seconds, for the budget.

    Attributes:
        states: where every report stands.
        budget: of Graph calls; knows those of the last minutes before the start.
    """

    def __init__(
        self,
        storage: Storage,
        own: OwnMetrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._own = own
        self._tenants: Mapping[Key, Tenant] = {}
        self._lock = threading.Lock()
        self.states = ReportStates()
        calls: Mapping[Key, Sequence[float]] = {}
        with _storage_errors_logged("the calls to Graph before this start are not known"):
            calls = storage.calls_since(clock() - WINDOW)
        self.budget = Budget(clock, calls, self._record_call, monotonic)

    def adopt(self, tenants: Iterable[Tenant]) -> None:
        """Hold the states of exactly these tenants' reports; those without a snapshot come from storage."""
        wanted = {key: tenant for tenant in tenants for key in tenant.keys}
        with self._lock:
            self._tenants = wanted
            self._complete()

    def poll(self, poller: Poller, tenant: Tenant, key: Key) -> Outcome:
        """Poll the tenant's report once and take the outcome in."""
        outcome = poller.poll(tenant, key, self.states.get(key))
        with self._lock:
            tenant = self._tenants.get(key, tenant)  # it may have been renamed meanwhile
            before = self.states.get(key)
            after = before.after(outcome)
            # Stored first, seen afterwards: what has been on /metrics comes back, whenever the process dies.
            with _storage_errors_logged("a poll could not be stored; its numbers are served"):
                self._storage.save(key, tenant.name, after, outcome.snapshot, tenant.report.max_age)
            self.states.record(key, after)
        if outcome.failure is not None:
            self._own.count_failure(outcome.failure.reason)
        elif after.snapshot is not outcome.snapshot:
            self._own.count_stale_report()
        _log(tenant, key.report, outcome, before, after)
        return outcome

    def repair_storage(self) -> bool:
        """Where reports are not stored, try again, store all that is known, and read what could not be read before.

        Returns:
            Whether reports are stored again.
        """
        if not self._storage.needs_repair:
            return False
        repaired = False
        with _storage_errors_logged("storage still cannot be used; it is tried again every minute"):
            with self._storage.repairing():
                for key, tenant in self._tenants.items():
                    with self._lock:
                        standing = self.states.get(key)
                        if standing.last is not None or standing.snapshot is not None:
                            self._storage.save(key, tenant.name, standing, None, tenant.report.max_age)
            with self._lock:
                self._complete()
            repaired = True
        return repaired  # noqa: RET504 - an error ends the block before it is set

    def retain(self, seconds: float) -> None:
        """Delete the stored reports that are older."""
        with _storage_errors_logged("old reports could not be deleted"):
            log.debug("old reports were deleted", reports=self._storage.retain(seconds))

    def _complete(self) -> None:
        if all(self.states.get(key).snapshot is not None for key in self._tenants):
            return
        what = "the last reports could not be read from storage; the next polls fetch them again"
        with _storage_errors_logged(what):
            for key, standing in self._storage.restore().items():
                if key in self._tenants:
                    self.states.complete(key, standing)

    def _record_call(self, key: Key, at: float) -> None:
        with _storage_errors_logged("a call to Graph could not be stored"):
            self._storage.record_call(key, at)


@contextmanager
def _storage_errors_logged(what: str) -> Iterator[None]:
    """Log an error of storage, which stops neither polls nor scrapes."""
    try:
        yield
    except StorageError as error:
        log.error(what, error=error.message, hint=error.hint)  # noqa: TRY400 - the error says it all


def _log(tenant: Tenant, report: str, outcome: Outcome, before: Standing, after: Standing) -> None:
    about = {"tenant": tenant.name, "report": report}
    duration = round(outcome.duration, 2)
    failure, snapshot = outcome.failure, outcome.snapshot
    if failure is not None:
        log.warning(
            "poll failed; the last good report is kept"
            if after.snapshot
            else "poll failed; no report has been read yet",
            **about,
            duration_seconds=duration,
            reason=failure.reason.value,
            error=failure.message,
            hint=failure.hint,
            request_id=failure.request_id,
            consecutive_failures=after.consecutive_failures,
        )
    elif snapshot is not None:
        first = before.last is None or before.consecutive_failures > 0
        say = log.info if first else log.debug
        say(
            "report read" if after.snapshot is snapshot else "report read, but older than the one held: it is ignored",
            **about,
            duration_seconds=duration,
            refresh_date=snapshot.refresh_date.isoformat(),
            product_types=len(snapshot.rows),
        )
    held, newest = before.snapshot, after.snapshot
    if held is None or newest is None:
        return
    # The series of these product types end with the new report.
    if gone := {row.product_type for row in held.rows} - {row.product_type for row in newest.rows}:
        log.info(
            "product types are no longer in the report",
            **about,
            product_types=", ".join(sorted(gone)),
            last_seen=held.refresh_date.isoformat(),
            refresh_date=newest.refresh_date.isoformat(),
        )
