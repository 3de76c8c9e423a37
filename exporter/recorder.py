"""What follows a poll: the outcome is recorded, stored, counted, logged and rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.config.tenants import key_of
from exporter.log import get_logger
from exporter.quota import WINDOW, Budget
from exporter.state import Standings
from exporter.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from exporter.config.tenants import Tenant
    from exporter.metrics import OwnMetrics
    from exporter.poller import Poller
    from exporter.state import Key, Outcome, Recorded, Standing
    from exporter.storage import MemoryStorage, Storage

log = get_logger(__name__)


class Recorder:
    """Takes the outcomes of polls in, and holds where every report stands.

    Args:
        storage: keeps it over restarts; what it kept is where this begins.
        own: the exporter's counters.
        clock: Unix seconds.
        monotonic: seconds, for the budget; `clock` where left out.

    Attributes:
        standings: where every report stands.
        budget: of Graph calls; knows those of the last minutes before the start.
    """

    def __init__(
        self,
        storage: Storage | MemoryStorage,
        own: OwnMetrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._storage = storage
        self._own = own
        for _ in storage.events:
            own.count_storage_error()
        standings: Mapping[Key, Standing] = {}
        calls: Mapping[Key, Sequence[float]] = {}
        try:
            standings = storage.restore()
            calls = storage.calls_since(clock() - WINDOW)
        except StorageError as error:
            self._fault("storage gives nothing back; polling begins anew", error)
        self.standings = Standings(standings)
        self.budget = Budget(clock, calls, self._record_call, monotonic)

    def poll(self, poller: Poller, tenant: Tenant, report: str) -> Outcome:
        """Poll the tenant's report once and take the outcome in."""
        key = key_of(tenant, report)
        before = self.standings.get(key)
        outcome = poller.poll(tenant, report, before)
        # Stored first, seen afterwards: what has been on /metrics comes back, whenever the process dies.
        self._store(key, tenant, before.after(outcome), outcome)
        recorded = self.standings.record(key, outcome)
        if outcome.failure is not None:
            self._own.count_failure(outcome.failure.reason)
        elif recorded.stale:
            self._own.count_stale_report()
        _log(tenant, report, outcome, recorded)
        _log_vanished(tenant, report, recorded)
        return outcome

    def adopt(self, keys: Iterable[Key]) -> None:
        """Keep the standings of these reports only; those that are new here come from storage."""
        wanted = set(keys)
        if missing := wanted - self.standings.keys():
            try:
                kept = self._storage.restore()
                self.standings.add({key: kept[key] for key in missing & kept.keys()})
            except StorageError as error:
                self._fault("storage gives nothing back; polling begins anew", error)
        self.standings.keep_only(wanted)

    def retain(self, seconds: float) -> None:
        """Delete the stored reports that are older."""
        try:
            deleted = self._storage.retain(seconds)
        except StorageError as error:
            self._fault("old reports could not be deleted", error)
        else:
            log.debug("old reports were deleted", reports=deleted)

    def _record_call(self, key: Key, at: float) -> None:
        try:
            self._storage.record_call(key, at)
        except StorageError as error:
            self._fault("storage failed; polling goes on", error)

    def _store(self, key: Key, tenant: Tenant, standing: Standing, outcome: Outcome) -> None:
        try:
            self._storage.save(key, tenant.name, standing, outcome.snapshot)
        except StorageError as error:
            self._fault("storage failed; polling goes on", error)

    def _fault(self, what: str, error: StorageError) -> None:
        self._own.count_storage_error()
        log.error(what, error=error.message, hint=error.hint)


def _log(tenant: Tenant, report: str, outcome: Outcome, recorded: Recorded) -> None:
    about = {"tenant": tenant.name, "report": report, "duration_seconds": round(outcome.duration, 2)}
    failure, snapshot = outcome.failure, outcome.snapshot
    if failure is not None:
        log.warning(
            "poll failed; the last good report stays"
            if recorded.after.snapshot
            else "poll failed; no report was read yet",
            **about,
            reason=failure.reason.value,
            error=failure.message,
            hint=failure.hint,
            request_id=failure.request_id,
            failures_in_row=recorded.after.failures_in_row,
        )
    elif snapshot is not None:
        first = recorded.before.last is None or recorded.before.failures_in_row > 0
        say = log.info if first else log.debug
        say(
            "report read" if not recorded.stale else "report read, older than the one held: it changes nothing",
            **about,
            refresh_date=snapshot.refresh_date.isoformat(),
            product_types=len(snapshot.rows),
        )


def _log_vanished(tenant: Tenant, report: str, recorded: Recorded) -> None:
    """Name the product types that the new report no longer has, whose series end with it."""
    before, after = recorded.before.snapshot, recorded.after.snapshot
    if before is None or after is None:
        return
    if gone := {row.product_type for row in before.rows} - {row.product_type for row in after.rows}:
        log.info(
            "product types are no longer in the report",
            tenant=tenant.name,
            report=report,
            product_types=", ".join(sorted(gone)),
            last_seen=before.refresh_date.isoformat(),
            refresh_date=after.refresh_date.isoformat(),
        )
