"""What follows a poll: the outcome is recorded, stored, counted, logged and rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.log import get_logger
from exporter.standings import key_of
from exporter.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.metrics import OwnMetrics
    from exporter.poller import Poller
    from exporter.snapshot import Key, Outcome
    from exporter.standings import Recorded, Standings
    from exporter.storage import MemoryStorage, Storage
    from exporter.tenants import Tenant

log = get_logger(__name__)


class Collection:
    """Takes the outcomes of polls in.

    Args:
        standings: where every report stands.
        storage: keeps them over restarts.
        own: the exporter's counters.
        changed: told of each tenant whose samples changed.
    """

    def __init__(
        self,
        standings: Standings,
        storage: Storage | MemoryStorage,
        own: OwnMetrics,
        changed: Callable[[Tenant], None] = lambda _tenant: None,
    ) -> None:
        self._standings = standings
        self._storage = storage
        self._own = own
        self._changed = changed

    def poll(self, poller: Poller, tenant: Tenant, report: str) -> Outcome:
        """Poll the tenant's report once and take the outcome in."""
        key = key_of(tenant, report)
        outcome = poller.poll(tenant, report, self._standings.get(key))
        recorded = self._standings.record(key, outcome)
        self._store(key, tenant, recorded, outcome)
        if outcome.failure is not None:
            self._own.count_failure(outcome.failure.reason)
        elif recorded.stale:
            self._own.count_stale_report()
        _log(tenant, report, outcome, recorded)
        self._changed(tenant)
        return outcome

    def record_call(self, key: Key, at: float) -> None:
        """Keep a Graph call over restarts, as far as storage works."""
        try:
            self._storage.record_call(key, at)
        except StorageError as error:
            self._fault(error, key)

    def _store(self, key: Key, tenant: Tenant, recorded: Recorded, outcome: Outcome) -> None:
        try:
            self._storage.save(key, tenant.name, recorded.after, outcome.snapshot)
        except StorageError as error:
            self._fault(error, key)

    def _fault(self, error: StorageError, key: Key) -> None:
        self._own.count_storage_error()
        log.error("storage failed; polling goes on", tenant_id=key.tenant_id, error=error.message, hint=error.hint)


def _log(tenant: Tenant, report: str, outcome: Outcome, recorded: Recorded) -> None:
    about = {"tenant": tenant.name, "report": report, "duration_seconds": round(outcome.duration, 2)}
    failure, snapshot = outcome.failure, outcome.snapshot
    if failure is not None:
        log.warning(
            "poll failed; the last good report stays",
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
