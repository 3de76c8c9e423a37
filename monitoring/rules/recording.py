"""The first layer: what the exporter says, whichever of its pods and replicas was scraped; and the sums on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitoring.rules.thresholds import Thresholds

P = "office365_activations"
REPLICA = "instance, pod, container, endpoint, node"
"""The labels that tell replicas, and a pod and its successor, apart."""
USERS = '{report="activations_user_counts"}'
PLATFORMS = '{report="activations_platform_counts"}'

# By who can do something about it; where a tenant fails for several, the first is shown.
NEEDS_OPERATOR = ("config", "credentials", "permission", "tenant", "unsupported", "redirect")
MAY_PASS = ("internal", "report", "download", "throttled", "network", "server")


@dataclass(frozen=True)
class Recording:
    """A recording rule: `level:metric:operations` and its expression."""

    record: str
    expr: str

    def rule(self) -> dict[str, object]:
        """Return it as Prometheus reads it."""
        return {"record": self.record, "expr": self.expr}


# A day between two reports' dates outweighs any difference between two polls.
FRESHNESS = f"{P}_report_refresh_timestamp_seconds * 1e5 + {P}_last_success_timestamp_seconds"
FRESHEST = f"instance_tenant_report:{P}_freshness:latest"


def report_numbers(*, past: bool = False) -> tuple[Recording, ...]:
    """Return the report's numbers; of two replicas the one with the newer report, then the later poll, counts.

    Args:
        past: for numbers from `history`, which come from one exporter and have no polls.
    """
    freshest = Recording(
        FRESHEST, f"{FRESHNESS}\n== ignoring ({REPLICA}) group_left ()\nmax without ({REPLICA}) ({FRESHNESS})"
    )
    rejected = Recording(REJECTED, f"max without ({REPLICA}) (\n  {P}_last_poll_rejected_rows and {FRESHEST}\n)")
    of_report = (
        ("tenant_product", "assigned_users", "product_type", USERS),
        ("tenant_product", "activated_users", "product_type", USERS),
        ("tenant_product", "shared_computer_users", "product_type", USERS),
        ("tenant_product", "target_ratio", "product_type", USERS),
        ("tenant_product", "license_price", "product_type, currency", USERS),
        ("tenant_product_platform", "platform_activations", "product_type, platform", PLATFORMS),
    )
    return (
        *(() if past else (freshest, rejected)),
        *(
            Recording(
                f"{level}:{P}_{name}:latest",
                f"max without ({REPLICA}) ({P}_{name})"
                if past
                else f"max without ({REPLICA}) (\n  {P}_{name}\n  and ignoring (report, {extra}) {FRESHEST}{report}\n)",
            )
            for level, name, extra, report in of_report
        ),
    )


ASSIGNED = f"tenant_product:{P}_assigned_users:latest"
ACTIVATED = f"tenant_product:{P}_activated_users:latest"
SHARED = f"tenant_product:{P}_shared_computer_users:latest"
TARGET = f"tenant_product:{P}_target_ratio:latest"
PRICE = f"tenant_product:{P}_license_price:latest"
UNACTIVATED = f"tenant_product:{P}_unactivated_assignments:latest"
COST = f"tenant_product:{P}_unactivated_cost:latest"


def ratios_and_sums() -> tuple[Recording, ...]:
    """Return ratios (never clamped; for tenants and over all, of products with a target), sums and money."""
    recordings = [
        Recording(f"tenant_product:{P}_activated_per_assigned:ratio", f"{ACTIVATED} / ({ASSIGNED} > 0)"),
        Recording(f"tenant_product:{P}_used_assignments:sum", f"{ACTIVATED} + {SHARED}"),
        Recording(UNACTIVATED, f"clamp_min({ASSIGNED} - {ACTIVATED}, 0)"),
        Recording(COST, f"{PRICE} * ignoring (currency) group_left () {UNACTIVATED}"),
    ]
    for level, summed in (("tenant", "product_type"), ("job", "tenant, product_type")):
        recordings += [
            Recording(
                f"{level}:{P}_activated_per_assigned:ratio",
                f"sum without ({summed}) ({ACTIVATED} and {TARGET})\n"
                f"/ (sum without ({summed}) ({ASSIGNED} and {TARGET}) > 0)",
            ),
            Recording(f"{level}:{P}_assignments:sum", f"sum without ({summed}) ({ASSIGNED})"),
            Recording(f"{level}:{P}_activated_assignments:sum", f"sum without ({summed}) ({ACTIVATED})"),
            Recording(f"{level}:{P}_unactivated_assignments:sum", f"sum without ({summed}) ({UNACTIVATED})"),
            Recording(f"{level}:{P}_unactivated_cost:sum", f"sum without ({summed}) ({COST})"),
        ]
    return tuple(recordings)


UP = f"tenant_report:{P}_up:max"
REFRESHED = f"tenant_report:{P}_report_refresh_timestamp_seconds:max"
LAST_SUCCESS = f"tenant_report:{P}_last_success_timestamp_seconds:max"
EXPIRES = f"tenant_report:{P}_data_expires_timestamp_seconds:max"
REJECTED = f"tenant_report:{P}_last_poll_rejected_rows:latest"
QUOTA = f"tenant_report:{P}_quota_remaining_calls:min"
TENANTS = f"tenant:{P}_tenant_info:max"
FAILING = f"tenant_reason:{P}_failing:max"
FAILING_FOR = f"tenant_reason:{P}_failing:primary"
FAILING_SECONDS = f"tenant:{P}_failing_seconds:sum"
EXPORTERS = f"job:{P}_exporter_build_info:count"
CREDENTIAL_EXPIRY = f"job:{P}_exporter_credential_expiry_timestamp_seconds:min"
STORAGE = f"job:{P}_exporter_storage_up:min"
RELOADED = f"job:{P}_exporter_config_last_reload_successful:min"


def replicas(record: str, operation: str, name: str) -> Recording:
    """Return a metric over replicas and a pod's successors."""
    return Recording(record, f"{operation} without ({REPLICA}) ({P}_{name})")


def poll_outcomes(limits: Thresholds) -> tuple[Recording, ...]:
    """Return what became of the polls; where one replica's succeeded, that counts."""
    memory, window, step = limits.failing_memory, limits.failing_window, limits.failing_step
    primary = "\nor ignoring (reason) ".join(
        f'max_over_time({FAILING}{{reason="{reason}"}}[{memory}])' for reason in (*NEEDS_OPERATOR, *MAY_PASS)
    )
    steps = f"(max without (reason) ({FAILING}))[{window}:{step}]"
    return (
        replicas(UP, "max", "up"),
        replicas(REFRESHED, "max", "report_refresh_timestamp_seconds"),
        replicas(LAST_SUCCESS, "max", "last_success_timestamp_seconds"),
        replicas(EXPIRES, "max", "data_expires_timestamp_seconds"),
        replicas(QUOTA, "min", "quota_remaining_calls"),
        replicas(TENANTS, "max", "tenant_info"),
        Recording(
            FAILING,
            f"max without (report) (\n  max without ({REPLICA}) ({P}_failing)\n  and ignoring (reason) ({UP} == 0)\n)",
        ),
        Recording(FAILING_FOR, primary),
        Recording(FAILING_SECONDS, f"clamp_max({int(step)} * sum_over_time({steps}), {int(window)})"),
    )


def exporter_state() -> tuple[Recording, ...]:
    """Return the state of the exporters; of two replicas that of the worse one."""
    return (
        Recording(
            EXPORTERS,
            f"count without ({REPLICA}, version, revision, pythonversion) ({P}_exporter_build_info)",
        ),
        replicas(CREDENTIAL_EXPIRY, "min", "exporter_credential_expiry_timestamp_seconds"),
        replicas(STORAGE, "min", "exporter_storage_up"),
        replicas(RELOADED, "min", "exporter_config_last_reload_successful"),
    )


def inlined(recordings: tuple[Recording, ...]) -> tuple[Recording, ...]:
    """Return the same rules without one that reads another: promtool's backfill cannot see what it has just written."""
    known: dict[str, str] = {}
    for recording in recordings:
        expr = recording.expr
        for name, inner in known.items():
            expr = expr.replace(name, f"({inner})")
        known[recording.record] = expr
    return tuple(Recording(record, expr) for record, expr in known.items())
