"""What the status page and `/api/v1/status` show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.config.tenants import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.config import Config
    from exporter.config.tenants import Tenant
    from exporter.state import Standings


def status(
    config: Config, tenants: Sequence[Tenant], standings: Standings, *, started_at: float, reload_error: str
) -> Mapping[str, object]:
    """Return what people want to know, ready for JSON.

    Args:
        config: the configuration in force.
        tenants: the enabled tenants.
        standings: where their reports stand.
        started_at: Unix seconds.
        reload_error: why the last reload failed; empty where it did not.
    """
    return {
        "version": __version__,
        "started": moment(started_at),
        "config_file": str(config.config_file or ""),
        "storage": str(config.storage.path or "memory only"),
        "last_reload_successful": not reload_error,
        "last_reload_error": reload_error,
        "tenants": [_tenant(tenant, standings) for tenant in tenants],
    }


def _tenant(tenant: Tenant, standings: Standings) -> Mapping[str, object]:
    reports = {}
    for name in tenant.reports:
        standing = standings.get(key_of(tenant, name))
        failure = standing.last.failure if standing.last else None
        reports[name] = {
            "last_success": moment(standing.last_success),
            "last_poll": moment(standing.last.at if standing.last else None),
            "refresh_date": standing.snapshot.refresh_date.isoformat() if standing.snapshot else None,
            "failure": None
            if failure is None
            else {
                "reason": failure.reason.value,
                "message": failure.message,
                "hint": failure.hint,
                "request_id": failure.request_id,
            },
        }
    states = [_state(report) for report in reports.values()]
    state = next((worst for worst in ("failing", "pending") if worst in states), "ok")
    return {
        "name": tenant.name,
        "tenant_id": tenant.tenant_id,
        "cloud": tenant.cloud.name,
        "state": state,
        "reports": reports,
    }


def _state(report: Mapping[str, object]) -> str:
    if report["failure"] is not None:
        return "failing"
    return "ok" if report["last_success"] is not None else "pending"


def moment(at: float | None) -> str | None:
    """Return a time as people and JSON read it."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
