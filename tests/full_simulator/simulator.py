"""The shipped simulator with everything that only tests need: faults that they inject, every credential, records."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from exporter.simulator import simulator as shipped
from exporter.simulator.graph import SECRET_HEADERS
from exporter.simulator.reports import refresh_date
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.state import PERMISSION
from exporter.simulator.tenants import digest
from tests.full_simulator.assertions import Proofs
from tests.full_simulator.devices import WAITING, Device, Plan
from tests.full_simulator.faults import FAULTS, Stage
from tests.full_simulator.graph import answer_graph
from tests.full_simulator.identity import answer_identity
from tests.full_simulator.login import answer_login

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date

    from exporter.simulator.reports import Line, Report, Row
    from exporter.simulator.scenarios import Scenario
    from exporter.simulator.state import Call, Response
    from exporter.simulator.state import Fault as Answer
    from exporter.simulator.tenants import Tenant
    from tests.full_simulator.assertions import Federation
    from tests.full_simulator.faults import Fault

_LOG_LENGTH = 100_000
# https://learn.microsoft.com/graph/throttling-limits#microsoft-365-reports-service-limits
_CSV_PER_TENANT = 40
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
    """What a test changed about one tenant."""

    scenario: Scenario
    revoked: int = 0
    revision: int = 0


@dataclass(slots=True)
class _Injected:
    fault: Fault
    stage: Stage
    left: int | None


class Simulator(shipped.Simulator):
    """Microsoft's hosts with a state that tests change and read, from any thread.

    A tenant is named by itself, its name, its id or its domain; an unknown one is a KeyError.

    Attributes:
        calls: answered calls by tenant id, report (empty where the step has none) and stage.
        log: the last calls, oldest first.
        leaks: what a client sent where it must not, one sentence each; empty for a well-behaved client.
        poll_interval: seconds between the polls of a device code that clients must keep.
        sign_in_plan: what the user will do with the next device code.
        devices: device codes on their way.
        system_identity: the tenant of the machine's own managed identity.
        identity_header: what App Service's requests for a managed identity must carry.
    """

    hosts = MappingProxyType(
        shipped.Simulator.hosts | {"login": answer_login, "graph": answer_graph, "identity": answer_identity}
    )

    def __init__(self, seed: int = 0, tenants: int = 3, scenario: str = "healthy", *, shared_app: bool = False) -> None:
        super().__init__(seed, tenants, scenario, shared_app=shared_app)
        self.calls: Counter[tuple[str, str, Stage]] = Counter()
        self.log: deque[CallRecord] = deque(maxlen=_LOG_LENGTH)
        self.leaks: list[str] = []
        self.poll_interval = 5
        self.sign_in_plan = WAITING
        self.devices: dict[str, Device] = {}
        self.system_identity = self.tenants[0].tenant_id if self.tenants else ""
        self.identity_header = digest(seed, "identity header").hex()
        self._changes = {tenant.tenant_id: _Changes(SCENARIOS[scenario]) for tenant in self.tenants}
        self._secrets = {(tenant.tenant_id, tenant.client_id): {tenant.secret} for tenant in self.tenants}
        self._proofs: dict[str, Proofs] = {}
        self._injected: dict[str, list[_Injected]] = {}
        self._served: dict[tuple[str, str, date], set[tuple[str, tuple[int, ...]]]] = {}

    # What the shipped simulator asks

    def answer(self, call: Call) -> Response:
        """Return what Microsoft would answer; record the call, and secrets that were sent to the download host."""
        with self.lock:
            response = super().answer(call)
            if call.stage:
                self._record(call, response)
        return response

    def _record(self, call: Call, response: Response) -> None:
        stage, report = Stage(call.stage), call.report.name if call.report else ""
        tenant_id, name = (call.tenant.tenant_id, call.tenant.name) if call.tenant else ("", "")
        self.calls[tenant_id, report, stage] += 1
        self.log.append(CallRecord(call.now, name, report, stage, response.status, call.fault))
        sent = ", ".join(header for header in SECRET_HEADERS if header in call.headers)
        if stage is Stage.DOWNLOAD and call.tenant and sent:
            self.leaks.append(f"{report} of {tenant_id}: {sent} sent to the download host")

    def scenario(self, tenant: Tenant) -> Scenario:
        """Return the scenario that the tenant is in."""
        return self._changes[tenant.tenant_id].scenario

    def choose_fault(self, call: Call, *, data: bool) -> tuple[str, Answer | None]:
        """Return the injected fault that is due, or what goes wrong by the tenant's scenario."""
        injected = self._injected.get(call.tenant.tenant_id, []) if call.tenant else []
        stages = (call.stage, Stage.REPORT) if data else (call.stage,)
        due = next((each for each in injected if each.stage in stages), None)
        if due is None:
            return super().choose_fault(call, data=data)
        if due.left is not None:
            due.left -= 1
            if due.left <= 0:
                injected.remove(due)
        return due.fault.name, due.fault.answer

    def secrets(self, tenant: Tenant, client_id: str) -> Collection[str] | None:
        """Return the secrets of an app; None where the tenant does not know it."""
        return self._secrets.get((tenant.tenant_id, client_id))

    def token_error(self, claims: Mapping[str, Any], now: float) -> str:
        """Return why an access token is not valid, or an empty string."""
        revoked = "Access token has been revoked." if self.is_revoked(claims) else ""
        return super().token_error(claims, now) or revoked

    def permission_error(self, claims: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return code and message of the refusal where a token lacks the permission, or its user the role."""
        if "scp" not in claims:
            return super().permission_error(claims)
        if PERMISSION not in claims["scp"].split():
            return "S2SUnauthorized", "Invalid scope claims/roles."
        if not READERS.intersection(claims["wids"]):
            return "Authentication_RequestFromUnsupportedUserRole", "User is not in the allowed roles"
        return None

    def admit(self, claims: Mapping[str, Any], report: str, *, json: bool, now: float) -> int:
        """Count a call of Graph also against the limit that all apps of a tenant share."""
        own = super().admit(claims, report, json=json, now=now)
        return own if json else max(own, self._wait((claims["tid"], report), _CSV_PER_TENANT, now))

    def rows(self, tenant: Tenant | str, report: str, day: date) -> tuple[Row, ...]:
        """Return the rows of a tenant's report for any day, with Microsoft's corrections so far."""
        known = self.tenant(tenant)
        revision = self._of(known).revision
        return tuple(
            replace(row, counts=(row.counts[0] + revision, *row.counts[1:])) for row in super().rows(known, report, day)
        )

    def lines(self, tenant: Tenant, report: Report, day: date, *, json: bool) -> list[Line]:
        """Return the lines for `day` as they go out, and remember them."""
        lines = super().lines(tenant, report, day, json=json)
        served = self._served.setdefault((tenant.tenant_id, report.name, day), set())
        served.update((str(name), cast("tuple[int, ...]", tuple(counts))) for _, name, *counts in lines)
        return lines

    # Tenants and credentials

    def tenant(self, tenant: Tenant | str) -> Tenant:
        """Return the tenant meant."""
        return self._names[tenant.lower()] if isinstance(tenant, str) else tenant

    def refresh_date(self, now: float) -> date:
        """Return the date of the newest report at `now` (Unix seconds)."""
        return refresh_date(now)

    def set_scenario(self, tenant: Tenant | str, name: str) -> None:
        """Move the tenant to a scenario; consent and secrets are as it says again.

        Tokens issued before are revoked where it is about tokens, so that it shows at the next call.
        """
        scenario = SCENARIOS[name]
        with self.lock:
            self._of(tenant).scenario = scenario
            if scenario.secret_expired or not scenario.consent:
                self.revoke_tokens(tenant)

    def grant_consent(self, tenant: Tenant | str) -> None:
        """Let an administrator grant Reports.Read.All: tokens issued from now on carry it."""
        self._change(tenant, consent=True)

    def revoke_consent(self, tenant: Tenant | str) -> None:
        """Take Reports.Read.All away: as at Microsoft, tokens issued before keep it until they expire."""
        self._change(tenant, consent=False)

    def revoke_tokens(self, tenant: Tenant | str) -> None:
        """Make every access and refresh token issued so far for the tenant worthless."""
        with self.lock:
            self._of(tenant).revoked = self._number

    def is_revoked(self, claims: Mapping[str, Any]) -> bool:
        """Return whether a token of a tenant has been revoked."""
        number: int = claims["number"]
        return number <= self._changes[claims["tid"]].revoked

    def set_secret(self, tenant: Tenant | str, secret: str) -> None:
        """Make `secret` the only valid secret of the tenant's app."""
        with self.lock:
            known = self.tenant(tenant)
            self._secrets[known.tenant_id, known.client_id] = {secret}
            self._change(known, secret_expired=False)

    def expire_secret(self, tenant: Tenant | str) -> None:
        """Let every secret of the tenant's app expire."""
        self._change(tenant, secret_expired=True)

    def _change(self, tenant: Tenant | str, **what: Any) -> None:
        """Let a tenant's scenario differ by `what` from now on."""
        with self.lock:
            changes = self._of(tenant)
            changes.scenario = replace(changes.scenario, **what)

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

    def register_app(self, tenant: Tenant | str, client_id: str, secret: str) -> None:
        """Make an app with this secret known in the tenant, as others than the exporter's may be."""
        with self.lock:
            self._secrets[self.tenant(tenant).tenant_id, client_id.lower()] = {secret}

    def home(self, client_id: str) -> Tenant | None:
        """Return the tenant of a managed identity, or None where no tenant knows it."""
        return next((self.tenant(known) for known, app in self._secrets if app == client_id.lower()), None)

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

    # Sign-in by device code

    def plan_sign_in(self, plan: Plan) -> None:
        """Decide what the user does with device codes that are requested from now on."""
        with self.lock:
            self.sign_in_plan = plan

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
                if known == tenant_id and step == stage and report in (None, name)
            )
