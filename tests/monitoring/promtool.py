"""Unit tests of the rules, written as functions of time and run by the real promtool."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Sample = float | str | None
    Signal = Callable[[float], Sample]

RULES = Path(__file__).parent.parent.parent / "monitoring" / "rules.yml"
P = "office365_activations_"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
STALE = "stale"
ENDS = (6 * HOUR, 15 * HOUR, 24 * HOUR, 36 * HOUR, 100 * HOUR, float("inf"))
"""Scenarios that end between two of these share a run of promtool."""

SHOWN = ("alertname", "severity", "job", "namespace", "tenant", "product_type", "reason", "client_id")


@dataclass(frozen=True)
class Series:
    """One series: its name, labels, and its sample at a time (None: no sample)."""

    name: str
    labels: Mapping[str, str]
    signal: Signal | float

    def at(self, time: float) -> Sample:
        """Return the sample at a time."""
        return self.signal(time) if callable(self.signal) else self.signal

    def written(self, step: float, until: float) -> dict[str, str]:
        """Return it as an entry of `input_series`."""
        labels = ", ".join(f'{name}="{value}"' for name, value in self.labels.items())
        samples = [self.at(number * step) for number in range(int(until / step) + 1)]
        return {"series": f"{self.name}{{{labels}}}", "values": " ".join(_runs(samples))}


def _runs(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield promtool's shorthand, run by run."""
    for sample, run in groupby(samples):
        count = len(list(run))
        if sample is None:
            yield f"_x{count}"
        elif sample == STALE:
            yield " ".join([STALE] * count)
        else:
            yield f"{sample:.10g}x{count - 1}"


@dataclass(frozen=True)
class Scenario:
    """What is scraped, and which alerts fire when.

    Attributes:
        name: a sentence.
        series: what is scraped.
        firing: at each time (seconds) the alerts that fire, as `alert(…)` gives them.
        ignored: alerts that this scenario is not about.
        step: between scrapes and evaluations.
    """

    name: str
    series: Sequence[Series]
    firing: Mapping[float, Sequence[str]]
    ignored: Sequence[str] = field(default=())
    step: float = 5 * MINUTE

    def inputs(self, number: int, until: float) -> list[dict[str, str]]:
        """Return its `input_series`, in jobs of its own."""
        series = [
            Series(one.name, {**one.labels, "job": f"{one.labels['job']}-{number}"}, one.signal) for one in self.series
        ]
        written = [one.written(self.step, min(until, max(self.firing))) for one in series]
        return [one for one in written if not re.fullmatch(r"_x\d+", one["values"])]

    def checks(self, number: int) -> list[dict[str, object]]:
        """Return its entries of `promql_expr_test`."""
        other = f', alertname!~"{"|".join(self.ignored)}"' if self.ignored else ""
        mine = f'{{alertstate="firing", job=~"(.+-{number})?"{other}}}'
        query = f'label_replace(count by ({", ".join(SHOWN)}) (ALERTS{mine}), "job", "$1", "job", "(.+)-{number}")'
        return [
            {
                "expr": query,
                "eval_time": f"{int(time // self.step * self.step)}s",  # ALERTS has samples at evaluations only
                "exp_samples": [{"labels": alert, "value": 1} for alert in alerts],
            }
            for time, alerts in self.firing.items()
        ]


def alert(name: str, severity: str, **labels: str) -> str:
    """Return the labels of a firing alert, as a scenario expects it; the job is there unless it is set to nothing."""
    chosen = {"alertname": f"Office365{name}", "severity": severity, "job": "office365", **labels}
    return "{" + ", ".join(f'{key}="{value}"' for key, value in chosen.items() if value) + "}"


def check(program: str, scenarios: Sequence[Scenario], folder: Path, *areas: str) -> None:
    """Hold the rules of some areas (parts of their groups' names) against scenarios.

    Scenarios of one step that end about the same time are one run, each in a job of its own: a run for each would take
    minutes, and so would alerts that look back a week, evaluated on short scenarios for as long as the longest lasts.
    """
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    chosen_groups = [group for group in groups if any(area in group["name"] for area in areas)]
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": chosen_groups}), "utf-8")

    def run(one: Scenario) -> tuple[float, float]:
        return one.step, next(limit for limit in ENDS if max(one.firing) <= limit)

    for (step, limit), chosen in groupby(sorted(scenarios, key=run), key=run):
        file = folder / f"{int(step)}-{limit}.yml"
        numbered = list(enumerate(chosen))
        until = max(max(one.firing) for _, one in numbered)
        test = {
            "interval": f"{int(step)}s",
            "input_series": [line for number, one in numbered for line in one.inputs(number, until)],
            "promql_expr_test": [entry for number, one in numbered for entry in one.checks(number)],
        }
        document = {"rule_files": [str(rules)], "evaluation_interval": f"{int(step)}s", "tests": [test]}
        file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        ended = promtool(program, "test", "rules", file)
        assert ended.returncode == 0, named(ended.stdout + ended.stderr, dict(numbered))


def check_numbers(
    program: str, series: Sequence[Series], expected: Mapping[str, Mapping[str, float]], folder: Path
) -> None:
    """Hold recorded numbers against what they should be: for each name, labels and value."""
    test = {
        "interval": "5m",
        "input_series": [one.written(5 * MINUTE, HOUR) for one in series],
        "promql_expr_test": [
            {
                "expr": name,
                "eval_time": "1h",
                "exp_samples": [{"labels": name + labels, "value": value} for labels, value in samples.items()],
            }
            for name, samples in expected.items()
        ],
    }
    file = folder / "numbers.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": [test]}), "utf-8")
    ended = promtool(program, "test", "rules", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def named(output: str, scenarios: Mapping[int, Scenario]) -> str:
    """Return promtool's output with the scenarios' names in the place of their numbers, without what passed."""
    shown = re.sub(
        r'expr: "label_replace.*?\(\.\+-(\d+)\)\?.*", time', lambda found: scenarios[int(found[1])].name, output
    )
    return re.sub(r"\n\s*\n+", "\n", shown)


def promtool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and return how it ended."""
    return subprocess.run([require(name), *arguments], capture_output=True, text=True, check=False, timeout=120)


def clock(offset: float = 0.0) -> Signal:
    """Return a timestamp that is always so far from now."""
    return lambda time: time + offset


def masked(
    series: Sequence[Series], present: Callable[[float], bool], step: float = 5 * MINUTE, **labels: str
) -> list[Series]:
    """Return the series as they are scraped while `present`, with a stale marker after, and with more labels."""

    def signal(one: Series) -> Signal:
        def sample(time: float) -> Sample:
            if present(time):
                return one.at(time)
            return STALE if present(time - step) and time else None

        return sample

    return [Series(one.name, {**one.labels, **labels}, signal(one)) for one in series]


def tenant(
    name: str = "contoso",
    *,
    assigned: Signal | float = 200.0,
    activated: Signal | float = 150.0,
    shared: Signal | float = 0.0,
    target: Signal | float = 0.5,
    refreshed: Signal | None = None,
    product: str = "APPS",
    reason: Callable[[float], str] = lambda _: "",
    reports: Sequence[str] = ("activations_user_counts",),
    job: str = "office365",
) -> list[Series]:
    """Return what an exporter says of a tenant; `reason` is why polls fail at a time, empty while they succeed."""
    mine = {"job": job, "tenant": name}
    product_labels = {**mine, "product_type": product}
    reasons = (
        "config",
        "credentials",
        "permission",
        "tenant",
        "unsupported",
        "redirect",
        "internal",
        "report",
        "download",
        "throttled",
        "network",
        "server",
    )

    def last_success(time: float) -> float:
        while reason(time) and time > 0:
            time -= HOUR
        return max(time, 0.0)

    def failing(which: str) -> Signal:
        return lambda time: (
            1.0 if reason(time) == which else STALE if time and reason(time - 5 * MINUTE) == which else None
        )

    found = [
        Series(P + "tenant_info", {**mine, "tenant_id": f"id-{name}", "cloud": "global"}, 1.0),
        Series(P + "assigned_users", product_labels, assigned),
        Series(P + "activated_users", product_labels, activated),
        Series(P + "shared_computer_users", product_labels, shared),
        Series(P + "target_ratio", product_labels, target),
    ]
    for report in reports:
        of_report = {**mine, "report": report}
        found += [
            Series(P + "report_refresh_timestamp_seconds", of_report, refreshed or clock(-2 * DAY)),
            Series(P + "up", of_report, lambda time: 0.0 if reason(time) else 1.0),
            Series(P + "last_success_timestamp_seconds", of_report, last_success),
            Series(P + "data_expires_timestamp_seconds", of_report, lambda time: last_success(time) + 72 * HOUR),
            Series(P + "last_poll_rejected_rows", of_report, 0.0),
            Series(P + "quota_remaining_calls", of_report, 6.0),
        ]
        found += [Series(P + "failing", {**of_report, "reason": which}, failing(which)) for which in reasons]
    return found


def exporter(
    *,
    job: str = "office365",
    storage: Signal | float = 1.0,
    reloaded: Signal | float = 1.0,
    internal: Signal | float = 0.0,
    expiry: Signal | None = None,
) -> list[Series]:
    """Return what an exporter says of itself."""
    mine = {"job": job}
    return [
        Series(P + "exporter_build_info", {**mine, "version": "1", "revision": "r", "pythonversion": "3.11"}, 1.0),
        Series(P + "exporter_storage_up", mine, storage),
        Series(P + "exporter_config_last_reload_successful", mine, reloaded),
        Series(P + "exporter_failures_total", {**mine, "reason": "internal"}, internal),
        Series(
            P + "exporter_credential_expiry_timestamp_seconds",
            {**mine, "client_id": "app", "kind": "secret"},
            expiry or clock(90 * DAY),
        ),
    ]


def scraped(
    series: Sequence[Series], present: Callable[[float], bool] = lambda _: True, step: float = 5 * MINUTE, **labels: str
) -> list[Series]:
    """Return series as one target has them, with its `up`: 0 while it cannot be scraped."""
    chosen = {"instance": "a", **labels}
    job = series[0].labels["job"]
    up = Series("up", {"job": job, **chosen}, lambda time: 1.0 if present(time) else 0.0)
    return [up, *masked(series, present, step, **chosen)]


def pods(series: Sequence[Series], every: float, until: float, step: float = 5 * MINUTE) -> list[Series]:
    """Return series as a pod has them that is replaced by another again and again; a scrape is lost each time."""
    found = []
    for number in range(int(until / every) + 1):
        begin, end = number * every, (number + 1) * every - step

        def present(time: float, begin: float = begin, end: float = end) -> bool:
            return begin <= time < end

        labels = {"instance": f"10.0.0.{number}:9365", "pod": f"exporter-{number}"}
        up = Series("up", {"job": series[0].labels["job"]}, 1.0)
        found += masked([up, *series], present, step, **labels)
    return found
