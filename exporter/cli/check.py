"""`check`: is everything there that a tenant's report needs?"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from exporter import log
from exporter.cli.progress import for_each
from exporter.config import file_errors, load
from exporter.config.tenants import tenants
from exporter.errors import ConfigError
from exporter.quota import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.cli.arguments import Arguments
    from exporter.cli.examination import Finding


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Check and print a table or JSON; return 0 only if every tenant is fine."""
    config = load(arguments.flags, environ)
    log.set_up("error" if arguments.flags.get("log.level") is None else config.log.level, config.log.format)
    for notice in config.notices:
        sys.stderr.write(f"note: {notice}\n")
    known = tenants(config)
    if arguments.options["offline"]:
        if faults := file_errors(known, ca_file=config.http.ca_file):
            raise ConfigError(faults)
        sys.stdout.write(f"the configuration is good: {len(known)} tenants; Microsoft was not asked (--offline)\n")
        return 0
    from exporter.cli.examination import examine  # noqa: PLC0415 - --offline needs neither msal nor httpx
    from exporter.pipeline import Pipeline  # noqa: PLC0415 - the same

    pipeline = Pipeline(config, Budget(time.time), environ=environ)
    work = [(tenant, report) for tenant in known for report in tenant.reports]
    findings = for_each(
        work, lambda one: examine(pipeline, *one), concurrency=config.poll.concurrency, title="checking"
    )
    pipeline.close()
    if arguments.options["format"] == "json":
        sys.stdout.write(json.dumps([_plain(finding) for finding in findings], indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_table(findings))
    return 0 if all(finding.fine for finding in findings) else 1


def _plain(finding: Finding) -> dict[str, object]:
    return {"fine": finding.fine, **asdict(finding)}


def _table(findings: Sequence[Finding]) -> str:
    """Return one line a report, and below the table what is wrong and how to mend it."""
    header = ("TENANT", "REPORT", "TOKEN", "PERMISSION", "REPORT DATE", "PRODUCT TYPES", "RESULT")
    table = [header, *(_row(finding) for finding in findings)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in table
    ]
    for finding in findings:
        if (failure := finding.failure) is not None:
            lines += ["", failure.message, f"  mend: {failure.hint}"]
            lines += [f"  request-id: {failure.request_id}"] if failure.request_id else []
    fine = sum(finding.fine for finding in findings)
    return "\n".join([*lines, "", f"{fine} of {len(findings)} reports are fine", ""])


def _row(finding: Finding) -> tuple[str, ...]:
    result = "ok" if finding.failure is None else finding.failure.reason.value
    if finding.rejected_rows and finding.failure is None:
        result = f"ok, {finding.rejected_rows} rows rejected"
    return (
        finding.tenant,
        finding.report,
        "yes" if finding.token else "no",
        {True: "yes", False: "missing", None: "unknown"}[finding.permission],
        finding.refresh_date or "-",
        str(finding.product_types or "-"),
        result,
    )
