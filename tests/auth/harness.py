"""A simulated Microsoft and the part of the exporter that asks it for tokens and reports."""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, Any

from exporter.auth.credentials import Credentials
from exporter.auth.tokens import TokenSource
from exporter.config import CLOUDS, Auth, Cloud
from exporter.http import Clients, Deadline, Proxy, tls_context
from exporter.poller import Poller
from exporter.quota import Budget
from exporter.state import Standing
from tests.builders import USERS, simulated
from tests.full_simulator import CLOUDS as SIMULATED_CLOUDS
from tests.full_simulator import Decision, Plan, Stage
from tests.http.leaks import said

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from exporter.auth.hints import Token
    from exporter.config import Tenant
    from exporter.state import Failure, Outcome
    from tests.full_simulator import SimulatorServer
    from tests.http.connect_proxy import ConnectProxy

_NUMBERS = itertools.count()
"""Each test takes a tenant of its own, so that none spends another's calls."""


def login(tenant: Tenant) -> str:
    """Return the end of a hint that names the command to sign in by."""
    return f"run: office365-activations-exporter login {tenant.name}"


class Harness:
    """One simulated tenant, and what polls it through a proxy over TLS."""

    def __init__(
        self, server: SimulatorServer, proxy: ConnectProxy, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.server = server
        self.microsoft = server.simulator
        self.microsoft.poll_interval = 0
        self.known = server.simulator.tenants[next(_NUMBERS)]
        self.proxy = proxy
        self.proxy.asked.clear()
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.counted: list[tuple[str, str]] = []
        self.clients = Clients(
            tls=tls_context(server.ca_file),
            proxy=Proxy(proxy.url, "localhost"),
            count=lambda *counted: self.counted.append(counted),
        )
        self.restart()

    def restart(self) -> None:
        """Forget every token, as a new process has."""
        self.credentials = Credentials()
        self.tokens = TokenSource(self.clients, self.credentials, clock=time.time, folder=self.folder)
        self.poller = Poller(
            self.clients, self.tokens, Budget(time.time), sleep=lambda _seconds: None, rng=random.Random(1)
        )

    def close(self) -> None:
        """End every connection; fail if the simulation saw something where it must not be."""
        self.clients.close()
        assert self.microsoft.leaks == []

    def cloud(self, name: str) -> Cloud:
        """Return a cloud by its real addresses, or the custom one on loopback."""
        if name == "custom":
            return Cloud(
                "custom", self.server.cloud.login, self.server.cloud.graph, "v1.0", (self.server.download_host,)
            )
        return CLOUDS[name]

    def tenant(self, auth: dict[str, Any] | None = None, *, cloud: str = "global", **changes: Any) -> Tenant:
        """Return the exporter's side of the simulated tenant, with its secret where no other `auth` is given."""
        credential = Auth.model_validate(auth or {"client_secret": self.known.secret})
        return simulated(self.known, **({"cloud": self.cloud(cloud), "auth": credential} | changes))

    def file(self, name: str, content: str | bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def poll(self, tenant: Tenant, standing: Standing | None = None) -> Outcome:
        """Poll once."""
        return self.poller.poll(tenant, tenant.keys[0], standing or Standing())

    def succeed(self, tenant: Tenant, standing: Standing | None = None) -> Token:
        """Poll once, see that the report is the one that was served, and return the token."""
        outcome = self.poll(tenant, standing)
        assert outcome.failure is None, outcome.failure
        assert outcome.snapshot is not None
        served = self.microsoft.served(self.known.name, USERS, outcome.snapshot.refresh_date)
        assert {(row.product_type, row.counts) for row in outcome.snapshot.rows} == served
        token = self.tokens.held(tenant)
        assert token is not None
        return token

    def fail(self, tenant: Tenant, standing: Standing | None = None) -> Failure:
        """Poll once and return the failure, which holds nothing secret."""
        failure = self.poll(tenant, standing).failure
        assert failure is not None
        said(failure)
        return failure

    def token(self, tenant: Tenant, *, fresh: bool = False) -> Token:
        """Ask for a token."""
        return self.tokens.token(tenant, Deadline(30), fresh=fresh)

    def calls(self, stage: Stage = Stage.TOKEN) -> int:
        """Return how often the tenant's hosts were asked."""
        return self.microsoft.count(self.known, stage)

    def sign_in(self, tenant: Tenant, plan: Plan | None = None) -> tuple[Token, str]:
        """Have a person sign in by device code, who does as planned; consents if left out."""
        self.microsoft.plan_sign_in(plan or Plan(Decision.APPROVED))
        return self.tokens.sign_in(tenant, show=lambda _code: None, wait=lambda _pause, _left: None)

    def kept(self) -> Path:
        """Return the one file that sign-ins are kept in."""
        (path,) = self.folder.glob("sign-in-*")
        return path

    def give_identity(self, *, cloud: str = "global", app_service: bool = False) -> None:
        """Let this process run where managed identities are, in a cloud of Microsoft's or in the custom one."""
        host = self.server.identity.removeprefix("http://")
        if cloud != "custom":
            hosts = self.server.real_hosts
            self.monkeypatch.setitem(hosts, host, (SIMULATED_CLOUDS[cloud], "identity"))
        self.microsoft.system_identity = self.known.tenant_id
        self.monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.server.identity)
        for name, value in self.server.identity_environment.items() if app_service else ():
            self.monkeypatch.setenv(name, value)
