"""Write the rules: `python -m monitoring.rules [--set NAME=VALUE …] [--shortened] [--folder PATH]`."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from monitoring.rules import recording
from monitoring.rules.alerts import exporter_alerts, licence_alerts, tenant_alerts
from monitoring.rules.inhibitions import INHIBITIONS
from monitoring.rules.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitoring.rules.alerts import Alert
    from monitoring.rules.recording import Recording

ROOT = Path(__file__).resolve().parent.parent.parent
HEAD = "# Made by `make rules`; its thresholds are in monitoring/rules/thresholds.py.\n"


class _Dumper(yaml.SafeDumper):
    """Texts as people write them: expressions line by line, long sentences folded."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else ">" if len(text) > 120 else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def main(words: Sequence[str]) -> int:
    """Write the files; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.rules", description="Write the rules for Prometheus.")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a threshold; repeatable"
    )
    parser.add_argument("--shortened", action="store_true", help="for a trial run: windows of seconds, not of hours")
    parser.add_argument("--folder", type=Path, default=ROOT / "monitoring", help="where to (default: monitoring/)")
    chosen = parser.parse_args(words)
    limits = Thresholds().shortened() if chosen.shortened else Thresholds()
    try:
        for setting in chosen.set:
            limits = limits.changed(setting)
    except ValueError as error:
        parser.error(f"--set {error}")
    for name, text in files(limits).items():
        (chosen.folder / name).write_text(text, "utf-8")
    return 0


def files(limits: Thresholds) -> Mapping[str, str]:
    """Return the content of each generated file by its name."""
    sums = recording.ratios_and_sums()
    pages = runbook()

    def group(
        name: str, recordings: Sequence[Recording] = (), alerts: Sequence[Alert] = (), interval: object = None
    ) -> dict[str, object]:
        """Return a group, whose rules Prometheus evaluates one after the other."""
        rules = [*(rule.rule() for rule in recordings), *(alert.rule(pages) for alert in alerts)]
        pause = {"interval": str(interval)} if interval else {}
        return {"name": f"office365-activations-{name}", **pause, "rules": rules}

    groups = [
        group("report", (*recording.report_numbers(), *sums)),
        group("licences", alerts=licence_alerts(limits), interval=limits.slow_interval),
        group("tenants", recording.poll_outcomes(limits), tenant_alerts(limits)),
        group("exporter", recording.exporter_state(), exporter_alerts(limits)),
    ]
    past = recording.inlined((*recording.report_numbers(past=True), *sums))
    operator = {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": {"name": "office365-activations-exporter"},
        "spec": {"inhibitRules": [rule.for_operator() for rule in INHIBITIONS]},
    }
    return {
        "rules.yml": HEAD
        + "# Recording rules and alerts for Prometheus 2.42 and newer. severity: info (this week), warning\n"
        "# (today), critical (now). Nothing names a job: exporters are found by their metrics.\n"
        + dumped({"groups": groups}),
        "backfill_rules.yml": HEAD
        + "# The recorded numbers of the report from raw series alone, for `promtool tsdb create-blocks-from\n"
        + "# rules`: see docs/backfill.md. Not for rule_files.\n"
        + dumped({"groups": [group("past", past)]}),
        "inhibit_rules.yml": HEAD
        + "# To be added to Alertmanager's configuration file.\n"
        + dumped({"inhibit_rules": [rule.for_alertmanager() for rule in INHIBITIONS]}),
        "alertmanagerconfig.yml": HEAD + "# The same, for Prometheus' operator.\n" + dumped(operator),
    }


def dumped(document: Mapping[str, Any]) -> str:
    """Return a document as YAML."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


def runbook() -> str:
    """Return the address of the runbook's pages, from the one place where the repository's address is."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    return f"{urls['Documentation']}/runbook"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
