"""Who exists in the simulation: tenants, their apps, and what was granted to them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.simulator.apps import App, Federation
from exporter.simulator.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.simulator.scenarios import Scenario
    from exporter.simulator.tenants import Tenant


@dataclass(slots=True)
class _State:
    """What can be changed about one tenant while the simulation runs; None: as its scenario says."""

    scenario: Scenario
    consent: bool | None = None
    secret_expired: bool | None = None
    revoked: int = 0
    revision: int = 0


class Directory:
    """Tenants with their scenarios and credentials. Every method may be called from any thread.

    A tenant is named by itself, its name, its id or its domain; an unknown one is a KeyError.

    Args:
        tenants: who exists.
        scenario: the name of the scenario that all tenants start in.
    """

    def __init__(self, tenants: Sequence[Tenant], scenario: str) -> None:
        self.tenants = tuple(tenants)
        self._lock = threading.RLock()
        self._number = 0
        self._names = {name: tenant for tenant in self.tenants for name in _names(tenant)}
        self._states = {tenant.tenant_id: _State(SCENARIOS[scenario]) for tenant in self.tenants}
        self._apps = _first_apps(self.tenants)

    def find(self, name: str) -> Tenant | None:
        """Return the tenant of that name, id or domain (any case), or None."""
        return self._names.get(name.lower())

    def tenant(self, tenant: Tenant | str) -> Tenant:
        """Return the tenant meant; KeyError if there is none."""
        return self._names[tenant.lower()] if isinstance(tenant, str) else tenant

    def app(self, client_id: str) -> App | None:
        """Return the app of that id, or None."""
        with self._lock:
            return self._apps.get(client_id.lower())

    def next_number(self) -> int:
        """Return 1, 2, 3, …: the thread that runs through ids and tokens."""
        with self._lock:
            self._number += 1
            return self._number

    def scenario(self, tenant: Tenant) -> Scenario:
        """Return the scenario that the tenant is in."""
        return self._states[tenant.tenant_id].scenario

    def set_scenario(self, tenant: Tenant | str, name: str) -> None:
        """Move the tenant to a scenario; consent and secrets are as it says again.

        Tokens issued before are revoked where it is about tokens, so that it shows at the next call.
        """
        scenario = SCENARIOS[name]
        with self._lock:
            state = self._state(tenant)
            state.scenario, state.consent, state.secret_expired = scenario, None, None
            if scenario.secret_expired or not scenario.consent:
                state.revoked = self._number

    def has_consent(self, tenant: Tenant) -> bool:
        """Say whether new tokens of the tenant carry Reports.Read.All."""
        state = self._states[tenant.tenant_id]
        return state.scenario.consent if state.consent is None else state.consent

    def grant_consent(self, tenant: Tenant | str) -> None:
        """Let an administrator grant Reports.Read.All: tokens issued from now on carry it."""
        with self._lock:
            self._state(tenant).consent = True

    def revoke_consent(self, tenant: Tenant | str) -> None:
        """Take Reports.Read.All away: as at Microsoft, tokens issued before keep it until they expire."""
        with self._lock:
            self._state(tenant).consent = False

    def revoke_tokens(self, tenant: Tenant | str) -> None:
        """Make every access and refresh token issued so far for the tenant worthless."""
        with self._lock:
            self._state(tenant).revoked = self._number

    def is_revoked(self, tenant: Tenant, number: int) -> bool:
        """Say whether the tenant's token with this number has been revoked."""
        return number <= self._states[tenant.tenant_id].revoked

    def secret_is_expired(self, tenant: Tenant, app: App, secret: str) -> bool:
        """Say whether a known secret of the app has expired, in itself or by the tenant's scenario."""
        state = self._states[tenant.tenant_id]
        by_scenario = state.scenario.secret_expired if state.secret_expired is None else state.secret_expired
        return by_scenario or not app.secrets[secret]

    def set_secret(self, tenant: Tenant | str, secret: str) -> None:
        """Make `secret` the only valid secret of the tenant's app."""
        with self._lock:
            known = self.tenant(tenant)
            self._apps[known.client_id].secrets = {secret: True}
            self._state(known).secret_expired = False

    def expire_secret(self, tenant: Tenant | str) -> None:
        """Let every secret of the tenant's app expire."""
        with self._lock:
            app = self._apps[self.tenant(tenant).client_id]
            app.secrets = dict.fromkeys(app.secrets, False)

    def register_certificate(self, tenant: Tenant | str, pem: bytes) -> None:
        """Register a certificate (PEM) with the tenant's app."""
        with self._lock:
            self._apps[self.tenant(tenant).client_id].register(pem)

    def register_federation(self, tenant: Tenant | str, federation: Federation) -> None:
        """Register a federated identity credential with the tenant's app."""
        with self._lock:
            self._apps[self.tenant(tenant).client_id].federations.add(federation)

    def register_app(self, tenant: Tenant | str, client_id: str, secret: str = "") -> None:
        """Make an app known in the tenant, as others than the exporter's may be; a secret of it, if given."""
        with self._lock:
            app = self._apps.setdefault(client_id.lower(), App(client_id.lower()))
            app.tenant_ids.add(self.tenant(tenant).tenant_id)
            if secret:
                app.secrets[secret] = True

    def revise(self, tenant: Tenant | str) -> None:
        """Let Microsoft correct the tenant's reports: the same dates with other numbers from now on."""
        with self._lock:
            self._state(tenant).revision += 1

    def revision(self, tenant: Tenant) -> int:
        """Return how often the tenant's reports have been corrected."""
        return self._states[tenant.tenant_id].revision

    def _state(self, tenant: Tenant | str) -> _State:
        return self._states[self.tenant(tenant).tenant_id]


def _names(tenant: Tenant) -> tuple[str, str, str]:
    return tenant.name, tenant.tenant_id, tenant.domain


def _first_apps(tenants: Iterable[Tenant]) -> dict[str, App]:
    apps: dict[str, App] = {}
    for tenant in tenants:
        app = apps.setdefault(tenant.client_id, App(tenant.client_id))
        app.tenant_ids.add(tenant.tenant_id)
        app.secrets[tenant.secret] = True
    return apps
