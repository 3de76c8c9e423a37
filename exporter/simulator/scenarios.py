"""The scenarios that `--scenario` names: how Microsoft treats a tenant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.simulator.messages import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        Scenario("low-activation", "everything works, but licences lie unused", low=True),
        Scenario("flaky", "one call in four fails in a way that a second try avoids", _FLAKY, chance=0.25),
        Scenario("throttled", "another app has used up the limit: every call is 429", {Stage.GRAPH: ("429",)}),
        Scenario("outage", "Graph answers nothing but 5xx", {Stage.GRAPH: ("500-empty", "502-html", "503", "504")}),
        Scenario("no-consent", "Reports.Read.All has not been granted", consent=False),
        Scenario("expired-secret", "the one app of all tenants has a secret that expired", secret_expired=True),
        Scenario("new-tenant", "Microsoft has no report yet", {Stage.GRAPH: ("404-unknown-tenant",)}, has_past=False),
        Scenario("garbage", "the report cannot be read", {Stage.REPORT: _GARBAGE}),
    )
}
