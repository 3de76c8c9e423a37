"""What the simulation knows and counts: tenants, apps and secrets, calls and Microsoft's limits."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exporter.simulator.chance import digest
from exporter.simulator.reports import make_rows
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.tokens import Seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from exporter.simulator.messages import Stage
    from exporter.simulator.reports import Report, Row
    from exporter.simulator.scenarios import Scenario
    from exporter.simulator.tenants import Tenant

PERMISSION = "Reports.Read.All"
_WINDOW = 600.0
# https://learn.microsoft.com/graph/throttling-limits#microsoft-365-reports-service-limits
_CSV_PER_APP, _CSV_PER_TENANT, _JSON_PER_APP = 14, 40, 100


@dataclass(slots=True)
class App:
    """An app registration: the tenants that know it, and its secrets."""

    client_id: str
    tenant_ids: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)


class State:
    """The state of the simulation, for one thread.

    A tenant is named by itself, its name, its id or its domain; an unknown one is a KeyError.

    Args:
        seed: where every secret and number comes from.
        tenants: who exists.
        scenario: the name of the scenario that all tenants are in.

    Attributes:
        calls: answered calls by tenant id, report (empty where the step has none) and stage.
        apps: by client id.
        seal: signs tokens and preauthenticated addresses.
        system_identity: the tenant of the machine's own managed identity.
    """

    def __init__(self, seed: int, tenants: Sequence[Tenant], scenario: str) -> None:
        self.seed = seed
        self.tenants = tuple(tenants)
        self.apps = _apps(self.tenants)
        self.calls: Counter[tuple[str, str, Stage]] = Counter()
        self.seal = Seal(digest(seed, "seal", size=32))
        self.system_identity = self.tenants[0].tenant_id if self.tenants else ""
        self._scenario = SCENARIOS[scenario]
        self._names = {
            name: tenant for tenant in self.tenants for name in (tenant.name, tenant.tenant_id, tenant.domain)
        }
        self._number = 0
        self._windows: dict[tuple[str, ...], list[float]] = {}

    def find(self, name: str) -> Tenant | None:
        """Return the tenant of that name, id or domain (any case), or None."""
        return self._names.get(name.lower())

    def tenant(self, tenant: Tenant | str) -> Tenant:
        """Return the tenant meant; KeyError if there is none."""
        return self._names[tenant.lower()] if isinstance(tenant, str) else tenant

    def next_number(self) -> int:
        """Return 1, 2, 3, …: the number that ids and tokens are made from."""
        self._number += 1
        return self._number

    def scenario(self, _tenant: Tenant) -> Scenario:
        """Return the scenario that the tenant is in."""
        return self._scenario

    def has_consent(self, tenant: Tenant) -> bool:
        """Return whether new tokens of the tenant carry Reports.Read.All."""
        return self.scenario(tenant).consent

    def secret_is_expired(self, tenant: Tenant, _secret: str) -> bool:
        """Return whether a known secret of the tenant's app has expired."""
        return self.scenario(tenant).secret_expired

    def token_error(self, _tenant: Tenant, claims: dict[str, Any], now: float) -> str:
        """Return why an access token of the tenant is not valid, or an empty string."""
        return "Lifetime validation failed, the token is expired." if claims["exp"] <= now else ""

    def permission_error(self, claims: dict[str, Any]) -> tuple[str, str] | None:
        """Return code and message of the refusal where an access token may not read reports."""
        return None if PERMISSION in claims.get("roles", ()) else ("S2SUnauthorized", "Invalid permission(s).")

    def rows(self, tenant: Tenant, report: Report, day: date) -> tuple[Row, ...]:
        """Return what the tenant's report says for `day`."""
        return make_rows(self.seed, tenant.name, report, day, low=self.scenario(tenant).low)

    def written_rows(self, tenant: Tenant, report: Report, day: date, *, json: bool) -> tuple[Row, ...]:
        """Return the rows for `day` as they go out: names in title case in JSON, in upper case in CSV."""
        rows = self.rows(tenant, report, day)
        return rows if json else tuple(replace(row, product_type=row.product_type.upper()) for row in rows)

    def admit(self, tenant: Tenant, client_id: str, report: str, *, json: bool, now: float) -> int:
        """Count a call of Graph; return 0, or the seconds to wait where it is over Microsoft's limits."""
        if json:
            return self._wait(("json", tenant.tenant_id, client_id, report), _JSON_PER_APP, now)
        own = self._wait(("csv", tenant.tenant_id, client_id, report), _CSV_PER_APP, now)
        return max(own, self._wait(("csv", tenant.tenant_id, report), _CSV_PER_TENANT, now))

    def _wait(self, key: tuple[str, ...], limit: int, now: float) -> int:
        # As many calls as the limit are kept, refused ones among them: the oldest says when the next one is admitted.
        calls = self._windows.setdefault(key, [])
        refused = len(calls) == limit and calls[0] > now - _WINDOW
        calls.append(now)
        del calls[:-limit]
        return max(1, math.ceil(calls[0] + _WINDOW - now)) if refused else 0


def _apps(tenants: Iterable[Tenant]) -> dict[str, App]:
    apps: dict[str, App] = {}
    for tenant in tenants:
        app = apps.setdefault(tenant.client_id, App(tenant.client_id))
        app.tenant_ids.add(tenant.tenant_id)
        app.secrets.add(tenant.secret)
    return apps
