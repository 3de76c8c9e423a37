"""Which alert silences which, for Alertmanager's file and for its operator's AlertmanagerConfig."""

from __future__ import annotations

from dataclasses import dataclass

SCOPE = ("job", "namespace")


@dataclass(frozen=True)
class Inhibition:
    """While `source` fires, the alerts `targets` with the same values of the labels `equal` are held back."""

    source: str
    targets: tuple[str, ...]
    equal: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """The targets as one regular expression."""
        return "|".join(self.targets)

    def for_alertmanager(self) -> dict[str, object]:
        """Return it as an entry of `inhibit_rules`."""
        return {
            "source_matchers": [f'alertname="{self.source}"'],
            "target_matchers": [f'alertname=~"{self.pattern}"'],
            **({"equal": list(self.equal)} if self.equal else {}),
        }

    def for_operator(self) -> dict[str, object]:
        """Return it as an entry of AlertmanagerConfig's `inhibitRules`."""
        return {
            "sourceMatch": [{"name": "alertname", "matchType": "=", "value": self.source}],
            "targetMatch": [{"name": "alertname", "matchType": "=~", "value": self.pattern}],
            **({"equal": list(self.equal)} if self.equal else {}),
        }


INHIBITIONS = (
    Inhibition("Office365ManyTenantsFailing", ("Office365TenantFailing",), (*SCOPE, "reason")),
    # What follows from failing polls, tenant by tenant.
    Inhibition("Office365ManyTenantsFailing", ("Office365MetricsExpiring", "Office365TenantNoData"), SCOPE),
    Inhibition("Office365TenantFailing", ("Office365TenantNoData",), (*SCOPE, "tenant")),
    Inhibition("Office365ExporterDown", ("Office365ExporterAbsent",), ()),
)
