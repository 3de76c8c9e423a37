"""Tenants that are split over two exporters: Prometheus tells whether each is covered exactly once."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.docs.markdown import ROOT, blocks
from tests.full_simulator import Simulator, SimulatorServer
from tests.monitoring.test_live import health_of_rules
from tests.process import Running, configure
from tests.prometheus import prometheus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prometheus import Prometheus

pytestmark = pytest.mark.long

RELEASES = ("first", "second")
COVERED = "count by (tenant) (group by (tenant, job) (office365_activations_tenant_info))"


def write(folder: Path, release: str, tenants: list[dict[str, Any]]) -> None:
    """Write a release's file of tenants."""
    (folder / f"{release}.yaml").write_text(yaml.safe_dump({"tenants": tenants}), "utf-8")


def alerts(server: Prometheus, alert: str) -> set[str]:
    """Return the tenants that an alert, pending or firing, is about."""
    found = server.query(f'ALERTS{{alertname="{alert}"}}')
    return {one["metric"]["tenant_id"] for one in found}


@pytest.mark.parametrize("name", ["prometheus", "prometheus3"])
def test_every_tenant_is_covered_exactly_once(name: str, tmp_path: Path) -> None:
    """The rules of docs/sizing.md are silent while two releases share the tenants, and name one in both or in none."""
    (rules,) = [block.text for block in blocks(ROOT / "docs/sizing.md") if block.text.startswith("groups:")]
    (tmp_path / "rules.yml").write_text(rules, "utf-8")
    with SimulatorServer(Simulator(tenants=4)) as simulation:
        path = configure(simulation, tmp_path)
        document = yaml.safe_load(path.read_text("utf-8"))
        first, second, third, fourth = document.pop("tenants")
        for release in RELEASES:
            settings = document | {"tenant_files": [f"{release}.yaml"]}
            (tmp_path / f"{release}-exporter.yaml").write_text(yaml.safe_dump(settings), "utf-8")
        write(tmp_path, "first", [first, second])
        write(tmp_path, "second", [third, fourth])
        with (
            Running("--config.file", str(tmp_path / "first-exporter.yaml"), log=tmp_path / "first.log") as one,
            Running("--config.file", str(tmp_path / "second-exporter.yaml"), log=tmp_path / "second.log") as other,
        ):
            targets = zip(RELEASES, (one, other), strict=True)
            jobs = [
                {"job_name": release, "static_configs": [{"targets": [running.address]}]}
                for release, running in targets
            ]
            more = {"scrape_configs": jobs}
            with prometheus(name, "", tmp_path / "prometheus", rules=tmp_path / "rules.yml", more=more) as server:
                server.wait_for(f"count({COVERED} == 1) == 4")
                while health_of_rules(server) != {"ok"}:
                    time.sleep(0.1)
                assert alerts(server, "TenantCoveredTwice") | alerts(server, "TenantNotCovered") == set()

                write(tmp_path, "second", [second, third, fourth])
                other.process.send_signal(signal.SIGHUP)
                server.wait_for('ALERTS{alertname="TenantCoveredTwice"}')
                assert alerts(server, "TenantCoveredTwice") == {second["tenant_id"]}
                assert alerts(server, "TenantNotCovered") == set()

                write(tmp_path, "first", [first])
                write(tmp_path, "second", [third, fourth])
                for running in (one, other):
                    running.process.send_signal(signal.SIGHUP)
                server.wait_for('ALERTS{alertname="TenantNotCovered"}')
                assert alerts(server, "TenantNotCovered") == {second["tenant_id"]}

                write(tmp_path, "first", [first, second])
                one.process.send_signal(signal.SIGHUP)
                server.wait_for(f"count({COVERED} == 1) == 4 unless on () ALERTS")
