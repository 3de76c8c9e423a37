"""The scenarios that users choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Scenario:
    """How Microsoft treats a tenant.

    Attributes:
        summary: one line about it.
        faults: the faults that a stage's calls may end in, in equal parts; `report` is no stage of its own but the
            answer that carries the data: the download for CSV, Graph's for JSON.
        chance: how many of these calls do end in one, from 0 to 1.
        low: whether products are activated by well under half of those who hold them.
        consent: whether tokens carry Reports.Read.All.
        secret_expired: whether every client secret has expired.
        has_past: whether there were reports on the days before.
    """

    summary: str
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chance: float = 1.0
    low: bool = False
    consent: bool = True
    secret_expired: bool = False
    has_past: bool = True

    def fault(self, stage: str, chance: float, *, data: bool) -> str:
        """Return the fault that a call ends in, or an empty string, given the call's own number from 0 up to 1."""
        choices = self.faults.get(stage, ()) or (self.faults.get("report", ()) if data else ())
        if not choices or chance >= self.chance:
            return ""
        return choices[int(chance / self.chance * len(choices))]


_FLAKY: Mapping[str, tuple[str, ...]] = {
    "token": ("503", "cut"),
    "graph": ("500-empty", "503", "429-short", "401-expired", "cut", "direct-csv", "403-missing-credentials"),
    "download": ("download-403-html", "download-410-xml", "cut-body", "503", "two-boms", "gzip"),
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
    "healthy": Scenario("everything works"),
    "low-activation": Scenario("everything works, but few licences are activated", low=True),
    "flaky": Scenario("one call in four fails, and succeeds when tried again", _FLAKY, chance=0.25),
    "throttled": Scenario("another app has used up the limit: every call is answered with 429", {"graph": ("429",)}),
    "outage": Scenario("Graph answers every call with 5xx", {"graph": ("500-empty", "502-html", "503", "504")}),
    "no-consent": Scenario("Reports.Read.All has not been granted", consent=False),
    "expired-secret": Scenario("the app that all tenants share has an expired secret", secret_expired=True),
    "new-tenant": Scenario("Microsoft has no report yet", {"graph": ("404-unknown-tenant",)}, has_past=False),
    "garbage": Scenario("the report cannot be read", {"report": _GARBAGE}),
}
