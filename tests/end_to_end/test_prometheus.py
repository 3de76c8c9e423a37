"""Real Prometheus scrapes the exporter."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import bcrypt
import pytest
import trustme
import yaml

from tests.full_simulator import Simulator
from tests.process import COMMAND, Running, environment
from tests.prometheus import prometheus
from tests.tools import require

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

USERS = "activations_user_counts"
GAUGES = ("assigned_users", "activated_users", "shared_computer_users")


@pytest.mark.parametrize("name", ["prometheus", "prometheus3"])
def test_prometheus_has_exactly_the_numbers_that_were_served(tmp_path: Path, name: str) -> None:
    """PromQL gives for each tenant and product type of `demo` the served numbers, and ratios need no label juggling."""
    simulator = Simulator()  # the same seed makes the same tenants and numbers as the demo's own
    with (
        Running("demo", log=tmp_path / "log") as demo,
        prometheus(name, demo.address, tmp_path / "prometheus") as server,
    ):
        day = simulator.refresh_date(time.time())
        expected = {
            (tenant.name, row.product_type.upper()): row.counts
            for tenant in simulator.tenants
            for row in simulator.rows(tenant, USERS, day)
        }
        # The history's numbers are there at once; those of today are once each report was polled by this process.
        server.wait_for(
            "count(office365_activations_polls_total == 1 and on(tenant, report) office365_activations_up == 1) == 4"
        )
        for position, gauge in enumerate(GAUGES):
            found = {
                (one["metric"]["tenant"], one["metric"]["product_type"]): float(one["value"][1])
                for one in server.query(f"office365_activations_{gauge}")
            }
            assert found == {key: counts[position] for key, counts in expected.items()}
        ratios = server.query("office365_activations_activated_users / office365_activations_assigned_users")
        assert len(ratios) == len(expected)
        for one in ratios:
            assigned, activated, _ = expected[one["metric"]["tenant"], one["metric"]["product_type"]]
            assert float(one["value"][1]) == pytest.approx(activated / assigned)
        assert server.query('up{job="office365"}')[0]["value"][1] == "1"


def test_a_thousand_tenants_over_tls_with_client_certificate_and_password(tmp_path: Path) -> None:
    """Over TLS, with client certificate and password, each sample of 1,000 tenants arrives and is exact."""
    count = 1000
    lines = ("prometheus", "prometheus3")
    for name in lines:
        require(name)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for who, names in (("server", ("127.0.0.1",)), ("client", ("prometheus.example",))):
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{who}.pem")
    pair = {"cert_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server.pem")}
    clients = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(tmp_path / "ca.pem")}
    users = {"scraper": bcrypt.hashpw(b"a password", bcrypt.gensalt(10)).decode()}
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"tls_server_config": pair | clients, "basic_auth_users": users}), encoding="utf-8")
    job = {
        "scheme": "https",
        "basic_auth": {"username": "scraper", "password": "a password"},
        "tls_config": {
            "ca_file": str(tmp_path / "ca.pem"),
            "cert_file": str(tmp_path / "client.pem"),
            "key_file": str(tmp_path / "client.pem"),
        },
    }
    simulator = Simulator(tenants=count)
    words = ("demo", "--tenants", str(count), "--web.config.file", str(web))
    polled = "office365_activations_polls_total == 1 and on(tenant, report) office365_activations_up == 1"
    with Running(*words, log=tmp_path / "log") as demo, ExitStack() as stack:
        servers = {
            name: stack.enter_context(prometheus(name, demo.address, tmp_path / name, job=job)) for name in lines
        }
        for name, server in servers.items():
            server.wait_for(f"count({polled}) == {count} + 1")  # the first tenant has both reports
            day = simulator.refresh_date(time.time())
            expected = {
                (tenant.name, row.product_type.upper()): row.counts
                for tenant in simulator.tenants
                for row in simulator.rows(tenant, USERS, day)
            }
            for position, gauge in enumerate(GAUGES):
                found = {
                    (one["metric"]["tenant"], one["metric"]["product_type"]): float(one["value"][1])
                    for one in server.query(f"office365_activations_{gauge}")
                }
                assert found == {key: counts[position] for key, counts in expected.items()}, name
            seconds = float(server.query('scrape_duration_seconds{job="office365"}')[0]["value"][1])
            samples = float(server.query('scrape_samples_scraped{job="office365"}')[0]["value"][1])
            assert samples > 3 * len(expected) + 10 * count
            print(f"{name}: {samples:.0f} samples in {seconds:.3f} s")  # noqa: T201 - quoted, not asserted


@pytest.mark.parametrize("pause", [0.0, 0.3, 1.5])
def test_the_demo_tells_where_to_look_and_ends_with_code_0(pause: float) -> None:
    """`demo` prints the addresses to try on stdout, logs to stderr only, and stops on Ctrl-C with code 0."""
    words = [*COMMAND, "demo", "--tenants", "2", "--web.listen-address=127.0.0.1:0"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
        time.sleep(pause)  # a signal may come at any moment of the start
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "2 tenants, 90 days of history" in "".join(lines)
    assert "/metrics" in "".join(lines)
