"""`Config` → the tenants to poll."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.state import Key

if TYPE_CHECKING:
    from exporter.config import Auth, Cloud, Config, Poll, Prices, Report, Targets


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant to poll, with all defaults merged in.

    Equal values of many tenants are one object, so that 50,000 of them stay small.

    Attributes:
        name: the label `tenant`.
        tenant_id: UUID or domain, lower case.
        client_id: the app's, or the managed identity's; empty for a system-assigned one.
        cloud: where it lives.
        auth: its credential.
        poll: when and how it is polled.
        report: what is asked for; `api_version` is set.
        reports: which reports are read.
        targets: which share of its licences ought to be activated.
        prices: what its licences cost a month.
        download_hosts: where its reports may be downloaded from.
    """

    name: str
    tenant_id: str
    client_id: str
    cloud: Cloud
    auth: Auth
    poll: Poll
    report: Report
    reports: tuple[str, ...]
    targets: Targets
    prices: Prices
    download_hosts: tuple[str, ...]


def tenants(config: Config) -> tuple[Tenant, ...]:
    """Return the enabled tenants, in the order of the configuration file and then of the tenant files."""
    reports: dict[tuple[int, str], Report] = {}

    def versioned(report: Report, version: str) -> Report:
        """Return the report with the cloud's API version where it names none, one object for all equal ones."""
        if report.api_version is not None:
            return report
        key = (id(report), version)
        if key not in reports:
            reports[key] = report.model_copy(update={"api_version": version})
        return reports[key]

    return tuple(
        Tenant(
            name=one.name,
            tenant_id=one.tenant_id,
            client_id=one.client_id,
            cloud=one.cloud,
            auth=one.auth,
            poll=one.poll,
            report=versioned(one.report, one.cloud.api_version),
            reports=one.reports,
            targets=one.targets,
            prices=one.prices,
            download_hosts=one.cloud.download_hosts
            if config.http.download_hosts is None
            else config.http.download_hosts,
        )
        for one in config.tenants
        if one.enabled
    )


def key_of(tenant: Tenant, report: str) -> Key:
    """Return what the tenant's report is stored under."""
    cloud = tenant.cloud.name if tenant.cloud.name != "custom" else tenant.cloud.graph
    return Key(cloud, tenant.tenant_id, report)
