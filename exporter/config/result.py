"""The result of loading: the frozen `Config` that the rest of the program takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.config.clouds import Cloud
    from exporter.config.credential import Auth
    from exporter.config.models import Http, Invocation, Log, Poll, Prices, Report, Root, Storage, Targets, Web
    from exporter.state import Key


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant with the top's defaults merged in.

    Equal values of many tenants are one object, so that 50,000 of them stay small.

    Attributes:
        name: the label `tenant`.
        tenant_id: UUID or domain, lower case.
        client_id: the app's, or the managed identity's; empty for a system-assigned one.
        cloud: where it lives.
        auth: its credential.
        poll: when and how it is polled.
        report: what is asked for; `api_version` is set.
        keys: what each of its reports is stored under.
        targets: which share of its licences ought to be activated.
        prices: what its licences cost a month.
        download_hosts: where its reports may be downloaded from.
        enabled: whether it is polled and shown.
    """

    name: str
    tenant_id: str
    client_id: str
    cloud: Cloud
    auth: Auth
    poll: Poll
    report: Report
    keys: tuple[Key, ...]
    targets: Targets
    prices: Prices
    download_hosts: tuple[str, ...]
    enabled: bool = True

    @property
    def reports(self) -> tuple[str, ...]:
        """The names of the reports that are read."""
        return tuple(key.report for key in self.keys)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without an error.

    Attributes:
        root: everything as it is set at the top, by whichever source.
        configured: every tenant, in the order of the files.
        files: the configuration file and the tenant files that were read.
        notices: sentences for the log, once: nothing is wrong, but somebody may want to know.
    """

    root: Root
    configured: tuple[Tenant, ...]
    files: tuple[Path, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """The enabled tenants."""
        return tuple(tenant for tenant in self.configured if tenant.enabled)

    @property
    def poll(self) -> Poll:
        return self.root.poll

    @property
    def http(self) -> Http:
        """How Microsoft is reached; `http.proxy` holds the address, also where it came from a file."""
        return self.root.http

    @property
    def storage(self) -> Storage:
        return self.root.storage

    @property
    def web(self) -> Web:
        return self.root.web

    @property
    def log(self) -> Log:
        return self.root.log

    @property
    def invocation(self) -> Invocation:
        """The flags `--config.*`."""
        return self.root.config

    @property
    def config_file(self) -> Path | None:
        return self.root.config.file
