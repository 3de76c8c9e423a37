"""What `check` finds out about one tenant: its token, its permission, its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.auth.permissions import consent_url
from exporter.reports import REPORTS
from exporter.state import Standing

if TYPE_CHECKING:
    from exporter.config.tenants import Tenant
    from exporter.pipeline import Pipeline
    from exporter.state import Failure


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one report of a tenant.

    Attributes:
        tenant: the tenant's name.
        tenant_id: its id.
        report: which report.
        token: whether a token was given.
        permission: whether the token carries the permission; None where it cannot be told.
        refresh_date: the report's date, where it was read.
        product_types: how many good rows it has.
        rejected_rows: how many rows could not be read.
        failure: what is wrong; None if all is well.
        consent_url: where an administrator grants the permission; empty if it is there.
    """

    tenant: str
    tenant_id: str
    report: str
    token: bool
    permission: bool | None
    refresh_date: str = ""
    product_types: int = 0
    rejected_rows: int = 0
    failure: Failure | None = None
    consent_url: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return self.failure is None


def examine(pipeline: Pipeline, tenant: Tenant, report: str) -> Finding:
    """Read the report once, and look at what its token says."""
    outcome = pipeline.poller.poll(tenant, report, Standing())
    token = pipeline.tokens.held(tenant)
    permission = None
    if token is not None and token.permissions is not None:
        permission = REPORTS[report].permission in token.permissions
    snapshot = outcome.snapshot
    return Finding(
        tenant.name,
        tenant.tenant_id,
        report,
        token=token is not None,
        permission=permission,
        refresh_date=snapshot.refresh_date.isoformat() if snapshot else "",
        product_types=len(snapshot.rows) if snapshot else 0,
        rejected_rows=outcome.rejected_rows or 0,
        failure=outcome.failure,
        consent_url=consent_url(tenant) if permission is False else "",
    )
