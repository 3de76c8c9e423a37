"""From Microsoft's answer to the notification: simulator, exporter, Prometheus, Alertmanager, receiver, all real."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from monitoring.rules.__main__ import main, runbook
from monitoring.rules.inhibitions import INHIBITIONS as RULES
from tests.process import Running
from tests.prometheus import prometheus
from tests.tools import TOOLS, free_address, missing, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

pytestmark = pytest.mark.long

INHIBITIONS = Path(__file__).parent.parent.parent / "monitoring" / "inhibit_rules.yml"
TEXTS = Path(__file__).parent.parent / "golden" / "monitoring" / "alerts.txt"
JOBS = {
    "low": ("--tenants", "2", "--scenario", "low-activation"),
    "expired": ("--tenants", "2", "--scenario", "expired-secret"),
    "forty": ("--tenants", "40", "--scenario", "expired-secret"),
}
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
TIMEOUT = 100.0


class Receiver:
    """A webhook that keeps every alert it is notified of."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                with receiver._changed:
                    receiver.alerts += [one for one in body["alerts"] if one["status"] == "firing"]
                    receiver._changed.notify_all()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def notified(self) -> set[frozenset[tuple[str, str]]]:
        """Return the labels of every notification."""
        return {frozenset(one["labels"].items()) for one in self.alerts}

    def wait_for_labels(self, wanted: set[frozenset[tuple[str, str]]]) -> None:
        """Wait until there is a notification with each of these sets of labels."""
        with self._changed:
            assert self._changed.wait_for(lambda: wanted <= self.notified(), TIMEOUT), wanted - self.notified()

    def named(self, alert: str, job: str) -> list[dict[str, Any]]:
        """Return the notifications of an alert."""
        labels = {"alertname": f"Office365{alert}", "job": job}
        return [one for one in self.alerts if labels.items() <= one["labels"].items()]

    def wait_for(self, alert: str, job: str) -> dict[str, Any]:
        """Return the first notification of an alert."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.named(alert, job), TIMEOUT), (alert, self.alerts)
            return self.named(alert, job)[0]


def with_templates(name: str) -> list[str]:
    """Return the words that start an Alertmanager where its templates are.

    Debian's looks at a fixed path. Where it is only unpacked, it gets that path in a mount namespace of its own.
    """
    program = str(require(name))
    unpacked = TOOLS.parent / ("sid" if name.endswith("3") else "own") / TEMPLATES.relative_to("/")
    if TEMPLATES.exists() or not unpacked.exists():
        return [program]
    namespace = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        missing(f"{name} is unpacked, not installed, and unshare may not give it {TEMPLATES} here")
    share = TEMPLATES.parent.parent
    mount = f'mount -t tmpfs none {share} && mkdir {TEMPLATES.parent} && ln -s "$0" {TEMPLATES} && exec "$@"'
    return [*namespace, "sh", "-c", mount, str(unpacked), program]


@contextmanager
def alertmanager(name: str, receiver: Receiver, folder: Path) -> Iterator[str]:
    """Run an Alertmanager with the shipped inhibitions; yield its address."""
    folder.mkdir()
    configuration = {
        "route": {
            "receiver": "webhook",
            "group_by": ["alertname", "job", "namespace", "reason"],
            "group_wait": "1s",
            "group_interval": "1s",
        },
        "receivers": [
            {
                "name": "webhook",
                "webhook_configs": [
                    {"url": f"http://127.0.0.1:{receiver.server.server_port}/", "send_resolved": False}
                ],
            }
        ],
        **yaml.safe_load(INHIBITIONS.read_text("utf-8")),
    }
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(configuration), "utf-8")
    address = free_address()
    words = [
        *with_templates(name),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: httpx.get(f"http://{address}/-/ready", trust_env=False).is_success)
            yield address
        finally:
            process.terminate()


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for what somebody else does; a server that does not listen yet is waited for too."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        try:
            if true():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


@pytest.mark.parametrize("line", ["", "3"])
def test_notifications(line: str, tmp_path: Path) -> None:
    """Operators are notified of low ratios and failing tenants, with numbers and fix; once for a shared secret."""
    for program in ("prometheus", "alertmanager"):
        require(program + line)
    assert main(["--folder", str(tmp_path), "--shortened"]) == 0
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        address = stack.enter_context(alertmanager(f"alertmanager{line}", receiver, tmp_path / "alertmanager"))
        demos = {
            job: stack.enter_context(Running("demo", *words, log=tmp_path / f"{job}.log"))
            for job, words in JOBS.items()
        }
        more = {
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [demo.address]}]} for job, demo in demos.items()
            ],
        }
        rules = tmp_path / "rules.yml"
        stack.enter_context(prometheus(f"prometheus{line}", "", tmp_path / "prometheus", rules=rules, more=more))

        many = receiver.wait_for("ManyTenantsFailing", "forty")
        assert many["labels"]["reason"] == "credentials"
        assert many["labels"]["severity"] == "critical"
        assert "add a new one to the app registration" in many["annotations"]["description"]

        single = receiver.wait_for("TenantFailing", "expired")
        assert single["labels"]["reason"] == "credentials"
        assert single["annotations"]["summary"].startswith(single["labels"]["tenant"])
        assert single["annotations"]["runbook_url"] == f"{runbook()}/Office365TenantFailing.md"

        low = receiver.wait_for("ActivationRatioLow", "low")
        assert low["labels"]["severity"] == "info"
        assert "%" in low["annotations"]["summary"]
        assert low["annotations"]["summary"].endswith("the target is 50%")

        def held_back() -> bool:
            query = {"filter": ['job="forty"', 'alertname="Office365TenantFailing"']}
            alerts = httpx.get(f"http://{address}/api/v2/alerts", params=query, trust_env=False).json()
            return len(alerts) == 40 and all(one["status"]["inhibitedBy"] for one in alerts)

        wait_until(held_back)
        assert receiver.named("TenantFailing", "forty") == []
        assert not any(
            one["labels"]["job"] == "low" for one in receiver.alerts if "Failing" in one["labels"]["alertname"]
        )


def fired(alert: str) -> dict[str, str]:
    """Return the labels with which Prometheus fires an alert, as promtool showed them."""
    return dict(
        re.findall(
            r'(\w+)="([^"]*)"', re.findall(rf'^alertname="{alert}".*$', TEXTS.read_text("utf-8"), re.MULTILINE)[0]
        )
    )


@pytest.mark.parametrize("line", ["", "3"])
def test_each_inhibition_holds_its_alerts_back(line: str, tmp_path: Path) -> None:
    """Each shipped inhibition holds its alerts back where the labels agree, and lets them go when its source ends."""
    require("alertmanager" + line)
    sources, held, others = [], [], []
    for number, rule in enumerate(RULES):
        for target in rule.targets:
            source = fired(rule.source) | {"job": f"{number}-{target}"}
            sources.append(source)
            same = {label: source[label] for label in rule.equal if label in source}
            alert = fired(target) | same
            if "tenant" in rule.equal:
                alert["tenant"] = source["tenant"]
            held.append(alert)
            others += [alert | {label: f"another-{number}-{target}"} for label in rule.equal]
    keys = [{frozenset(alert.items()) for alert in alerts} for alerts in (sources, held, others)]
    with Receiver() as receiver, alertmanager(f"alertmanager{line}", receiver, tmp_path / "alertmanager") as address:

        def post(alerts: list[dict[str, str]], **more: str) -> None:
            body = [{"labels": labels, **more} for labels in alerts]
            httpx.post(f"http://{address}/api/v2/alerts", json=body, trust_env=False).raise_for_status()

        post(sources + held + others)
        receiver.wait_for_labels(keys[0] | keys[2])
        assert len(held) == len(keys[1]) == sum(len(rule.targets) for rule in RULES)
        assert not receiver.notified() & keys[1]
        post(sources, endsAt=datetime.now(UTC).isoformat())
        receiver.wait_for_labels(keys[1])
