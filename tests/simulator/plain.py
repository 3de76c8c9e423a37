"""A plain client for the simulation: its answers are seen unchanged, with nothing of the exporter between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.full_simulator import CLOUDS, SimulatorTransport

if TYPE_CHECKING:
    from tests.full_simulator import Cloud, Simulator, Tenant

USER_COUNTS = "getOffice365ActivationsUserCounts"
NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Clock:
    """A time that moves only when a test waits."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time, Unix seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let that many seconds pass."""
        self.now += seconds


@dataclass(frozen=True)
class Plain:
    """Asks the simulation of one cloud, for one tenant."""

    client: httpx.Client
    cloud: Cloud
    tenant: Tenant

    def ask_token(self, **form: str) -> httpx.Response:
        """Return the token endpoint's answer to client credentials, with fields of the form exchanged."""
        fields = {
            "grant_type": "client_credentials",
            "client_id": self.tenant.client_id,
            "client_secret": self.tenant.secret,
            "scope": f"{self.cloud.graph}/.default",
        }
        return self.post("token", **(fields | form))

    def post(self, endpoint: str, *, tenant: str = "", **form: str) -> httpx.Response:
        """Return the answer of an endpoint of the login host."""
        name = tenant or self.tenant.tenant_id
        return self.client.post(f"{self.cloud.login}/{name}/oauth2/v2.0/{endpoint}", data=form)

    def token(self, **form: str) -> str:
        """Return an access token."""
        return str(self.ask_token(**form).json()["access_token"])

    def graph(
        self,
        token: str = "",
        *,
        version: str = "v1.0",
        function: str = USER_COUNTS,
        json: bool = False,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Return Graph's answer to a report's function."""
        authorization = {"Authorization": f"Bearer {token or self.token()}"}
        url = f"{self.cloud.graph}/{version}/reports/{function}"
        query = {"$format": "application/json"} if json else {}
        return self.client.get(url, params=query, headers=authorization | (headers or {}))

    def json(self, token: str = "") -> httpx.Response:
        """Return beta's answer in JSON."""
        return self.graph(token, version="beta", json=True)

    def csv(self, token: str = "") -> httpx.Response:
        """Return the download that Graph points at."""
        return self.client.get(self.graph(token).headers["Location"])


def in_process(simulator: Simulator, clock: Clock, cloud: str = "global", tenant: Tenant | None = None) -> Plain:
    """Return a plain client of the simulation in process."""
    client = httpx.Client(transport=SimulatorTransport(simulator, clock, clock.sleep), trust_env=False)
    return Plain(client, CLOUDS[cloud], tenant or simulator.tenants[0])


def error(response: httpx.Response) -> dict[str, Any]:
    """Return the `error` of Graph's answer."""
    found: dict[str, Any] = response.json()["error"]
    return found
