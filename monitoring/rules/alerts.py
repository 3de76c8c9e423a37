"""The alerts: what each fires on, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring.rules.recording import (
    ACTIVATED,
    ASSIGNED,
    CREDENTIAL_EXPIRY,
    EXPIRES,
    EXPORTERS,
    FAILING,
    FAILING_FOR,
    FAILING_SECONDS,
    LAST_SUCCESS,
    MAY_PASS,
    NEEDS_OPERATOR,
    QUOTA,
    REFRESHED,
    REJECTED,
    RELOADED,
    REPLICA,
    STORAGE,
    TARGET,
    TENANTS,
    UP,
    USERS,
    P,
)

if TYPE_CHECKING:
    from monitoring.rules.thresholds import Thresholds, Window

INFO, WARNING, CRITICAL = "info", "warning", "critical"
USED = f"tenant_product:{P}_used_assignments:sum"
NEEDED = f'{{reason=~"{"|".join(NEEDS_OPERATOR)}"}}'

FIXES = {
    "config": "A file that the configuration names is missing or unreadable: the log names the file and the fix.",
    "credentials": "The client secret or certificate is wrong or has expired: add a new one to the app registration and "
    "write it to the configured file; restart only if systemd or a variable passes it.",
    "permission": "Admin consent for Reports.Read.All is missing: an administrator of the tenant must open the consent "
    "address that the status page shows.",
    "tenant": "The tenant id is wrong, or Microsoft has no report yet: check tenant_id; a new tenant has its first "
    "report some days after its first licence.",
    "unsupported": "This cloud or API version does not have the report: set report.api_version to beta.",
    "redirect": "Microsoft sends the download to a host that is not allowed: if the host in the log is Microsoft's, add "
    "it to http.download_hosts.",
    "internal": "This is a bug in the exporter: report it with the log lines at level error; they contain no secret.",
    "report": "The report cannot be read: the log says why; if the newest release does not read it either, report it.",
    "download": "The short-lived download address has expired before it was read: check the clock of the host and how "
    "long one poll takes.",
    "throttled": "Microsoft answers 429: raise poll.interval, and let only one program call the report with this app "
    "registration.",
    "network": "Microsoft's hosts cannot be reached: check DNS, firewall, http.proxy and http.ca_file; the log names the "
    "host.",
    "server": "Microsoft answers with errors: check the service health in the admin center, then open a case with the "
    "request-id from the status page.",
}
"""What each reason needs; the order is that of `NEEDS_OPERATOR` and `MAY_PASS`."""


@dataclass(frozen=True)
class Alert:
    """An alerting rule, without the addresses and the layout of a file."""

    name: str
    severity: str
    expr: str
    summary: str
    description: str
    pending: Window | None = None
    keep: Window | None = None

    def rule(self, runbook: str) -> dict[str, object]:
        """Return it as Prometheus reads it; `runbook` is where the pages of all alerts are."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": str(self.pending)} if self.pending else {}),
            **({"keep_firing_for": str(self.keep)} if self.keep else {}),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbook}/{self.name}.md",
            },
        }


def asked(query: str, show: str, *more: str) -> str:
    """Return a template that asks `query` and shows each result; MINE in it becomes the labels of the alert's job."""
    labels = ("job", "namespace", *more)
    mine = ", ".join(f"{label}=%q" for label in labels)
    values = " ".join(f"$labels.{label}" for label in labels)
    return f"{{{{ range printf `{query.replace('MINE', mine)}` {values} | query }}}}{show}{{{{ end }}}}"


def licence_alerts(limits: Thresholds) -> tuple[Alert, ...]:
    """Return the alerts on the report's numbers. A number is looked for over `hold`, so that no gap ends an alert."""
    hold = limits.hold
    assigned, activated = (f"last_over_time({name}[{hold}])" for name in (ASSIGNED, ACTIVATED))
    settled, week = limits.ratio_settled, limits.ratio_fell_window
    target = asked(
        f"last_over_time({TARGET}{{MINE}}[{hold}])", "{{ . | value | humanizePercentage }}", "tenant", "product_type"
    )
    return (
        Alert(
            "Office365ActivationRatioLow",
            INFO,
            f"clamp_max(\n"
            f"  max_over_time({USED}[{limits.ratio_best_of}])\n"
            f"  / (min_over_time({ASSIGNED}[{settled}]) > 0),\n"
            f"  1\n"
            f")\n"
            f"< last_over_time({TARGET}[{hold}])\n"
            f"and {assigned}\n"
            f"and last_over_time({ASSIGNED}[{limits.ratio_fell_window}] offset {settled})\n"
            f"and ignoring (product_type, report)\n"
            f"  time() - last_over_time({REFRESHED}{USERS}[{hold}]) < {int(limits.report_stale)}",
            "{{ $labels.tenant }}: at most {{ $value | humanizePercentage }} of {{ $labels.product_type }} are activated, "
            f"the target is {target}",
            "Of the licences of {{ $labels.product_type }} that tenant {{ $labels.tenant }} has had for "
            f"{spoken(settled)}, at most "
            "{{ $value | humanizePercentage }} are activated, even if each user on a shared computer counts as one more "
            f"activation; the target is {target}. Help these users to install it or take the licences back; if the target "
            "does not fit, change targets.product_types.",
            limits.pending,
        ),
        Alert(
            "Office365ActivationRatioFell",
            INFO,
            f"clamp_max(\n"
            f"  last_over_time({ACTIVATED}[{limits.hold_past}] offset {week})\n"
            f"  / (last_over_time({ASSIGNED}[{limits.hold_past}] offset {week}) >= {limits.ratio_min_users}),\n"
            f"  1\n"
            f")\n"
            f"- clamp_max({activated} / (min_over_time({ASSIGNED}[{week}]) >= {limits.ratio_min_users}), 1)\n"
            f"> {limits.ratio_fell_points}\n"
            f"and {assigned}",
            "{{ $labels.tenant }}: the activation ratio of {{ $labels.product_type }} fell by "
            f"{{{{ $value | humanizePercentage }}}} of the assigned users in {spoken(week)}",
            "In tenant {{ $labels.tenant }} the share of {{ $labels.product_type }} users who activated their licence fell "
            f"by {{{{ $value | humanizePercentage }}}} (of the assigned users) within {spoken(week)}, without new licences as "
            "the cause. Check whether devices were replaced or users were moved to shared computers.",
            limits.pending,
        ),
        Alert(
            "Office365AssignedUsersDropped",
            WARNING,
            f"{assigned}\n"
            f"/ (last_over_time({ASSIGNED}[{limits.hold_past}] offset {limits.assigned_dropped_window})"
            f" >= {limits.ratio_min_users})\n"
            f"< {limits.assigned_dropped_to}",
            "{{ $labels.tenant }}: only {{ $value | humanizePercentage }} of yesterday's {{ $labels.product_type }} users are "
            "assigned",
            "The users of tenant {{ $labels.tenant }} who are assigned {{ $labels.product_type }} are "
            f"{{{{ $value | humanizePercentage }}}} of what they were {spoken(limits.assigned_dropped_window)} before. If nobody "
            "removed licences on purpose (an expired subscription, a changed group), restore the assignment in the admin center.",
            limits.pending,
        ),
    )


def spoken(window: Window) -> str:
    """Return a duration for a sentence."""
    text = str(window)
    unit = {"d": "day", "h": "hour", "m": "minute", "s": "second"}[text[-1]]
    return f"{text[:-1]} {unit}{'' if text[:-1] == '1' else 's'}"


def tenant_alerts(limits: Thresholds) -> tuple[Alert, ...]:
    """Return the alerts on tenants and their polls."""
    hold = limits.hold
    sustained = f"{FAILING_FOR} * ignoring (reason) group_left () {FAILING_SECONDS}"
    needed = sustained.replace(FAILING_FOR, FAILING_FOR + NEEDED)
    fixes = "".join(
        f'{{{{ {"else " if number else ""}if eq $labels.reason "{reason}" }}}}{FIXES[reason]}'
        for number, reason in enumerate((*NEEDS_OPERATOR, *MAY_PASS))
    )
    fix = f"{fixes}{{{{ end }}}}"
    enabled = f"last_over_time({TENANTS}[{hold}])"
    total = asked(f"count without (tenant, tenant_id, cloud) ({TENANTS}{{MINE}})", "{{ . | value }}")
    return (
        Alert(
            "Office365TenantFailing",
            WARNING,
            f"{sustained} >= {int(limits.failing_passing)}\nor\n{needed} >= {int(limits.failing_operator)}",
            "{{ $labels.tenant }}: polls fail for the reason {{ $labels.reason }}",
            "Polls of tenant {{ $labels.tenant }} have failed for {{ $value | humanizeDuration }} of the last "
            f"{spoken(limits.failing_window)}, the reason is {{{{ $labels.reason }}}}. {fix}",
            limits.pending,
            limits.keep,
        ),
        Alert(
            "Office365ManyTenantsFailing",
            CRITICAL,
            f"count without (tenant) (\n"
            f"  {FAILING_FOR}{NEEDED}\n"
            f"  or {sustained} >= {int(limits.many_passing)}\n"
            f")\n"
            f">= ignoring (reason) group_left ()\n"
            f"  {limits.many_share} * count without (tenant, tenant_id, cloud) ({enabled})\n"
            f">= {limits.many_tenants}",
            "{{ $value }} tenants fail for the same reason: {{ $labels.reason }}",
            f"{{{{ $value }}}} of {total} tenants fail for the reason {{{{ $labels.reason }}}}: the cause is what they share "
            "(the app registration's credential, the network, the proxy, the clock, Microsoft), not a single tenant. "
            f"{fix}",
            limits.pending,
            limits.many_keep,
        ),
        Alert(
            "Office365TenantNoData",
            WARNING,
            f"{enabled}\n"
            f"and last_over_time({TENANTS}[{hold}] offset {limits.no_data})\n"
            # The report's date is kept when the numbers are withdrawn: when they expired says whether there were any.
            f"unless ignoring (tenant_id, cloud, report)\n"
            f"  max_over_time({EXPIRES}[{limits.no_data}]) > time() - {int(limits.no_data)}",
            "{{ $labels.tenant }}: no numbers",
            f"Tenant {{{{ $labels.tenant }}}} ({{{{ $labels.tenant_id }}}}, cloud {{{{ $labels.cloud }}}}) is enabled, but has "
            f"had no numbers for {spoken(limits.no_data)}: no poll has ever succeeded, or none within report.max_age. Run "
            '`office365-activations-exporter check --tenant {{ printf "%q" $labels.tenant }}`: it says why.',
            limits.pending,
            limits.keep,
        ),
        Alert(
            "Office365TenantNoData",
            INFO,
            f"last_over_time({TENANTS}[{limits.tenant_gone}])\n"
            f"unless on (tenant_id, cloud) last_over_time({TENANTS}[{limits.absent}])\n"
            f"unless on (tenant) last_over_time({TENANTS}[{limits.absent}])\n"
            f"and ignoring (tenant, tenant_id, cloud) last_over_time({EXPORTERS}[{limits.absent}])",
            "{{ $labels.tenant }}: no longer among the exporter's tenants",
            "Tenant {{ $labels.tenant }} ({{ $labels.tenant_id }}, cloud {{ $labels.cloud }}) was there within the last "
            f"{spoken(limits.tenant_gone)} and has no series any more. If it was removed or disabled on purpose, there is "
            "nothing to do: the alert resolves automatically. Otherwise check the configuration and the tenant files.",
            limits.pending,
        ),
        Alert(
            "Office365MetricsExpiring",
            WARNING,
            f"last_over_time({EXPIRES}[{hold}]) - time()\n"
            f"< {limits.expiring_share:.3g}\n"
            f"  * (last_over_time({EXPIRES}[{hold}]) - last_over_time({LAST_SUCCESS}[{hold}]))\n"
            f"> 0",
            "{{ $labels.tenant }}: its numbers are withdrawn in {{ $value | humanizeDuration }}",
            "No poll of {{ $labels.report }} for tenant {{ $labels.tenant }} has succeeded for most of report.max_age; in "
            "{{ $value | humanizeDuration }} its numbers are withdrawn. Fix the polls as the status page says, or raise "
            "report.max_age and reload to keep the old numbers longer.",
            limits.pending,
            limits.keep,
        ),
        Alert(
            "Office365ReportStale",
            WARNING,
            f"time() - last_over_time({REFRESHED}[{hold}]) > {int(limits.report_stale)}\n"
            f"and max_over_time({UP}[{hold}]) == 1",
            "{{ $labels.tenant }}: Microsoft's report is {{ $value | humanizeDuration }} old",
            "Polls of {{ $labels.report }} for tenant {{ $labels.tenant }} succeed, but the report that Microsoft gives is "
            "{{ $value | humanizeDuration }} old; 24 to 48 hours are usual. Check the service health in the admin center, and "
            "open a case with the request-id from the status page if it lasts. Ratio alerts of the tenant are silent meanwhile.",
            limits.pending,
            limits.keep,
        ),
        Alert(
            "Office365RowsRejected",
            INFO,
            f"min_over_time({REJECTED}[{limits.rows_rejected}]) > 0\n"
            f"and last_over_time({REJECTED}[{hold}] offset {limits.rows_rejected})\n"
            f"and last_over_time({REJECTED}[{hold}])",
            "{{ $labels.tenant }}: {{ $value }} rows of the report cannot be read",
            "{{ $value }} rows of {{ $labels.report }} for tenant {{ $labels.tenant }} have been unreadable for "
            f"{spoken(limits.rows_rejected)}; their products are missing from /metrics, the others are right. The log names the row "
            "and the error. If the newest release does not read them either, report it with that log line.",
            limits.pending,
            hold,
        ),
        Alert(
            "Office365QuotaExhausted",
            WARNING,
            # A call that becomes free is seen at times, before the poll that waits for it takes it.
            f"quantile_over_time(0.5, {QUOTA}[{limits.quota_exhausted}]) == 0\n"
            f"and last_over_time({QUOTA}[{hold}] offset {limits.quota_exhausted})",
            "{{ $labels.tenant }}: no calls to Microsoft Graph left",
            "The exporter's call budget for {{ $labels.report }} of tenant {{ $labels.tenant }}, which is half of Microsoft's "
            f"limit, has been used up for most of {spoken(limits.quota_exhausted)}. Raise poll.interval, check why polls are retried, and "
            "let only one exporter (or two replicas) poll this tenant with this app registration.",
            limits.pending,
            limits.keep,
        ),
    )


def exporter_alerts(limits: Thresholds) -> tuple[Alert, ...]:
    """Return the alerts on the exporter itself."""
    hold = limits.hold
    expiry = f"last_over_time({CREDENTIAL_EXPIRY}[{hold}]) - time()"
    soon, later = int(limits.credential_expiring_soon), int(limits.credential_expiring)
    known = f"last_over_time({EXPORTERS}[{limits.down_memory}])"
    build, version = f"{P}_exporter_build_info", "version, revision, pythonversion"
    renewed = (
        "Add a new {{ $labels.kind }} to the app registration, write it to the configured file, wait for a successful poll, then "
        "remove the old one. Restart only if systemd or a variable passes it to the exporter."
    )
    storage_of = asked(f"{P}_exporter_storage_up{{MINE}} == 0", "{{ .Labels.instance }} ")
    refused_by = asked(f"{P}_exporter_config_last_reload_successful{{MINE}} == 0", "{{ .Labels.instance }} ")
    down = asked("up{MINE} == 0", "{{ .Labels.instance }} ")
    return (
        Alert(
            "Office365ExporterDown",
            CRITICAL,
            f"count without ({REPLICA}) (\n"
            f"  # a target of a job of exporters, even one that never came up; not another program of the same job\n"
            f"  up == 0\n"
            f"    and ignoring ({REPLICA}) {known}\n"
            f"    unless ignoring ({REPLICA}) (up == 1 unless ignoring ({version}) {build})\n"
            f"  or up == 0 and ignoring ({version}) last_over_time({build}[{limits.down_memory}])\n"
            f")\n"
            f"or\n"
            f"# no target of it is left\n"
            f"0 * {known} unless max without ({REPLICA}) (up)",
            "{{ $labels.job }}: {{ if eq $value 0.0 }}the exporter is gone{{ else }}{{ $value }} exporters cannot be scraped"
            "{{ end }}",
            f"{{{{ if eq $value 0.0 }}}}Job {{{{ $labels.job }}}} had an exporter within the last {spoken(limits.down_memory)} and has "
            "no target any more: check whether its pod is scheduled and starts. If it was removed on purpose, silence this alert."
            f"{{{{ else }}}}Prometheus cannot scrape {down}(job {{{{ $labels.job }}}}). Check whether the process runs and starts, "
            "then the error of the target in Prometheus (TLS, password, port).{{ end }}",
            limits.down,
            limits.keep,
        ),
        Alert(
            "Office365ExporterAbsent",
            CRITICAL,
            f"absent({build})",
            "no office365-activations-exporter is scraped at all",
            f"For {spoken(limits.absent)} Prometheus has had no sample of any exporter: none is among its targets, or none "
            "answers. Check the scrape configuration (or the labels of the ServiceMonitor), then the process.",
            limits.absent,
        ),
        Alert(
            "Office365CredentialExpiring",
            WARNING,
            f"{expiry} <= {later} > {soon}",
            "{{ $labels.client_id }}: its {{ $labels.kind }} expires in {{ $value | humanizeDuration }}",
            "The {{ $labels.kind }} of app registration {{ $labels.client_id }} expires in {{ $value | humanizeDuration }}. "
            + renewed,
            limits.pending,
        ),
        Alert(
            "Office365CredentialExpiringSoon",
            CRITICAL,
            f"{expiry} <= {soon} > 0",
            "{{ $labels.client_id }}: its {{ $labels.kind }} expires in {{ $value | humanizeDuration }}",
            "The {{ $labels.kind }} of app registration {{ $labels.client_id }} expires in {{ $value | humanizeDuration }}; "
            "every tenant that uses it fails from then on. " + renewed,
            limits.pending,
        ),
        Alert(
            "Office365CredentialExpired",
            CRITICAL,
            f"-({expiry}) >= 0",
            "{{ $labels.client_id }}: its {{ $labels.kind }} expired {{ $value | humanizeDuration }} ago",
            "The {{ $labels.kind }} of app registration {{ $labels.client_id }} expired {{ $value | humanizeDuration }} ago; "
            "every tenant that uses it fails with the reason credentials. " + renewed,
            limits.pending,
        ),
        Alert(
            "Office365StorageDown",
            WARNING,
            f"{STORAGE} == 0",
            "{{ $labels.job }}: the exporter cannot use its storage",
            f"{storage_of}cannot use storage.path: polls and /metrics continue from memory, but a restart would lose the last "
            "numbers, and the history has a gap. It is tried again every minute. The log names the error: most often a full "
            "disk, a read-only volume, a missing permission or a second process on the same folder.",
            limits.down,
            limits.keep,
        ),
        Alert(
            "Office365ConfigReloadFailed",
            WARNING,
            f"{RELOADED} == 0",
            "{{ $labels.job }}: a new configuration was refused",
            f"{refused_by}keeps its old configuration; a restart would fail. The log lists every error with file, key "
            "and fix; `office365-activations-exporter --config.check` shows them again.",
            limits.pending,
            limits.keep,
        ),
        Alert(
            "Office365InternalError",
            WARNING,
            f'count without (tenant) (max_over_time({FAILING}{{reason="internal"}}[{limits.absent}]))\n'
            f"or\n"
            f"sum without ({REPLICA}) (\n"
            f'  increase({P}_exporter_failures_total{{reason="internal"}}[{limits.internal_window}])\n'
            f") > 0",
            "{{ $labels.job }}: polls fail because of a bug in the exporter",
            "Polls have failed because of a bug in the exporter (tenants or polls: {{ $value | humanize }}); other tenants are not affected. "
            "Please report it with the log lines at level error; they contain no secret.",
            None,
            limits.internal_window,
        ),
    )
