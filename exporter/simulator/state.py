"""What the simulation knows and counts: scenarios, apps and secrets, signed tokens, calls and Microsoft's limits."""

from __future__ import annotations

import base64
import hmac
import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exporter.simulator.messages import Stage
from exporter.simulator.reports import make_rows
from exporter.simulator.tenants import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from exporter.simulator.reports import Report, Row
    from exporter.simulator.tenants import Tenant

PERMISSION = "Reports.Read.All"
_WINDOW = 600.0
# https://learn.microsoft.com/graph/throttling-limits#microsoft-365-reports-service-limits
_CSV_PER_APP, _CSV_PER_TENANT, _JSON_PER_APP = 14, 40, 100


@dataclass(frozen=True, slots=True)
class Scenario:
    """How Microsoft treats a tenant.

    Attributes:
        name: what users type.
        summary: one line about it.
        faults: the faults that a stage's calls may end in, in equal parts.
        chance: how many of these calls do end in one, from 0 to 1.
        low: whether products are activated by well under half of those who hold them.
        consent: whether tokens carry Reports.Read.All.
        secret_expired: whether every client secret has expired.
        has_past: whether there were reports on the days before.
    """

    name: str
    summary: str
    faults: Mapping[Stage, tuple[str, ...]] = field(default_factory=dict)
    chance: float = 1.0
    low: bool = False
    consent: bool = True
    secret_expired: bool = False
    has_past: bool = True

    def fault(self, stage: Stage, chance: float, *, data: bool) -> str | None:
        """Return the fault that a call ends in, given a number from 0 up to 1 that is the call's own."""
        choices = self.faults.get(stage, ()) or (self.faults.get(Stage.REPORT, ()) if data else ())
        if not choices or chance >= self.chance:
            return None
        return choices[int(chance / self.chance * len(choices))]


_FLAKY: Mapping[Stage, tuple[str, ...]] = {
    Stage.TOKEN: ("503", "cut"),
    Stage.GRAPH: ("500-empty", "503", "429-short", "401-expired", "cut", "direct-csv", "403-missing-credentials"),
    Stage.DOWNLOAD: ("download-403-html", "download-410-xml", "cut-body", "503", "two-boms", "gzip"),
}
_GARBAGE = (
    "html",
    "invalid-utf-8",
    "utf-16",
    "nul-bytes",
    "no-header",
    "bad-numbers",
    "negative",
    "truncated",
    "binary",
)

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("healthy", "everything works"),
        Scenario("low-activation", "everything works, but few licences are activated", low=True),
        Scenario("flaky", "one call in four fails, and succeeds when tried again", _FLAKY, chance=0.25),
        Scenario(
            "throttled", "another app has used up the limit: every call is answered with 429", {Stage.GRAPH: ("429",)}
        ),
        Scenario("outage", "Graph answers every call with 5xx", {Stage.GRAPH: ("500-empty", "502-html", "503", "504")}),
        Scenario("no-consent", "Reports.Read.All has not been granted", consent=False),
        Scenario("expired-secret", "the app that all tenants share has an expired secret", secret_expired=True),
        Scenario("new-tenant", "Microsoft has no report yet", {Stage.GRAPH: ("404-unknown-tenant",)}, has_past=False),
        Scenario("garbage", "the report cannot be read", {Stage.REPORT: _GARBAGE}),
    )
}


def encode_part(data: bytes) -> str:
    """Return base64url without padding, as JWT uses it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_part(text: str) -> bytes:
    """Return the bytes of base64url without padding; ValueError if it is none."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Seal:
    """Writes and reads JWT-shaped texts that only this simulation can have written.

    Args:
        key: the secret behind the signatures.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._header = encode_part(json.dumps({"typ": "JWT", "alg": "RS256", "kid": "simulation"}).encode())

    def close(self, claims: dict[str, Any]) -> str:
        """Return `claims` as header.payload.signature; the signature is as long as Microsoft's (RS256)."""
        signed = f"{self._header}.{encode_part(json.dumps(claims, separators=(',', ':')).encode())}"
        return f"{signed}.{encode_part(self._sign(signed))}"

    def open(self, text: str) -> dict[str, Any] | None:
        """Return the claims of a text that this seal closed, or None for any other text."""
        signed, _, signature = text.rpartition(".")
        if not signed or not hmac.compare_digest(encode_part(self._sign(signed)).encode(), signature.encode()):
            return None
        claims: dict[str, Any] = json.loads(decode_part(signed.partition(".")[2]))
        return claims

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), "sha256") * 8


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
