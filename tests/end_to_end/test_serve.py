"""`serve` from the outside: signals, reloads, restarts, failures."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from tests.full_simulator import Simulator, SimulatorServer
from tests.process import ALL_POLLED, Running, configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.full_simulator import Tenant


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    """Serve three simulated tenants."""
    with SimulatorServer(Simulator()) as made:
        yield made


def edit(path: Path, **changes: object) -> None:
    """Change keys at the top of a configuration file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(document | changes), encoding="utf-8")


def tenants_of(path: Path) -> list[dict[str, object]]:
    """Return the tenants of a configuration file."""
    tenants: list[dict[str, object]] = yaml.safe_load(path.read_text(encoding="utf-8"))["tenants"]
    return tenants


def test_three_tenants_are_polled_and_served(server: SimulatorServer, tmp_path: Path) -> None:
    """From start to numbers: up is 1 for each tenant, the endpoints answer, SIGTERM ends it with code 0 within 5 s."""
    path = configure(server, tmp_path)
    with Running("serve", "--config.file", str(path), log=tmp_path / "log") as exporter:
        text = exporter.wait_until(ALL_POLLED)
        assert text.count("\noffice365_activations_up{") == 3
        assert exporter.get("/-/healthy").status_code == 200
        assert exporter.get("/-/ready").status_code == 200
        page = exporter.get("/")
        assert "contoso" in page.text
        assert [tenant["state"] for tenant in exporter.get("/api/v1/status").json()["tenants"]] == ["ok"] * 3
        openmetrics = exporter.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert (
            openmetrics.headers["Content-Type"]
            == "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        )
        assert openmetrics.text.endswith("# EOF\n")
        assert 'tenant="fabrikam"' not in exporter.get("/metrics?tenant=contoso").text
        assert exporter.get("/metrics?tenant=nobody").status_code == 404
        code, seconds = exporter.stop()
    assert (code, seconds < 5) == (0, True)
    assert server.simulator.leaks == []


@pytest.mark.parametrize("scenario", ["outage", "throttled", "no-consent", "garbage"])
def test_a_scrape_never_waits_and_the_process_is_ready_whatever_microsoft_does(
    server: SimulatorServer, tmp_path: Path, scenario: str
) -> None:
    """With every tenant failing, the endpoints answer and /metrics names the reason."""
    for tenant in server.simulator.tenants:
        server.simulator.set_scenario(tenant, scenario)
    path = configure(server, tmp_path, {"poll": {"timeout": "2s"}})
    with Running("serve", "--config.file", str(path), log=tmp_path / "log") as exporter:
        text = exporter.wait_until(r'^office365_activations_failing\{.*tenant="northwind"\} 1\.0')
        assert exporter.get("/-/ready").status_code == 200
        assert "office365_activations_assigned_users{" not in text
        assert 'office365_activations_up{report="activations_user_counts",tenant="northwind"} 0.0' in text


def test_a_hanging_microsoft_delays_no_scrape_and_no_stop(server: SimulatorServer, tmp_path: Path) -> None:
    """While every poll hangs, a scrape answers and SIGTERM still ends the process within 5 s with code 0."""
    server.latency = 3600
    path = configure(server, tmp_path)
    with Running("serve", "--config.file", str(path), log=tmp_path / "log") as exporter:
        exporter.wait_until("tenants_pending 3.0")
        while len({record.tenant for record in server.simulator.log}) < 3:  # all polls are under way
            time.sleep(0.02)
        code, seconds = exporter.stop(signal.SIGINT)
    assert (code, seconds < 5) == (0, True)


def test_a_restart_brings_the_numbers_back_before_any_poll(server: SimulatorServer, tmp_path: Path) -> None:
    """After a restart the last good report is on /metrics with its true time, and no quota is spent."""
    path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}})
    words = ("serve", "--config.file", str(path))

    def lines(text: str) -> list[str]:
        kept = ("_users{", "last_success", "report_refresh", "office365_activations_up{")
        return [line for line in text.splitlines() if any(name in line for name in kept) and not line.startswith("#")]

    with Running(*words, log=tmp_path / "log-1") as exporter:
        before = lines(exporter.wait_until(ALL_POLLED))
        exporter.process.kill()
        exporter.process.wait()
    calls = dict(server.simulator.calls)
    with Running(*words, log=tmp_path / "log-2") as exporter:
        after = lines(exporter.wait_until(r"^office365_activations_up"))
        time.sleep(1)
        assert 'quota_remaining_calls{report="activations_user_counts",tenant="contoso"} 6.0' in exporter.metrics()
        assert exporter.stop()[0] == 0
    assert after == before
    assert dict(server.simulator.calls) == calls


def test_a_reload_changes_what_changed_and_nothing_else(server: SimulatorServer, tmp_path: Path) -> None:
    """Removed and disabled tenants disappear, a renamed one keeps its numbers, an unchanged one is not polled again."""
    path = configure(server, tmp_path)
    words = ("serve", "--config.file", str(path), "--web.enable-lifecycle")
    with Running(*words, log=tmp_path / "log") as exporter:
        exporter.wait_until(ALL_POLLED)
        calls = dict(server.simulator.calls)
        contoso, fabrikam, northwind = tenants_of(path)
        edit(path, tenants=[contoso | {"name": "renamed"}, fabrikam | {"enabled": False}])
        answer = httpx.post(f"http://{exporter.address}/-/reload", trust_env=False)
        assert answer.status_code == 200, answer.text
        text = exporter.wait_until(r'assigned_users\{.*tenant="renamed"')
        assert not [name for name in ("contoso", "fabrikam", "northwind") if f'tenant="{name}"' in text]
        edit(path, tenants=[contoso, fabrikam, northwind])
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_until(r'assigned_users\{.*tenant="northwind"')
        time.sleep(0.5)
        again = server.simulator.calls
        first = server.simulator.tenants[0]
        assert {key: count for key, count in again.items() if key[0] == first.tenant_id} == {
            key: count for key, count in calls.items() if key[0] == first.tenant_id
        }


def test_a_bad_configuration_changes_nothing_and_shows(server: SimulatorServer, tmp_path: Path) -> None:
    """A reload of a bad file is refused in the answer, the metric and the log, and everything goes on as before."""
    path = configure(server, tmp_path)
    words = ("serve", "--config.file", str(path), "--web.enable-lifecycle")
    with Running(*words, log=tmp_path / "log") as exporter:
        before = exporter.wait_until(ALL_POLLED)
        edit(path, pol={"interval": "1h"})
        answer = httpx.post(f"http://{exporter.address}/-/reload", trust_env=False)
        assert answer.status_code == 500
        assert "poll" in answer.text
        text = exporter.wait_until(r"config_last_reload_successful 0\.0")
        assert [line for line in text.splitlines() if "_users{" in line] == [
            line for line in before.splitlines() if "_users{" in line
        ]
        assert "did you mean poll" in exporter.log


def test_consent_granted_under_a_running_exporter_is_seen(server: SimulatorServer, tmp_path: Path) -> None:
    """A tenant without consent is tried again at once after a reload, with a fresh token."""
    contoso: Tenant = server.simulator.tenants[0]
    server.simulator.revoke_consent(contoso)
    path = configure(server, tmp_path)
    with Running("serve", "--config.file", str(path), log=tmp_path / "log") as exporter:
        exporter.wait_until(r'^office365_activations_failing\{.*reason="permission".*tenant="contoso"')
        server.simulator.grant_consent(contoso)
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_until(r'^office365_activations_up\{.*tenant="contoso"\} 1\.0')


def test_a_second_signal_ends_it_at_once(server: SimulatorServer, tmp_path: Path) -> None:
    """A second SIGTERM ends the exporter at once."""
    server.latency = 3600
    path = configure(server, tmp_path)
    with Running("serve", "--config.file", str(path), log=tmp_path / "log") as exporter:
        while not server.simulator.log:  # a poll is under way, for which the first signal waits
            time.sleep(0.02)
        started = time.monotonic()
        exporter.process.send_signal(signal.SIGTERM)
        exporter.wait_for_log("stopping signal=SIGTERM|stopping.*SIGTERM")
        code, _ = exporter.stop()
        # On a machine that is slow enough the first signal is through before the second one comes.
        assert code == 128 + signal.SIGTERM or (code == 0 and time.monotonic() - started > 1)


def test_systemd_is_notified_of_ready_alive_and_stopping(server: SimulatorServer, tmp_path: Path) -> None:
    """A unit of Type=notify with a watchdog gets READY, WATCHDOG and STOPPING."""
    path = configure(server, tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(120)
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with Running("serve", "--config.file", str(path), log=tmp_path / "log", **more) as exporter:
            heard: list[str] = []
            while "READY=1" not in heard or heard.count("WATCHDOG=1") < 2:
                heard.append(notify.recv(100).decode())
            exporter.process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard:
                heard.append(notify.recv(100).decode())
            assert exporter.process.wait(timeout=60) == 0


def test_two_processes_do_not_share_a_storage(server: SimulatorServer, tmp_path: Path) -> None:
    """A second `serve` on the same storage is refused, with the first one's process named."""
    path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}})
    with Running("serve", "--config.file", str(path), log=tmp_path / "log-1") as first:
        first.wait_until(r"^office365_activations_up")
        with pytest.raises(AssertionError, match=rf"exit code 2[\s\S]*in use by process {first.process.pid}"):
            Running("serve", "--config.file", str(path), log=tmp_path / "log-2").__enter__()


def test_an_address_in_use_is_exit_code_2(server: SimulatorServer, tmp_path: Path) -> None:
    """Where the address is taken, the process says so and ends with code 2."""
    path = configure(server, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("serve", "--config.file", str(path), f"--web.listen-address={address}")
        with pytest.raises(AssertionError, match=rf"exit code 2[\s\S]*{address}"):
            Running(*words, log=tmp_path / "log").__enter__()


def test_the_log_can_be_json(server: SimulatorServer, tmp_path: Path) -> None:
    """With --log.format=json each line of stderr is one JSON object."""
    path = configure(server, tmp_path)
    words = ("serve", "--config.file", str(path), "--log.format=json", "--log.level=debug")
    with Running(*words, log=tmp_path / "log") as exporter:
        exporter.wait_until(ALL_POLLED)
        exporter.stop()
        records = [json.loads(line) for line in exporter.log.splitlines()]
    assert {"ts", "level", "msg"} <= set.intersection(*(set(record) for record in records))
    assert os.linesep not in records[0]["msg"]
