"""The rules, held against their code, real promtool of both lines, the metrics' names and the runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.errors import Reason
from exporter.metrics import NAMES as METRICS
from monitoring.rules.__main__ import files, main, runbook
from monitoring.rules.alerts import FIXES
from monitoring.rules.recording import MAY_PASS, NEEDS_OPERATOR
from monitoring.rules.thresholds import Thresholds, Window
from tests.monitoring.names import RECORDED, metrics_in, unknown
from tests.monitoring.promtool import DAY, HOUR, P, Scenario, Series, clock, exporter, masked, promtool, scraped, tenant
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
MONITORING = ROOT / "monitoring"
RULES = MONITORING / "rules.yml"
RUNBOOK = ROOT / "docs" / "runbook"
TEXTS = ROOT / "tests" / "golden" / "monitoring" / "alerts.txt"
NAMES = {
    "ActivationRatioLow",
    "ActivationRatioFell",
    "AssignedUsersDropped",
    "ReportStale",
    "TenantFailing",
    "ManyTenantsFailing",
    "TenantNoData",
    "MetricsExpiring",
    "CredentialExpiring",
    "CredentialExpiringSoon",
    "CredentialExpired",
    "RowsRejected",
    "StorageDown",
    "ExporterDown",
    "ExporterAbsent",
    "ConfigReloadFailed",
    "QuotaExhausted",
    "InternalError",
}


def rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
both = pytest.mark.parametrize("name", ["promtool", "promtool3"])


@pytest.mark.parametrize("name", sorted(files(Thresholds())))
def test_generated(name: str, golden: Callable[[Path, str], None]) -> None:
    """Each generated file is what the code makes (else: make rules)."""
    golden(MONITORING / name, files(Thresholds())[name])


@both
@pytest.mark.parametrize("file", ["rules.yml", "backfill_rules.yml"])
def test_valid(name: str, file: str) -> None:
    """Prometheus 2 and 3 accept the rules, without a remark of their linter."""
    ended = promtool(name, "check", "rules", "--lint=all", "--lint-fatal", MONITORING / file)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_alertmanager_accepts_the_inhibitions(tmp_path: Path) -> None:
    """Alertmanager's own tool accepts a configuration with the shipped inhibitions."""
    rest = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    inhibitions = yaml.safe_load((MONITORING / "inhibit_rules.yml").read_text("utf-8"))
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(rest | inhibitions), "utf-8")
    require("amtool")
    ended = promtool("amtool", "check-config", tmp_path / "alertmanager.yml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    named = set(re.findall(r"Office365\w+", (MONITORING / "inhibit_rules.yml").read_text("utf-8")))
    assert named <= {rule["alert"] for rule in ALERTS}


def test_alerts_are_the_promised_ones() -> None:
    """The alerts have the names that other rules, silences and inhibitions build on."""
    assert {rule["alert"].removeprefix("Office365") for rule in ALERTS} == NAMES


def test_every_reason_has_its_fix() -> None:
    """Each reason of a failed poll has a sentence that says what to do, and a row in the runbook."""
    assert set(FIXES) == {str(reason) for reason in Reason} == {*NEEDS_OPERATOR, *MAY_PASS}
    page = (RUNBOOK / "Office365TenantFailing.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) - {"reason"} == set(FIXES)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_names(rule: dict[str, Any]) -> None:
    """A rule reads only metrics that the exporter, or a rule, writes, in its expression and in its texts."""
    assert unknown(rule["expr"]) == set()
    for text in rule.get("annotations", {}).values():
        for query in re.findall(r"printf `(.*?)`", text):
            assert unknown(query) == set()


def test_recorded_names_say_level_metric_and_operation() -> None:
    """Recorded names are those of Prometheus' convention, and each is recorded once."""
    recorded = [rule["record"] for rule in rules() if "record" in rule]
    assert len(recorded) == len(set(recorded)) == len(RECORDED)
    assert all(re.fullmatch(r"[a-z_]+:office365_activations_[a-z_]+:[a-z]+", name) for name in recorded)


@alert
def test_words(rule: dict[str, Any]) -> None:
    """Every alert has a severity, one line of summary, a description, a short `for`, and an address of its page."""
    annotations = rule["annotations"]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "\n" not in annotations["summary"]
    assert rule.get("for", "0m") in {"0m", "5m", "10m", "15m"}
    assert annotations["runbook_url"] == f"{runbook()}/{rule['alert']}.md"
    page = (RUNBOOK / f"{rule['alert']}.md").read_text("utf-8")
    assert page.startswith(f"# {rule['alert']}\n")
    assert rule["labels"]["severity"] in page.split("\n\n")[1]
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Fix"]
    assert {"promql", "sh"} <= set(re.findall(r"^```(\w+)$", page, re.MULTILINE))
    assert "kubectl" in page


def test_the_runbook_is_not_ahead() -> None:
    """The runbook has no page for an alert that is gone, and its index names each page."""
    pages = {path.stem for path in RUNBOOK.glob("Office365*.md")}
    assert pages == {rule["alert"] for rule in ALERTS}
    assert set(re.findall(r"\((Office365\w+)\.md\)", (RUNBOOK / "README.md").read_text("utf-8"))) == pages


def test_queries_of_the_runbook(tmp_path: Path) -> None:
    """Every query to paste is valid PromQL, and names metrics that exist."""
    queries = [
        line
        for page in sorted(RUNBOOK.glob("*.md"))
        for block in re.findall(r"```promql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for line in block.splitlines()
    ]
    recording = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": recording}]}), "utf-8")
    ended = promtool("promtool", "check", "rules", "--lint=none", tmp_path / "rules.yml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {name for query in queries for name in unknown(query)} == set()


def in_trouble() -> list[Scenario]:
    """Return scenarios in which every alert fires."""
    low = tenant("low", activated=60.0, shared=10.0)
    fell = tenant("fell", activated=lambda time: 190.0 if time < 20 * DAY else 150.0)
    dropped = tenant("dropped", assigned=lambda time: 200.0 if time < 20 * DAY else 20.0, activated=20.0)
    weeks = [*exporter(), *low, *fell, *dropped]
    failing = [tenant(f"f{number}", reason=lambda _: "credentials") for number in range(10)]
    odd = tenant("odd", refreshed=clock(-100 * HOUR))
    odd_numbers = {f"{P}last_poll_rejected_rows": 2.0, f"{P}quota_remaining_calls": 0.0}
    odd = [Series(one.name, one.labels, odd_numbers.get(one.name, one.signal)) for one in odd]
    unseen = [one for one in tenant("unseen") if "tenant_info" in one.name]
    leaver = masked(tenant("leaver"), lambda time: time < 7 * HOUR)
    sick = exporter(storage=0.0, reloaded=0.0, internal=lambda time: float(time > 7 * HOUR), expiry=clock(20 * DAY))
    hours = scraped(
        [
            *sick,
            *odd,
            *unseen,
            *leaver,
            *tenant("lonely", reason=lambda _: "permission"),
            *(one for series in failing for one in series),
        ]
    )
    soon = scraped([*exporter(job="soon", expiry=clock(6 * DAY))], lambda time: time < 7 * HOUR)
    expired = masked(scraped(exporter(job="expired", expiry=clock(-DAY))), lambda time: time < 7 * HOUR)
    expiring = scraped(
        [*exporter(job="old"), *tenant("expiring", job="old", reason=lambda time: "network" if time else "")]
    )
    return [
        Scenario("weeks", scraped(weeks, step=HOUR), {20 * DAY + 12 * HOUR: []}, step=HOUR),
        Scenario("hours", [*hours, *soon, *expired], {8 * HOUR: []}),
        Scenario("days", expiring, {52 * HOUR: []}),
        Scenario("nobody", scraped(tenant(), step=HOUR), {3 * HOUR: []}, step=HOUR),
    ]


@both
def test_texts(name: str, golden: Callable[[Path, str], None], tmp_path: Path) -> None:
    """What each alert says, as Prometheus writes it, is the text that was reviewed, with numbers and names."""
    texts: dict[str, str] = {}
    for number, scenario in enumerate(in_trouble()):
        checked = [
            {
                "alertname": rule,
                "eval_time": f"{int(max(scenario.firing))}s",
                "exp_alerts": [{"exp_labels": {"no": "such"}}],
            }
            for rule in sorted({rule["alert"] for rule in ALERTS})
        ]
        series = [one.written(scenario.step, max(scenario.firing)) for one in scenario.series]
        document = {
            "rule_files": [str(RULES)],
            "evaluation_interval": f"{int(scenario.step)}s",
            "tests": [
                {
                    "interval": f"{int(scenario.step)}s",
                    "input_series": [one for one in series if not re.fullmatch(r"_x\d+", one["values"])],
                    "alert_rule_test": checked,
                }
            ],
        }
        file = tmp_path / f"{number}.yml"
        file.write_text(yaml.safe_dump(document), "utf-8")
        ended = promtool(name, "test", "rules", file)
        for found in re.finditer(
            r"Labels:\{(.*?)\}\s+Annotations:\{(description=.*)\}$", ended.stdout + ended.stderr, re.MULTILINE
        ):
            title = re.findall(r'alertname="(\w+)"', found[1])[0]
            texts.setdefault(title + re.findall(r'severity="\w+"', found[1])[0], f"{found[1]}\n{found[2]}\n")
    assert {title.partition("severity")[0] for title in texts} == {rule["alert"] for rule in ALERTS}
    text = "\n".join(texts[title] for title in sorted(texts))
    assert "<error" not in text
    assert "<no value>" not in text
    golden(TEXTS, text)


def test_thresholds_are_changed_without_editing_expressions(tmp_path: Path) -> None:
    """`--set` changes a number wherever it stands; an unknown name or a wrong value is refused with what would do."""
    assert main(["--folder", str(tmp_path), "--set", "report_stale=5d", "--set", "many_tenants=3"]) == 0
    text = (tmp_path / "rules.yml").read_text("utf-8")
    assert "345600" not in text
    assert text.count("432000") == 2
    assert ">= 3\n" in text
    with pytest.raises(ValueError, match="'stale' is not a threshold; choose one of slow_interval"):
        Thresholds().changed("stale=5d")
    with pytest.raises(ValueError, match="report_stale: 'soon' is not a duration; write it like 90m"):
        Thresholds().changed("report_stale=soon")


@both
def test_shortened_rules_are_valid(name: str, tmp_path: Path) -> None:
    """The switch for trial runs makes rules that promtool accepts, with windows of half a minute at most."""
    require(name)
    assert main(["--folder", str(tmp_path), "--shortened"]) == 0
    assert promtool(name, "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yml").returncode == 0
    windows = [Window.parse(text) for text in re.findall(r"\[(\w+)[:\]]", (tmp_path / "rules.yml").read_text("utf-8"))]
    assert windows
    assert max(windows) <= 30


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('sum by (reason) (increase(a_total{b="c and d"}[5m])) or vector(0)', {"a_total"}),
        ("a:b / on (x) group_left (y) (c > 0) unless ignoring (z) d", {"a:b", "c", "d"}),
        ("time() - e < 48 * 3600 # f", {"e"}),
        ("g * 1e5", {"g"}),
    ],
)
def test_metrics_in(expression: str, expected: set[str]) -> None:
    """The names are found in an expression without taking labels, functions or words for them."""
    assert metrics_in(expression) == expected


def test_every_metric_is_used_or_explained() -> None:
    """Every metric of the exporter is read by a rule or a dashboard, or explained in the docs."""
    docs = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    used = {name for rule in rules() for name in metrics_in(rule["expr"])}
    assert {name for name in METRICS if name not in used and f"`{name}`" not in docs} == set()
