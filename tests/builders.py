"""Small parts that many tests build on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from exporter.config import CLOUDS, Auth, Poll, Prices, Report, Targets, Tenant
from exporter.state import Key, Row, Snapshot

if TYPE_CHECKING:
    from exporter.config import Cloud
    from tests.full_simulator import Tenant as SimulatedTenant

USERS = "activations_user_counts"
PLATFORMS = "activations_platform_counts"
KEY = Key("global", "11111111-1111-1111-1111-111111111111", USERS)
NOON = 1_790_000_000.0
"""A moment in 2026, Unix seconds."""


@dataclass(slots=True)
class Clock:
    """A clock that moves only when a test moves it: wall time and monotonic time at once."""

    now: float = NOON
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Return the time, Unix seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


def tenant(name: str = "contoso", **changes: Any) -> Tenant:
    """Return a tenant of the global cloud with a client secret; `changes` replace its attributes."""
    cloud: Cloud = changes.pop("cloud", CLOUDS["global"])
    attributes: dict[str, Any] = {
        "tenant_id": KEY.tenant_id,
        "client_id": "22222222-2222-2222-2222-222222222222",
        "cloud": cloud,
        "auth": Auth(client_secret=SecretStr("not a real secret")),
        "poll": Poll(),
        "report": Report(api_version=cloud.api_version),  # type: ignore[arg-type]  # a Literal in disguise
        "targets": Targets(),
        "prices": Prices(),
        "download_hosts": cloud.download_hosts,
    }
    reports = changes.pop("reports", (USERS,))
    attributes |= changes
    stored_as = cloud.graph if cloud.name == "custom" else cloud.name
    keys = tuple(Key(stored_as, attributes["tenant_id"], report) for report in reports)
    return Tenant(name=name, keys=keys, **attributes)


def simulated(known: SimulatedTenant, **changes: Any) -> Tenant:
    """Return the tenant that polls a simulated one."""
    auth = Auth(client_secret=SecretStr(known.secret))
    return tenant(known.name, **({"tenant_id": known.tenant_id, "client_id": known.client_id, "auth": auth} | changes))


def snapshot(*rows: tuple[str, tuple[int, ...]], day: date = date(2026, 9, 19), at: float = NOON) -> Snapshot:
    """Return a report with these rows."""
    return Snapshot(day, tuple(Row(*row) for row in rows), at, "request-id")
