"""What the status page and `/api/v1/status` show.

docs/status.schema.json is made from these classes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from exporter import __version__
from exporter.auth.hints import consent_fixing
from exporter.errors import Reason  # noqa: TC001 - pydantic reads the annotations
from exporter.exposition import UnknownTenantError
from exporter.log import get_logger
from exporter.metrics import expiry_of, target_of
from exporter.reports import REPORTS
from exporter.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.config import Config, Tenant
    from exporter.reports import Report
    from exporter.state import Key, ReportStates, Snapshot, Standing
    from exporter.storage import Storage

log = get_logger(__name__)

HISTORY_DAYS = 90

State = Literal["ok", "failing", "pending"]
Moment = Annotated[datetime | None, Field(description="RFC 3339, UTC; null where it is not known")]


@dataclass(frozen=True, slots=True)
class FailureStatus:
    """Why the last poll failed."""

    reason: Annotated[Reason, Field(description="the label `reason` of office365_activations_failing")]
    message: Annotated[str, Field(description="what failed, where and why")]
    hint: Annotated[str, Field(description="how to fix it")]
    request_id: Annotated[str, Field(description="Graph's request-id, for Microsoft's support; empty if there is none")]
    consent_url: Annotated[
        str | None, Field(description="where an administrator of the tenant consents, if that is the fix")
    ]


@dataclass(frozen=True, slots=True)
class Point:
    """A product's counts in an earlier report."""

    refresh_date: date
    counts: dict[str, int]
    ratio: float | None


@dataclass(frozen=True, slots=True)
class ProductStatus:
    """A product type's row of the report."""

    product_type: Annotated[str, Field(description="the label `product_type`")]
    counts: Annotated[dict[str, int], Field(description="the report's columns, named as in `history`")]
    ratio: Annotated[
        float | None, Field(description="activated / assigned users; null where there are no assigned users")
    ]
    target: Annotated[float | None, Field(description="the ratio's target, where one applies")]
    history: Annotated[
        tuple[Point, ...] | None,
        Field(description="up to 90 days from storage, oldest first; only with ?tenant=, otherwise null"),
    ] = None


@dataclass(frozen=True, slots=True)
class ReportStatus:
    """One report of a tenant."""

    state: State
    refresh_date: Annotated[date | None, Field(description="the report's own date")]
    last_success: Moment
    last_poll: Moment
    next_poll: Moment
    data_expires: Annotated[
        datetime | None,
        Field(
            description="when the numbers are withdrawn unless a poll succeeds; in the past: they have been, or will be"
            " within minutes, after a clock that jumped"
        ),
    ]
    consecutive_failures: int
    rejected_rows: Annotated[int, Field(description="rows of the last report that could not be read")]
    request_id: Annotated[str, Field(description="Graph's request-id of the report held; empty if there is none")]
    failure: FailureStatus | None
    products: Annotated[tuple[ProductStatus, ...], Field(description="empty once the numbers are withdrawn")]


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """A tenant: failing if one of its reports is, pending if one was never polled."""

    name: Annotated[str, Field(description="the label `tenant`")]
    tenant_id: str
    cloud: str
    state: State
    reports: dict[str, ReportStatus]


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """Where reports are kept."""

    path: Annotated[str | None, Field(description="storage.path; null: not set, in memory only")]
    problem: Annotated[
        str | None, Field(description="why reports are in memory only, while storage.path cannot be used")
    ]


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """The last reload of the configuration; the start counts as the first."""

    at: datetime
    problem: Annotated[str | None, Field(description="why the new configuration was refused, and the old one kept")]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many tenants are enabled, and how many of them are in which state."""

    tenants: int
    ok: int
    failing: int
    pending: int


@dataclass(frozen=True, slots=True)
class Status:
    """The answer of /api/v1/status."""

    version: str
    time: Annotated[datetime, Field(description="when this was written")]
    started: datetime
    config_file: Annotated[str | None, Field(description="null: configured by variables and flags alone")]
    storage: StorageStatus
    reload: ReloadStatus
    summary: Annotated[Summary, Field(description="of all tenants, also with ?tenant=")]
    tenants: tuple[TenantStatus, ...]

    def as_json(self) -> bytes:
        # Not dump_json: a path that is not UTF-8 must not cost the answer.
        return json.dumps(_adapter().dump_python(self, mode="json"), separators=(",", ":")).encode() + b"\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of `Status.as_json`."""
    return _adapter().json_schema(mode="serialization")


@cache
def _adapter() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


def status(
    config: Config,
    states: ReportStates,
    storage: Storage,
    *,
    only: str | None,
    now: float,
    expired_by: float,
    started_at: float,
    reloaded_at: float,
    reload_error: str,
    next_poll: Callable[[Tenant, Key], float],
) -> Status:
    """Return what is known of all enabled tenants, or of `only` one and the history of its reports.

    All times are Unix seconds; numbers that expire before `expired_by` are withdrawn. `reload_error` is empty where the
    last reload did not fail.

    Raises:
        UnknownTenantError: `only` is not configured.
    """
    tenants = config.tenants
    since = datetime.fromtimestamp(now, UTC).date() - timedelta(days=HISTORY_DAYS)

    def state_of(tenant: Tenant) -> State:
        return min((_state(states.get(key)) for key in tenant.keys), key=("failing", "pending", "ok").index)

    def tenant_status(tenant: Tenant) -> TenantStatus:
        reports = {
            key.report: _report(
                tenant,
                REPORTS[key.report],
                states.get(key),
                expired_by=expired_by,
                next_poll=next_poll(tenant, key),
                earlier=None if only is None else _history(storage, tenant, key, since),
            )
            for key in tenant.keys
        }
        return TenantStatus(tenant.name, tenant.tenant_id, tenant.cloud.name, state_of(tenant), reports)

    chosen = [tenant for tenant in tenants if only in (None, tenant.name)]
    if only is not None and not chosen:
        raise UnknownTenantError(only)
    counts = Counter(map(state_of, tenants))
    return Status(
        version=__version__,
        time=_moment(now),
        started=_moment(started_at),
        config_file=None if config.root.config.file is None else str(config.root.config.file),
        storage=StorageStatus(None if storage.path is None else str(storage.path), storage.problem or None),
        reload=ReloadStatus(_moment(reloaded_at), reload_error or None),
        summary=Summary(len(tenants), counts["ok"], counts["failing"], counts["pending"]),
        tenants=tuple(tenant_status(tenant) for tenant in chosen),
    )


def _history(storage: Storage, tenant: Tenant, key: Key, since: date) -> Sequence[Snapshot]:
    try:
        return storage.reports(key, since)
    except StorageError as error:
        log.warning("the history is not shown", tenant=tenant.name, error=error.message, hint=error.hint)
        return ()


def _state(standing: Standing) -> State:
    if standing.failure is not None:
        return "failing"
    return "pending" if standing.last_success is None else "ok"


def _report(
    tenant: Tenant,
    report: Report,
    standing: Standing,
    *,
    expired_by: float,
    next_poll: float,
    earlier: Sequence[Snapshot] | None,
) -> ReportStatus:
    snapshot, last, failure = standing.snapshot, standing.last, standing.failure
    expires = expiry_of(tenant, standing)
    shown = snapshot if expires is not None and expired_by < expires else None
    return ReportStatus(
        state=_state(standing),
        refresh_date=snapshot.refresh_date if snapshot is not None else None,
        last_success=_known(standing.last_success),
        last_poll=_known(last.at if last is not None else None),
        next_poll=_moment(next_poll),
        data_expires=_known(expires),
        consecutive_failures=standing.consecutive_failures,
        rejected_rows=(last.rejected_rows if last is not None else None) or 0,
        request_id=snapshot.request_id if snapshot is not None else "",
        failure=None
        if failure is None
        else FailureStatus(
            failure.reason, failure.message, failure.hint, failure.request_id, consent_fixing(tenant, failure) or None
        ),
        products=() if shown is None else _products(tenant, report, shown, earlier),
    )


def _products(
    tenant: Tenant, report: Report, snapshot: Snapshot, earlier: Sequence[Snapshot] | None
) -> tuple[ProductStatus, ...]:
    columns = [column.name for column in report.columns]

    def counts_by_label(of: Snapshot) -> dict[str, dict[str, int]]:
        labels = of.labels(tenant.report.product_names)
        return {labels[row.product_type]: dict(zip(columns, row.counts, strict=False)) for row in of.rows}

    past = [(one.refresh_date, counts_by_label(one)) for one in earlier or ()]
    products = []
    for label, counts in counts_by_label(snapshot).items():
        points = tuple(Point(day, then[label], _ratio(then[label])) for day, then in past if label in then)
        target = target_of(tenant.targets, label, counts["assigned_users"]) if "assigned_users" in counts else None
        products.append(ProductStatus(label, counts, _ratio(counts), target, None if earlier is None else points))
    return tuple(products)


def _ratio(counts: Mapping[str, int]) -> float | None:
    assigned, activated = counts.get("assigned_users"), counts.get("activated_users")
    return activated / assigned if assigned and activated is not None else None


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


def _known(at: float | None) -> datetime | None:
    return None if at is None else _moment(at)
