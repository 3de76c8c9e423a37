"""The state of the simulation with the methods by which a test changes it, and what it remembers for tests."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from exporter.simulator import SCENARIOS
from exporter.simulator import state as shipped
from exporter.simulator.state import PERMISSION, App
from exporter.simulator.tenants import digest
from tests.full_simulator.assertions import Proofs
from tests.full_simulator.devices import WAITING, Device, Plan
from tests.full_simulator.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from exporter.simulator.call import Call, Fault
    from exporter.simulator.messages import Stage
    from exporter.simulator.reports import Report, Row
    from exporter.simulator.state import Scenario
    from exporter.simulator.tenants import Tenant
    from tests.full_simulator.assertions import Federation

_LOG_LENGTH = 100_000
# The directory roles that may read reports, by template id: Global Administrator, Exchange, SharePoint, Skype for
# Business, Teams and Teams Communications Administrator, Global Reader, Usage Summary Reports and Reports Reader.
# https://learn.microsoft.com/graph/reportroot-authorization
READERS = frozenset(
    (
        "62e90394-69f5-4237-9190-012177145e10",
        "29232cdf-9323-42fd-ade2-1d097af3e4de",
        "f28a1f50-f6e7-4571-818b-6a12f2af6b6c",
        "75941009-915a-4869-abe7-691bff18279e",
        "69091246-20e8-4a56-aa4d-066075b2a7a8",
        "baf37b3a-610e-45da-9e62-d9d1e5e8914b",
        "f2ef992c-3afb-46b9-b7cf-a126ee74c451",
        "75934031-6c7e-415a-99d7-48dbd49e875e",
        "4a5d8f65-41da-4de4-8968-e035b65339cf",
    )
)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One answered call: who asked for what, when (Unix seconds), and what came of it."""

    at: float
    tenant: str
    report: str
    stage: Stage
    status: int
    fault: str


@dataclass(slots=True)
class _Changes:
    """What a test changed about one tenant; None: as its scenario says."""

    scenario: Scenario
    consent: bool | None = None
    secret_expired: bool | None = None
    revoked: int = 0
    revision: int = 0


@dataclass(slots=True)
class _Injected:
    fault: Fault
    stage: Stage
    left: int | None


class State(shipped.State):
    """The shipped state, changeable from any thread.

    A tenant is named by itself, its name, its id or its domain; an unknown one is a KeyError.

    Attributes:
        lock: held while a call is answered.
        log: the last calls, oldest first.
        leaks: what a client sent where it must not, one sentence each; empty for a well-behaved client.
        poll_interval: seconds between the polls of a device code that clients must keep.
        sign_in_plan: what the user will do with the next device code.
        devices: device codes on their way.
    """

    def __init__(self, seed: int, tenants: Sequence[Tenant], scenario: str) -> None:
        super().__init__(seed, tenants, scenario)
        self.lock = threading.RLock()
        self.log: deque[CallRecord] = deque(maxlen=_LOG_LENGTH)
        self.leaks: list[str] = []
        self.poll_interval = 5
        self.sign_in_plan = WAITING
        self.devices: dict[str, Device] = {}
        self.identity_header = digest(seed, "identity header").hex()
        self._changes = {tenant.tenant_id: _Changes(SCENARIOS[scenario]) for tenant in self.tenants}
        self._expired: set[tuple[str, str]] = set()
        self._proofs: dict[str, Proofs] = {}
        self._injected: dict[str, list[_Injected]] = {}
        self._served: dict[tuple[str, str, date], set[tuple[str, tuple[int, ...]]]] = {}

    # What the shipped simulator asks

    def scenario(self, tenant: Tenant) -> Scenario:
        """Return the scenario that the tenant is in."""
        return self._changes[tenant.tenant_id].scenario

    def has_consent(self, tenant: Tenant) -> bool:
        """Return whether new tokens of the tenant carry Reports.Read.All."""
        consent = self._changes[tenant.tenant_id].consent
        return super().has_consent(tenant) if consent is None else consent

    def secret_is_expired(self, tenant: Tenant, secret: str) -> bool:
        """Return whether a known secret of the tenant's app has expired, in itself or by the tenant's scenario."""
        expired = self._changes[tenant.tenant_id].secret_expired
        by_scenario = super().secret_is_expired(tenant, secret) if expired is None else expired
        return by_scenario or (tenant.client_id, secret) in self._expired

    def token_error(self, tenant: Tenant, claims: dict[str, Any], now: float) -> str:
        """Return why an access token of the tenant is not valid, or an empty string."""
        error = super().token_error(tenant, claims, now)
        return error or ("Access token has been revoked." if self.is_revoked(tenant, claims["number"]) else "")

    def permission_error(self, claims: dict[str, Any]) -> tuple[str, str] | None:
        """Return code and message of the refusal where a token lacks the permission, or its user the role."""
        if "scp" not in claims:
            return super().permission_error(claims)
        if PERMISSION not in claims["scp"].split():
            return "S2SUnauthorized", "Invalid scope claims/roles."
        if not READERS.intersection(claims["wids"]):
            return "Authentication_RequestFromUnsupportedUserRole", "User is not in the allowed roles"
        return None

    def rows(self, tenant: Tenant, report: Report, day: date) -> tuple[Row, ...]:
        """Return what the tenant's report says for `day`, with Microsoft's corrections so far."""
        rows = super().rows(tenant, report, day)
        revision = self._changes[tenant.tenant_id].revision
        return tuple(replace(row, counts=(row.counts[0] + revision, *row.counts[1:])) for row in rows)

    def written_rows(self, tenant: Tenant, report: Report, day: date, *, json: bool) -> tuple[Row, ...]:
        """Return the rows for `day` as they go out, and remember them."""
        rows = super().written_rows(tenant, report, day, json=json)
        served = self._served.setdefault((tenant.tenant_id, report.name, day), set())
        served.update((row.product_type, row.counts) for row in rows)
        return rows

    # Tenants and credentials

    def set_scenario(self, tenant: Tenant | str, name: str) -> None:
        """Move the tenant to a scenario; consent and secrets are as it says again.

        Tokens issued before are revoked where it is about tokens, so that it shows at the next call.
        """
        scenario = SCENARIOS[name]
        with self.lock:
            changes = self._of(tenant)
            changes.scenario, changes.consent, changes.secret_expired = scenario, None, None
            if scenario.secret_expired or not scenario.consent:
                changes.revoked = self._number

    def grant_consent(self, tenant: Tenant | str) -> None:
        """Let an administrator grant Reports.Read.All: tokens issued from now on carry it."""
        with self.lock:
            self._of(tenant).consent = True

    def revoke_consent(self, tenant: Tenant | str) -> None:
        """Take Reports.Read.All away: as at Microsoft, tokens issued before keep it until they expire."""
        with self.lock:
            self._of(tenant).consent = False

    def revoke_tokens(self, tenant: Tenant | str) -> None:
        """Make every access and refresh token issued so far for the tenant worthless."""
        with self.lock:
            self._of(tenant).revoked = self._number

    def is_revoked(self, tenant: Tenant, number: int) -> bool:
        """Return whether the tenant's token with this number has been revoked."""
        return number <= self._changes[tenant.tenant_id].revoked

    def set_secret(self, tenant: Tenant | str, secret: str) -> None:
        """Make `secret` the only valid secret of the tenant's app."""
        with self.lock:
            known = self.tenant(tenant)
            self.apps[known.client_id].secrets = {secret}
            self._expired.discard((known.client_id, secret))
            self._of(known).secret_expired = False

    def expire_secret(self, tenant: Tenant | str) -> None:
        """Let every secret of the tenant's app expire."""
        with self.lock:
            client_id = self.tenant(tenant).client_id
            self._expired.update((client_id, secret) for secret in self.apps[client_id].secrets)

    def proofs(self, client_id: str) -> Proofs:
        """Return what the app may show in place of a secret."""
        return self._proofs.setdefault(client_id, Proofs())

    def register_certificate(self, tenant: Tenant | str, pem: bytes) -> None:
        """Register a certificate (PEM) with the tenant's app."""
        with self.lock:
            self.proofs(self.tenant(tenant).client_id).register(pem)

    def register_federation(self, tenant: Tenant | str, federation: Federation) -> None:
        """Register a federated identity credential with the tenant's app."""
        with self.lock:
            self.proofs(self.tenant(tenant).client_id).federations.add(federation)

    def register_app(self, tenant: Tenant | str, client_id: str, secret: str = "") -> None:
        """Make an app known in the tenant, as others than the exporter's may be; a secret of it, if given."""
        with self.lock:
            app = self.apps.setdefault(client_id.lower(), App(client_id.lower()))
            app.tenant_ids.add(self.tenant(tenant).tenant_id)
            if secret:
                app.secrets.add(secret)

    def revise(self, tenant: Tenant | str) -> None:
        """Let Microsoft correct the tenant's reports: the same dates with other numbers from now on."""
        with self.lock:
            self._of(tenant).revision += 1

    def _of(self, tenant: Tenant | str) -> _Changes:
        return self._changes[self.tenant(tenant).tenant_id]

    # Faults

    def inject(
        self, tenant: Tenant | str, fault: str | Fault, *, times: int | None = 1, stage: Stage | None = None
    ) -> None:
        """Let the tenant's next `times` calls of a stage (the fault's own if left out) end in a fault.

        None for `times`: until `clear()`. Faults of one stage come in the order they were injected in.
        """
        known = FAULTS[fault] if isinstance(fault, str) else fault
        with self.lock:
            self._injected.setdefault(self.tenant(tenant).tenant_id, []).append(
                _Injected(known, stage or known.stage, times)
            )

    def clear(self, tenant: Tenant | str) -> None:
        """Drop the tenant's injected faults."""
        with self.lock:
            self._injected.pop(self.tenant(tenant).tenant_id, None)

    def take_fault(self, tenant: Tenant, stages: tuple[Stage, ...]) -> Fault | None:
        """Return the injected fault that is due for one of `stages`, and count it as used."""
        injected = self._injected.get(tenant.tenant_id, [])
        due = next((each for each in injected if each.stage in stages), None)
        if due is None:
            return None
        if due.left is not None:
            due.left -= 1
            if due.left <= 0:
                injected.remove(due)
        return due.fault

    # Sign-in by device code

    def plan_sign_in(self, plan: Plan) -> None:
        """Decide what the user does with device codes that are requested from now on."""
        with self.lock:
            self.sign_in_plan = plan

    def decide(self, user_code: str, plan: Plan) -> None:
        """Decide what the user does with this code; KeyError if there is no such code."""
        with self.lock:
            device = next((each for each in self.devices.values() if each.user_code == user_code), None)
            if device is None:
                raise KeyError(user_code)
            device.plan, device.polls = plan, 0

    # Limits and records

    def open_windows(self) -> None:
        """Forget all calls that count against the limits."""
        with self.lock:
            self._windows.clear()

    def served(self, tenant: Tenant | str, report: str, day: date) -> frozenset[tuple[str, tuple[int, ...]]]:
        """Return every pair of product type (as written) and counts that was served for that day."""
        with self.lock:
            return frozenset(self._served.get((self.tenant(tenant).tenant_id, report, day), ()))

    def count(self, tenant: Tenant | str, stage: Stage, report: str | None = None) -> int:
        """Return how many calls of the stage were answered; for one report, or for all."""
        tenant_id = self.tenant(tenant).tenant_id
        with self.lock:
            return sum(
                number
                for (known, name, step), number in self.calls.items()
                if known == tenant_id and step is stage and report in (None, name)
            )


def state_of(call: Call) -> State:
    """Return the state of a call to the full simulator."""
    if not isinstance(call.state, State):
        raise TypeError(f"not a call to the full simulator: {call.state}")
    return call.state
