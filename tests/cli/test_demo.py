"""`demo` and `simulator`: what they print works as it is printed, and every panel has data."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.formats import parse_text
from tests.process import COMMAND, environment, run
from tests.tools import free_address, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PROGRAM = Path(sys.executable).parent / "office365-activations-exporter"
PREFIX = "office365_activations_"


@contextlib.contextmanager
def printing(last: str, *words: str | Path, **more: str) -> Iterator[str]:
    """Run a command, and give what it prints up to the line that begins with `last`; SIGTERM has to end it with 0."""
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(**more)
    ) as process:
        hung = threading.Timer(60, process.kill)
        hung.start()
        try:
            assert process.stdout is not None
            text = ""
            for line in process.stdout:
                text += line
                if line.startswith(last):
                    break
            else:
                raise AssertionError(f"no line begins with {last!r}: {text}")
            hung.cancel()
            yield text
            process.terminate()
            assert process.wait(timeout=60) == 0
        finally:
            hung.cancel()
            process.kill()


def test_the_commands_that_demo_prints_work_as_they_are_printed() -> None:
    """After `make demo`, with the program on no PATH, every printed command can be pasted into a shell."""
    require("curl")
    program = os.path.relpath(PROGRAM)
    with printing("Press Ctrl-C", program, "demo", "--tenants=2", "--web.listen-address=127.0.0.1:0") as text:
        commands = re.findall(r"^  [A-Z][a-z ]+  +((?:curl|\S*office365).*)$", text, re.MULTILINE)
        assert len(commands) == 4
        outputs = [
            subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60).stdout
            for command in commands
        ]
    metrics, one_tenant, reports, scenarios = outputs
    assert 'tenant="fabrikam"' in metrics
    assert 'tenant="fabrikam"' not in one_tenant
    assert len({row["refresh_date"] for row in csv.DictReader(reports.splitlines())}) >= 90
    assert "low-activation" in scenarios


def test_the_printed_commands_follow_the_flags_of_the_endpoints(tmp_path: Path) -> None:
    """With another path, a prefix and a Unix socket, what demo prints still works as it is printed."""
    require("curl")
    flags = [f"--web.listen-address=unix:{tmp_path}/s", "--web.external-url=http://x.example/a%20b"]
    with printing("Press Ctrl-C", *COMMAND, "demo", "--tenants=1", *flags, "--web.telemetry-path=/m") as text:
        for command in re.findall(r"(curl .*)$", text, re.MULTILINE):
            got = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60).stdout
            assert f"{PREFIX}assigned_users" in got


def test_a_whole_block_by_variable() -> None:
    """The variable that sets all of `web` leads demo and healthcheck to its address, as it does serve."""
    address = free_address()
    web = f'{{"listen_address": ["{address}"]}}'
    with printing("Press Ctrl-C", *COMMAND, "demo", "--tenants=1", OFFICE365_EXPORTER_WEB=web) as text:
        assert f"http://{address}/metrics" in text
        assert run("healthcheck", OFFICE365_EXPORTER_WEB=web).returncode == 0


def test_demo_takes_the_variables_of_the_endpoints() -> None:
    """As in the image, `demo` listens where the variables say, and stores nothing where they say."""
    address = free_address()
    variables = {
        "OFFICE365_EXPORTER_WEB__LISTEN_ADDRESS": address,
        "OFFICE365_EXPORTER_WEB__ROUTE_PREFIX": "/o365",
        "OFFICE365_EXPORTER_STORAGE__PATH": "/dev/null/never",
        "AZURE_TENANT_ID": "nobody",
    }
    with printing("Press Ctrl-C", *COMMAND, "demo", "--tenants=1", **variables):
        assert httpx.get(f"http://{address}/o365/-/ready", trust_env=False).status_code == 200
        assert run("healthcheck", **variables).returncode == 0


def test_demo_has_data_for_every_kind_of_panel() -> None:
    """One tenant with both reports and a secret that expires within the month; one product without activations."""
    with printing("Press Ctrl-C", *COMMAND, "demo", "--web.listen-address=127.0.0.1:0") as text:
        address = re.search(r"http://(\S+)/metrics", text)
        assert address is not None
        families = {family.name: family.samples for family in parse_text(scrape_once_it_polls(address[1]))}
    assert {sample.labels["tenant"] for sample in families[f"{PREFIX}platform_activations"]} == {"contoso"}
    assert len(families[f"{PREFIX}exporter_credential_expiry_timestamp_seconds"]) == 1
    idle = [
        sample.value
        for name in ("assigned_users", "activated_users")
        for sample in families[f"{PREFIX}{name}"]
        if sample.labels == {"tenant": "contoso", "product_type": "MICROSOFT EXCEL ADVANCED ANALYTICS"}
    ]
    assert idle[0] > 0
    assert idle[1] == 0


def scrape_once_it_polls(address: str) -> str:
    """Return the first scrape of an exporter that has begun to poll: then it knows its credentials."""
    while True:
        text = httpx.get(f"http://{address}/metrics", trust_env=False, timeout=30).text
        if f"{PREFIX}exporter_credential_expiry_timestamp_seconds{{" in text:
            return text
        time.sleep(0.1)


def test_a_new_tenant_has_no_past() -> None:
    """Where Microsoft has no report yet, the demonstration has no history either."""
    words = [*COMMAND, "demo", "--scenario=new-tenant", "--tenants=1", "--web.listen-address=127.0.0.1:0"]
    with printing("Press Ctrl-C", *words) as text:
        path = re.search(r"--config\.file (\S+)", text)
        assert path is not None
        history = run("history", "--config.file", path[1])
    assert "0 days of history" in text
    assert len(history.stdout.splitlines()) <= 1


def test_the_simulator_prints_what_points_an_exporter_at_it(tmp_path: Path) -> None:
    """Of what `simulator` prints, the first part leads `check` to every tenant, the second to the first one alone."""
    words = [*COMMAND, "simulator", "--folder", str(tmp_path), "--tenants", "2"]
    with printing("export OFFICE365_EXPORTER_HTTP__DOWNLOAD_HOSTS", *words) as text:
        every, first = text.split("# Or only")
        for part, count in ((every, 2), (first, 1)):
            exports = [shlex.split(line)[1] for line in part.splitlines() if line.startswith("export ")]
            checked = run("check", **dict(export.split("=", 1) for export in exports))
            assert checked.stderr == ""
            assert f"{count} of {count} reports are ok" in checked.stdout


def test_the_simulators_folder_may_be_relative_and_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written into a relative folder can be used from everywhere; a file of somebody else is kept."""
    monkeypatch.chdir(tmp_path)
    with printing("export OFFICE365_EXPORTER_HTTP__DOWNLOAD_HOSTS", *COMMAND, "simulator", "--folder=own") as text:
        path = re.search(r"CONFIG__FILE=(\S+)", text)
        assert path is not None
        assert "3 of 3 reports are ok" in run("check", "--config.file", path[1]).stdout
    (tmp_path / "exporter.yaml").write_text("mine", encoding="utf-8")
    refused = run("simulator", "--folder=.")
    assert refused.returncode == 2
    assert "was not written by a simulator" in refused.stderr
    assert (tmp_path / "exporter.yaml").read_text(encoding="utf-8") == "mine"


def test_many_tenants_share_one_expired_secret(tmp_path: Path) -> None:
    """`--tenants 40 --scenario expired-secret` is a provider's one app, known in forty tenants."""
    words = [*COMMAND, "simulator", "--folder", str(tmp_path), "--tenants=40", "--scenario=expired-secret"]
    with printing("export OFFICE365_EXPORTER_CONFIG__FILE", *words):
        text = (tmp_path / "exporter.yaml").read_text(encoding="utf-8")
    assert len(set(re.findall(r"tenant_id: (\S+)", text))) == 40
    assert len(set(re.findall(r"client_id: (\S+)", text))) == 1
    assert len(set(re.findall(r"client_secret: (\S+)", text))) == 1
