"""`check`, `once`, `history`, `--config.…` and the exit codes."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import yaml

from exporter.cli import parse
from exporter.cli.once import write_whole
from exporter.errors import ConfigError
from exporter.storage.database import FILE_NAME
from tests.builders import NOON
from tests.formats import parse_text
from tests.full_simulator import SCENARIOS, Simulator, SimulatorServer
from tests.process import COMMAND, configure, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent.parent / "golden" / "check"
USERS = "activations_user_counts"


def plain(text: str, server: SimulatorServer) -> str:
    """Return a text without what differs from run to run: ports, ids of requests, dates."""
    text = text.replace(server.cloud.login, "https://login").replace(server.cloud.graph, "https://graph")
    text = re.sub(r"localhost:\d+", "HOST", text)
    text = re.sub(r"(request-id: |Trace ID )[0-9a-f-]{36}", r"\1…", text)
    return re.sub(r"\b\d{4}-\d\d-\d\d\b", "YYYY-MM-DD", text)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_check_shows_numbers_or_the_fix_in_every_scenario(
    tmp_path: Path, golden: Callable[[Path, str], None], scenario: str
) -> None:
    """`check` prints the numbers, or what is wrong and its fix, in 80 columns; its exit code is 0 only if all is ok."""
    with SimulatorServer(Simulator(scenario=scenario), clock=lambda: NOON) as server:
        path = configure(server, tmp_path, {"poll": {"timeout": "2s"}})
        checked = run("check", "--config.file", str(path))
        text = plain(checked.stdout, server)
    assert checked.stderr == ""
    assert max(len(line) for line in text.splitlines() if "://" not in line) <= 80
    if scenario in {"flaky", "outage", "garbage"}:
        # Which fault a tenant meets first is the scenario's own chance: the shape is what is promised.
        assert checked.returncode == (0 if "3 of 3 reports are ok" in text else 1)
        assert text.count("fix: ") == 3 - int(re.search(r"(\d) of 3 reports", text).group(1))  # type: ignore[union-attr]
        return
    assert checked.returncode == (0 if scenario in {"healthy", "low-activation"} else 1)
    # Failures come in the order in which they happened.
    *blocks, total = text.split("\n\n")
    golden(GOLDEN / f"{scenario}.txt", "\n\n".join([*sorted(blocks), total]))


def test_check_without_consent_gives_the_consent_url(tmp_path: Path) -> None:
    """For a missing permission, the table and the JSON hold the address where an administrator grants it."""
    with SimulatorServer(Simulator(scenario="no-consent")) as server:
        path = configure(server, tmp_path)
        findings = json.loads(run("check", "--config.file", str(path), "--format", "json").stdout)
        tenant = server.simulator.tenants[0]
        url = f"{server.cloud.login}/{tenant.tenant_id}/adminconsent?client_id={tenant.client_id}"
    assert findings[0]["consent_url"] == url
    assert findings[0]["permission"] is False
    assert "Reports.Read.All is missing from the token's roles" in findings[0]["failure"]["hint"]


@pytest.mark.parametrize("fault", ["token-unknown-app", "token-no-principal", "token-no-consent"])
def test_check_gives_the_consent_url_where_nobody_ever_consented(tmp_path: Path, fault: str) -> None:
    """The login's three refusals of an app without consent end in the address where consent is given."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        tenant = server.simulator.tenants[0]
        server.simulator.inject(tenant, fault, times=None)
        checked = run("check", "--config.file", str(configure(server, tmp_path)))
        url = f"{server.cloud.login}/{tenant.tenant_id}/adminconsent?client_id={tenant.client_id}"
    assert checked.returncode == 1
    assert checked.stdout.count(url) == 1


def test_check_of_300_tenants_behind_a_dead_proxy_costs_seconds(tmp_path: Path) -> None:
    """A proxy that accepts and never answers: no tenant costs `poll.timeout`, most are not tried, all are reported."""
    tenant = {"client_id": "00000000-0000-0000-0000-000000000000", "auth": {"client_secret": "secret"}}
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        document = {
            "poll": {"timeout": "10m"},
            "http": {"proxy": f"http://127.0.0.1:{silent.getsockname()[1]}"},
            "tenants": [{**tenant, "name": f"t{number}", "tenant_id": str(UUID(int=number))} for number in range(300)],
        }
        path = tmp_path / "exporter.yaml"
        path.write_text(json.dumps(document), encoding="utf-8")
        started = time.monotonic()
        checked = run("check", "--config.file", str(path), "--format", "json")
    assert time.monotonic() - started < 150  # 18 s, and what a busy machine adds; it was 17 minutes
    assert {finding["failure"]["reason"] for finding in json.loads(checked.stdout)} == {"network"}
    assert checked.stderr.count("FAILED: network") == 300
    assert checked.stderr.count("not tried: ") >= 300 - 2 * 16 - 3


def test_check_of_named_tenants_asks_no_other(tmp_path: Path) -> None:
    """`--tenant`, repeated or not, leaves the others alone; an unknown name is refused before anything is asked."""
    with SimulatorServer(Simulator()) as server:
        path = str(configure(server, tmp_path))
        checked = run("check", "--config.file", path, "--tenant=contoso", "--tenant=northwind")
        asked = {record.tenant for record in server.simulator.log}
        refused = run("check", "--config.file", path, "--tenant=contos", "--offline")
    assert "2 of 2 reports are ok" in checked.stdout
    assert asked == {"contoso", "northwind"}
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "did you mean contoso?" in refused.stderr


def test_check_offline_needs_no_network(tmp_path: Path) -> None:
    """`check --offline` and `--config.check` say that a configuration is good though no host can be reached."""
    with SimulatorServer(Simulator()) as server:
        path = configure(server, tmp_path)
    for words in (("check", "--offline"), ("--config.check",)):
        checked = run(*words, "--config.file", str(path))
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "tenants: 3" in checked.stdout
        refused = run(*words, "--config.file", str(path), "--web.config.file", str(tmp_path / "missing.yml"))
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "missing.yml: cannot be read" in refused.stderr


def test_check_offline_names_files_that_are_missing(tmp_path: Path) -> None:
    """A secret's file that cannot be read is an error before any tenant is polled."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path, {"tenants": [tenant_of(server, {"client_secret_file": "/nowhere/secret"})]})
    checked = run("check", "--offline", "--config.file", str(path))
    assert checked.returncode == 2
    assert "/nowhere/secret" in checked.stderr


def tenant_of(server: SimulatorServer, auth: dict[str, str]) -> dict[str, object]:
    """Return the configuration of the first simulated tenant with another credential."""
    tenant = server.simulator.tenants[0]
    return {"name": tenant.name, "tenant_id": tenant.tenant_id, "client_id": tenant.client_id, "auth": auth}


def test_once_writes_what_the_simulation_served(tmp_path: Path) -> None:
    """`once` prints the metrics of one poll of everything: exactly the served numbers, and exit code 0."""
    with SimulatorServer(Simulator()) as server:
        path = configure(server, tmp_path)
        done = run("once", "--config.file", str(path))
        assert (done.returncode, done.stderr) == (0, "")
        assert_numbers_are_the_served_ones(done.stdout, server)


def assert_numbers_are_the_served_ones(text: str, server: SimulatorServer) -> None:
    """Hold the three gauges of a text exposition against the simulation."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for family in parse_text(text):
        for sample in family.samples:
            if sample.name.endswith("_users"):
                key = (sample.labels["tenant"], sample.labels["product_type"])
                found.setdefault(key, {})[sample.name.removeprefix("office365_activations_")] = sample.value
    names = ("assigned_users", "activated_users", "shared_computer_users")
    for tenant in server.simulator.tenants:
        day = server.simulator.refresh_date(server.now())
        served = server.simulator.served(tenant.name, USERS, day)
        ours = {
            (product, tuple(int(v[n]) for n in names)) for (name, product), v in found.items() if name == tenant.name
        }
        assert ours == served != set()


def test_once_replaces_its_file_whole_and_keeps_the_last_good_report(tmp_path: Path) -> None:
    """`once --output` leaves a readable file; where a poll failed, the last good report is in it and the code is 1."""
    output = tmp_path / "office365.prom"
    with SimulatorServer(Simulator()) as server:
        path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}, "poll": {"timeout": "2s"}})
        words = ("once", "--config.file", str(path), "--output", str(output))
        assert run(*words).returncode == 0
        first = output.read_text(encoding="utf-8")
        server.simulator.set_scenario("contoso", "outage")
        failed = run(*words)
        assert failed.returncode == 1
        assert 'reason="server"' in output.read_text(encoding="utf-8")
        assert_numbers_are_the_served_ones(output.read_text(encoding="utf-8"), server)
    assert "exporter_build_info" in first
    assert "process_" not in first
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ca.pem", "exporter.yaml", "office365.prom", "storage"]


def test_once_says_where_it_cannot_write(tmp_path: Path) -> None:
    """An output that cannot be written is bad usage, with the reason."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path)
        done = run("once", "--config.file", str(path), "--output", str(tmp_path / "missing" / "file"))
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_what_is_written_to_is_replaced_only_where_it_is_a_file(tmp_path: Path) -> None:
    """A link keeps leading to its file, which is written; a FIFO or a device is refused, not replaced by a file."""
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "text"
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="is not a regular file"):
        write_whole(tmp_path / "fifo", "text")
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.parametrize("command", ["check", "once"])
def test_a_command_that_is_interrupted_ends_at_once_and_is_no_success(tmp_path: Path, command: str) -> None:
    """Ctrl-C while Microsoft does not answer: code 1, without waiting for the poll's timeout of an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        document = {
            "poll": {"timeout": "1h"},
            "http": {"proxy": f"http://127.0.0.1:{silent.getsockname()[1]}"},
            "tenants": [{"tenant_id": "a.example", "client_id": str(UUID(int=1)), "auth": {"client_secret": "secret"}}],
        }
        path = tmp_path / "exporter.yaml"
        path.write_text(json.dumps(document), encoding="utf-8")
        words = ["env", "--default-signal=INT", *COMMAND, command, "--config.file", str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
            try:
                with silent.accept()[0] as connection:
                    connection.recv(1)  # it asks
                    process.send_signal(signal.SIGINT)
                    assert process.communicate(timeout=60)[0] == b""
            finally:
                process.kill()
    assert process.returncode == 1


def test_output_is_utf_8_in_every_locale(tmp_path: Path) -> None:
    """What other programs read, metrics and YAML, does not follow the locale's encoding."""
    azure = {"AZURE_TENANT_ID": "contoso.com", "AZURE_CLIENT_ID": str(UUID(int=1)), "AZURE_CLIENT_SECRET": "hush"}
    name = {"OFFICE365_EXPORTER_TENANT_NAME": "Müller"}
    words = [*COMMAND, "--config.print"]
    env = environment(PYTHONIOENCODING="latin-1", **azure, **name)
    assert "name: Müller\n".encode() in subprocess.run(words, capture_output=True, check=True, env=env).stdout


def test_output_to_a_full_disk_is_a_failure_in_one_line() -> None:
    """Where stdout cannot be written, the command says so and fails."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "demo", "--scenario=list"], stdout=full, stderr=subprocess.PIPE, check=False, env=environment()
        )
    assert (done.returncode, done.stderr) == (1, b"[Errno 28] No space left on device\n")


def test_the_level_of_the_log_by_variable(tmp_path: Path) -> None:
    """The variable of `--log.level` counts for the commands whose results people read, too."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = str(configure(server, tmp_path))
        checked = run("check", "--config.file", path, OFFICE365_EXPORTER_LOG__LEVEL="debug")
    assert "level=debug" in checked.stderr


def test_history_gives_the_stored_reports(tmp_path: Path) -> None:
    """`history` prints the reports that `once` stored, as CSV and as OpenMetrics."""
    with SimulatorServer(Simulator()) as server:
        prices = {"currency": "EUR", "product_types": {"Visio Plan 2": 13.5}}
        path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}, "prices": prices})
        run("once", "--config.file", str(path))
        rows = list(csv.DictReader(run("history", "--config.file", str(path)).stdout.splitlines()))
        day = server.simulator.refresh_date(server.now())
        served = server.simulator.served("contoso", USERS, day)
    assert {
        (
            row["product_type"],
            tuple(int(row[n]) for n in ("assigned_users", "activated_users", "shared_computer_users")),
        )
        for row in rows
        if row["tenant"] == "contoso"
    } == served
    text = run("history", "--config.file", str(path), "--format", "openmetrics", "--label", "job=o365").stdout
    assert text.endswith("# EOF\n")
    assert 'job="o365"' in text
    assert '_license_price{currency="EUR",job="o365",product_type="VISIO PLAN 2",tenant="fabrikam"} 13.5 ' in text
    only = run("history", "--config.file", str(path), "--tenant", "fabrikam", "--since", "2000-01-01").stdout
    assert {row["tenant"] for row in csv.DictReader(only.splitlines())} == {"fabrikam"}


def test_history_of_a_disabled_tenant_is_what_it_was(tmp_path: Path) -> None:
    """The past of a tenant that is not polled any more has the name, labels and prices that it is configured with."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}})
        run("once", "--config.file", str(path))
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["tenants"][0] |= {"name": "woodgrove", "enabled": False}
    document["tenants"].append(document["tenants"][0] | {"name": "other", "tenant_id": "other.com", "enabled": True})
    document["prices"] = {"currency": "EUR", "product_types": {"Microsoft 365 Apps for enterprise": 13.5}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    rows = csv.DictReader(run("history", "--config.file", str(path)).stdout.splitlines())
    assert {row["tenant"] for row in rows} == {"woodgrove"}
    text = run("history", "--config.file", str(path), "--format", "openmetrics").stdout
    labels = 'currency="EUR",product_type="MICROSOFT 365 APPS FOR ENTERPRISE",tenant="woodgrove"'
    assert f"_license_price{{{labels}}} 13.5 " in text


def test_history_logs_to_stderr(tmp_path: Path) -> None:
    """What `history` cannot read is logged on stderr, never among the lines to bill from."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}})
        run("once", "--config.file", str(path))
    with closing(sqlite3.connect(tmp_path / "storage" / FILE_NAME)) as connection, connection:
        connection.execute(
            "UPDATE product SET counts = 'damaged' WHERE product_type = (SELECT min(product_type) FROM product)"
        )
    for form in ("csv", "openmetrics"):
        done = run("history", "--config.file", str(path), "--format", form)
        assert "a stored report is left out" in done.stderr
        assert "left out" not in done.stdout


def test_remarks_on_the_web_configuration_go_to_stderr(tmp_path: Path) -> None:
    """`--config.check` prints its result, and nothing else, to stdout."""
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config: {}\n", encoding="utf-8")
    azure = {"AZURE_TENANT_ID": "contoso.com", "AZURE_CLIENT_ID": str(UUID(int=1)), "AZURE_CLIENT_SECRET": "hush"}
    done = run("--config.check", f"--web.config.file={web}", **azure)
    assert done.stdout == "the configuration is ok (tenants: 1)\n"
    assert "TLS is off" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("history",), "storage.path: is not set"),
        (("history", "--storage.path=x", "--since", "yesterday"), "--since: 'yesterday' is not a date"),
        (("history", "--storage.path=x", "--until", ""), "--until: '' is not a date"),
        (("history", "--storage.path=x", "--format=openmetrics", "--label", "job"), "--label: 'job' has no value"),
        (
            ("history", "--storage.path=x", "--format=openmetrics", "--step", "often"),
            "--step: 'often' is not a duration",
        ),
        (("history", "--storage.path=x", "--step", "10"), "--step: '10' has no unit; write 10s or 10m"),
        (("history", "--storage.path=x", "--step", "0"), "--step: '0' is not a duration"),
        (("serve", "--config.file", "/nowhere.yaml"), "/nowhere.yaml"),
        (("serve",), "no tenant is configured"),
        (("frobnicate",), "invalid choice"),
        (("serve", "--web.listen-adress", ":1"), "unrecognized arguments"),
        (("demo", "--scenario", "lists"), "low-activation"),
        (("demo", "--storage.path=x"), "unrecognized arguments"),
        (("demo", "--tenants", "0"), "at least 1"),
        (("demo", "--tenants", "many"), "--tenants: write a whole number, at least 1"),
        (("simulator", "--folder=/dev/null"), "--folder: cannot make /dev/null: File exists; choose another folder"),
        (("once", "--config.check"), "unrecognized arguments: --config.check"),
        (("serve", "--auth.secret", "hush"), "unrecognized arguments: --auth.secret\n"),
        (("login", "nobody"), "no tenant is configured"),
    ],
)
def test_bad_usage_is_exit_code_2_and_one_clear_message(words: tuple[str, ...], message: str) -> None:
    """What cannot be meant is refused with code 2, on stderr, without a traceback."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_effective_configuration_is_printed_without_secrets(tmp_path: Path) -> None:
    """`--config.print` shows every setting, and of the secrets nothing."""
    with SimulatorServer(Simulator()) as server:
        path = configure(server, tmp_path)
        secrets = [tenant.secret for tenant in server.simulator.tenants]
    printed = run("--config.print", "--config.file", str(path))
    assert printed.returncode == 0
    assert "tenant_id" in printed.stdout
    assert not [secret for secret in secrets if secret in printed.stdout + printed.stderr]


def test_no_command_means_serve() -> None:
    """Flags alone, or nothing at all, serve."""
    assert parse([]).command == "serve"
    arguments = parse(["--web.listen-address=:1", "--web.listen-address=:2", "--web.enable-lifecycle"])
    assert arguments.command == "serve"
    assert arguments.flags == {"web.listen_address": [":1", ":2"], "web.enable_lifecycle": True}


def test_version_and_help_are_printed() -> None:
    """--version and --help go to stdout with code 0, for the program and for each command."""
    assert re.fullmatch(r"office365-activations-exporter \d+\.\d+\.\d+\n", run("--version").stdout)
    for words in (("--help",), ("check", "--help"), ("demo", "--help")):
        helped = run(*words)
        assert (helped.returncode, helped.stderr) == (0, "")
        assert "usage: office365-activations-exporter" in helped.stdout


@pytest.mark.parametrize("command", ["demo", "simulator"])
def test_scenarios_are_listed(command: str) -> None:
    """`--scenario list` prints every scenario with a line about it, and that is all it does."""
    listed = run(command, "--scenario", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(SCENARIOS)


def test_demo_says_where_it_listens() -> None:
    """The help of `demo` gives its own default address, and none of the flags that it takes no notice of."""
    helped = run("demo", "--help").stdout
    assert "(default: 127.0.0.1:9365)" in " ".join(helped.split())
    assert "--config.file" not in helped


def test_history_of_an_unknown_tenant_prints_nothing(tmp_path: Path) -> None:
    """An unknown `--tenant` is refused before the header line, so that no file with a header alone is left."""
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = str(configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}}))
        run("once", "--config.file", path)
    for form in ("csv", "openmetrics"):
        refused = run("history", "--config.file", path, "--tenant=nobody", "--format", form)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "nobody" in refused.stderr
