"""What `check` finds out about one tenant: its token, its permission, its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from exporter.auth.accounts import account_fault
from exporter.reports import REPORTS
from exporter.snapshot import Standing

if TYPE_CHECKING:
    from exporter.auth import Token
    from exporter.pipeline import Pipeline
    from exporter.snapshot import Failure
    from exporter.tenants import Tenant


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
        failure=_explained(outcome.failure, tenant, report, token),
        consent_url=consent_url(tenant) if permission is False else "",
    )


def consent_url(tenant: Tenant) -> str:
    """Return where an administrator of the tenant consents to the app.

    Source: https://learn.microsoft.com/entra/identity/enterprise-apps/grant-admin-consent
    """
    place = f"{tenant.cloud.authority}/{quote(tenant.tenant_id, safe='')}"
    return f"{place}/adminconsent?client_id={quote(tenant.client_id, safe='')}"


def _explained(failure: Failure | None, tenant: Tenant, report: str, token: Token | None) -> Failure | None:
    """Return the failure with what the token tells of its cause."""
    if failure is None or token is None:
        return failure
    delegated = tenant.auth.kind == "device_code"
    permission = REPORTS[report].permission
    if token.permissions is not None and permission not in token.permissions:
        missing = f"{permission} is missing from the token's {'scp' if delegated else 'roles'}"
        hint = f"{missing}: an administrator of the tenant opens {consent_url(tenant)}"
        return replace(failure, hint=hint)
    if delegated and (fault := account_fault(tenant, token.claims)):
        return replace(failure, message=fault.message, hint=fault.hint)
    return failure
