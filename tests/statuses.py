"""Statuses of exporters that never ran, for the tests of page and API."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.config import load
from exporter.state import Outcome, ReportStates, Standing
from exporter.status import status as real_status
from exporter.storage import Storage
from tests.builders import NOON, snapshot, tenant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.config import Tenant
    from exporter.state import Failure, Snapshot
    from exporter.status import Status

_ENVIRONMENT = {
    "AZURE_TENANT_ID": "11111111-1111-1111-1111-111111111111",
    "AZURE_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
    "AZURE_CLIENT_SECRET": "not a real secret",
}
PRODUCT = "MICROSOFT 365 APPS FOR ENTERPRISE"


def reported(at: float = NOON, rows: Iterable[tuple[str, tuple[int, ...]]] = ((PRODUCT, (100, 60, 5)),)) -> Standing:
    """Return the standing after one successful poll."""
    return Standing().after(Outcome(at, 1.5, snapshot(*rows, at=at), rejected_rows=0))


def failed(failure: Failure, before: Standing | None = None, at: float = NOON) -> Standing:
    """Return the standing after a failed poll."""
    return (before or Standing()).after(Outcome(at, 1.5, failure=failure))


class Stored(Storage):
    """A storage with the same history for every tenant."""

    def __init__(self, snapshots: list[Snapshot]) -> None:
        super().__init__(None, lambda: NOON)
        self._snapshots = snapshots

    def reports(self, *_: object) -> list[Snapshot]:
        """Return the history."""
        return self._snapshots


def status(
    states: Mapping[str, Standing] | None = None,
    *,
    tenants: Iterable[Tenant] = (),
    storage: Storage | None = None,
    only: str | None = None,
    now: float = NOON + 60,
    reload_error: str = "",
) -> Status:
    """Return the status of an exporter.

    Args:
        states: where each tenant's report of users stands, by the tenant's name.
        tenants: the tenants, where they are more than names.
        storage: for the history; closed afterwards.
        only: the one tenant that is asked for.
        now: Unix seconds.
        reload_error: why the last reload failed.
    """
    known = {one.name: one for one in tenants}
    for number, name in enumerate(states or {}):
        known.setdefault(name, tenant(name, tenant_id=f"00000000-0000-0000-0000-{number:012}"))
    with closing(storage or Storage(None, lambda: NOON)) as held:
        return real_status(
            replace(load({}, _ENVIRONMENT), configured=tuple(known.values())),
            ReportStates({known[name].keys[0]: standing for name, standing in (states or {}).items()}),
            held,
            only=only,
            now=now,
            expired_by=now,
            started_at=NOON - 86400,
            reloaded_at=NOON - 3600,
            reload_error=reload_error,
            next_poll=lambda _tenant, _report: NOON + 3660,
        )
