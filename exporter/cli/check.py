"""`check`: tests the configuration, each tenant's token, permission and report."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from exporter.auth.credentials import Credentials
from exporter.auth.hints import consent_fixing, consent_url
from exporter.cli.common import chosen_tenants, for_each, set_up_log
from exporter.config import load
from exporter.errors import ConfigError, Reason
from exporter.microsoft import Microsoft
from exporter.quota import Budget
from exporter.reports import REPORTS
from exporter.state import Failure, Outcome, Standing
from exporter.web.webconfig import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from exporter.cli import Arguments
    from exporter.config import Config, Tenant
    from exporter.state import Key

_TIMEOUT, _SHORT_TIMEOUT = 15.0, 3.0
"""Seconds that one tenant may take, a person is waiting; the short time after another could not be reached."""

_UNREACHABLE = 3
"""After so many tenants of a cloud that could not be reached, and none that could, the others are not tried."""

_WIDTH, _HEAD = 80, 9


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one report of a tenant, as `--format json` has it.

    Attributes:
        token: whether a token was given.
        permission: whether the token carries the permission; None where that is not known.
        refresh_date: the report's date; empty where it was not read.
        rows: its counts by column, for each product type.
        consent_url: where an administrator grants the permission; empty if it is there.
    """

    tenant: str
    tenant_id: str
    report: str
    token: bool
    permission: bool | None
    refresh_date: str
    rows: Mapping[str, Mapping[str, int]] | None
    rejected_rows: int
    failure: Failure | None
    consent_url: str


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Check and print tables or JSON; return 0 only if every report is ok."""
    config = load(arguments.flags, environ)
    set_up_log(config, "error")
    chosen = chosen_tenants(config, arguments.options["tenant"] or (), "--tenant")
    check_offline(config, chosen if arguments.options["offline"] else (), environ)
    if arguments.options["offline"]:
        sys.stdout.write(
            f"the configuration is ok (tenants: {len(chosen)}); nothing was requested from Microsoft (--offline)\n"
        )
        return 0
    microsoft = Microsoft(config, Budget(time.time), environ=environ)
    examination = _Examination(microsoft)
    as_json = arguments.options["format"] == "json"
    findings = for_each(
        [(tenant, key) for tenant in chosen for key in tenant.keys],
        lambda one: examination.examine(*one),
        concurrency=config.root.poll.concurrency,
        title="checking",
        done=lambda finding: _show_failure(finding, sys.stderr if as_json else sys.stdout),
    )
    microsoft.close()
    ok = [finding for finding in findings if finding.failure is None]
    if as_json:
        plain = [{"ok": finding.failure is None, **asdict(finding)} for finding in findings]
        sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(map(_table, ok)) + f"{len(ok)} of {len(findings)} reports are ok\n")
    return 0 if len(ok) == len(findings) else 1


def check_offline(config: Config, tenants: Iterable[Tenant], environ: Mapping[str, str]) -> None:
    """Print the configuration's notices, and read every file that `serve` would use, without any request.

    Of the credentials, those of `tenants` are read.

    Raises:
        ConfigError: some cannot be used; all are named.
    """
    for notice in config.notices:
        sys.stderr.write(f"note: {notice}\n")
    errors: tuple[str, ...] = ()
    try:
        Microsoft(config, Budget(time.time), environ=environ).close()
    except ConfigError as error:
        errors += error.errors
    errors += Credentials().errors(tenants)
    if config.root.web.config.file is not None:
        try:
            WebConfigFile(config.root.web.config.file).load()
        except ConfigError as error:
            errors += error.errors
    if errors:
        raise ConfigError(errors)


class _Examination:
    """Reads reports, and stops trying a cloud that cannot be reached at all."""

    def __init__(self, microsoft: Microsoft) -> None:
        self._microsoft = microsoft
        self._lock = threading.Lock()
        self._unreachable: Counter[str] = Counter()
        self._reached: set[str] = set()

    def examine(self, tenant: Tenant, key: Key) -> Finding:
        """Read the report once, and note what its token says."""
        outcome = self._poll(tenant, key)
        report, failure, snapshot = REPORTS[key.report], outcome.failure, outcome.snapshot
        columns = [column.name for column in report.columns]
        token = self._microsoft.tokens.held(tenant)
        granted = token.permissions if token is not None else None
        permission = None if granted is None else report.permission in granted
        consent = consent_fixing(tenant, failure) if failure is not None else ""
        return Finding(
            tenant=tenant.name,
            tenant_id=tenant.tenant_id,
            report=key.report,
            token=token is not None,
            permission=permission,
            refresh_date=snapshot.refresh_date.isoformat() if snapshot else "",
            rows={row.product_type: dict(zip(columns, row.counts, strict=True)) for row in snapshot.rows}
            if snapshot
            else None,
            rejected_rows=outcome.rejected_rows or 0,
            failure=failure,
            consent_url=consent_url(tenant) if permission is False else consent,
        )

    def _poll(self, tenant: Tenant, key: Key) -> Outcome:
        cloud = tenant.cloud.authority
        with self._lock:
            tried = self._unreachable[cloud]
            reached = cloud in self._reached or not tried
        if tried >= _UNREACHABLE and not reached:
            message = f"{tenant.name}: not tried: {tried} tenants of this cloud could not be reached"
            untried = Failure(Reason.NETWORK, message, "fix the first failure, then check again")
            return Outcome(0.0, 0.0, failure=untried)
        timeout = min(tenant.poll.timeout, _TIMEOUT if reached else _SHORT_TIMEOUT)
        poll = tenant.poll.model_copy(update={"timeout": timeout})
        outcome = self._microsoft.poller.poll(replace(tenant, poll=poll), key, Standing())
        with self._lock:
            if outcome.failure is not None and outcome.failure.reason is Reason.NETWORK:
                self._unreachable[cloud] += 1
            else:
                self._reached.add(cloud)
        return outcome


def _show_failure(finding: Finding, out: TextIO) -> None:
    failure = finding.failure
    if failure is None:
        return
    lines = [f"{finding.tenant}  {finding.report}  FAILED: {failure.reason.value}"]
    details = [failure.message.removeprefix(f"{finding.tenant}: "), f"fix: {failure.hint}"]
    if finding.consent_url and finding.consent_url not in failure.hint:
        details.append(f"an administrator of the tenant grants consent at {finding.consent_url}")
    if failure.request_id:
        details.append(f"request-id: {failure.request_id}")
    for detail in details:
        lines += textwrap.wrap(
            detail,
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,  # an address is kept whole, to be copied
            break_on_hyphens=False,
        )
    out.write("\n".join([*lines, "", ""]))
    out.flush()


def _table(finding: Finding) -> str:
    """Return the numbers of one report, at most 80 columns wide."""
    rejected = f", {finding.rejected_rows} rows rejected" if finding.rejected_rows else ""
    lines = [f"{finding.tenant}  {finding.report}  ok, as of {finding.refresh_date}{rejected}"]
    names = [column.name.removesuffix("_users").removesuffix("_computer") for column in REPORTS[finding.report].columns]
    heads = [(name if len(name) <= _HEAD else name.rpartition("_")[2]).upper() for name in names]
    rows = {"PRODUCT TYPE": heads}
    for product_type, counts in (finding.rows or {}).items():
        rows[product_type] = [f"{count:,}" for count in counts.values()]
    widths = [max(map(len, column)) for column in zip(*rows.values(), strict=True)]
    room = _WIDTH - 2 - sum(2 + width for width in widths)
    for name, cells in rows.items():
        shown = name if len(name) <= room else f"{name[: room // 2]}…{name[room // 2 + 1 - room :]}"
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"  {shown:<{room}}{numbers}")
    return "\n".join([*lines, "", ""])
