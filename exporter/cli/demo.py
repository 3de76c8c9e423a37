"""`demo`: the exporter against a simulated Microsoft, with 90 simulated days behind it."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import log
from exporter.cli.serve import serve_forever
from exporter.cli.simulation import simulation, write_configuration
from exporter.config import load
from exporter.config.tenants import key_of, tenants
from exporter.state import Outcome, Row, Snapshot, Standing
from exporter.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.arguments import Arguments
    from exporter.config import Config
    from exporter.simulator import Simulator

_DAYS = 90
_MOST_REPORTS = 9000
_DAY = 86400.0


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Serve the demonstration until SIGTERM or SIGINT; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="office365-demo-") as temporary, simulation(arguments.options) as server:
        path = write_configuration(server, Path(temporary), storage=True)
        flags = {"web.listen_address": ["127.0.0.1:9365"], **arguments.flags, "config.file": str(path)}
        proxies = {"HTTPS_PROXY": "", "ALL_PROXY": "", "https_proxy": "", "all_proxy": ""}  # loopback needs none
        config = load(flags, {})
        log.set_up(config.log.level, config.log.format)
        days = seed_history(config, server.simulator, time.time())

        def started(addresses: tuple[str, ...]) -> None:
            sys.stdout.write(_what_to_try(addresses[0], len(config.tenants), arguments.options["scenario"], days, path))
            sys.stdout.flush()

        return serve_forever(config, lambda: load(flags, {}), {**environ, **proxies}, started=started)


def seed_history(config: Config, simulator: Simulator, now: float) -> int:
    """Store what the simulated tenants' reports said on the days before `now`; return how many days.

    Thousands of tenants get fewer days, so that the demonstration starts soon.

    Args:
        config: with `storage.path` set.
        simulator: whose numbers.
        now: Unix seconds.
    """
    known = tenants(config)
    days = max(1, min(_DAYS, _MOST_REPORTS // len(known)))
    if config.storage.path is None:
        raise AssertionError("the demonstration always has storage")
    with closing(Storage.open(config.storage.path, clock=lambda: now)) as storage:
        for tenant in known:
            standing = Standing()
            for back in range(days, 0, -1):
                snapshot = _past_report(simulator, tenant.name, now - back * _DAY)
                standing = standing.after(Outcome(snapshot.collected_at, 0.0, snapshot, rejected_rows=0))
                storage.save(key_of(tenant, tenant.reports[0]), tenant.name, standing, snapshot)
    return days


def _past_report(simulator: Simulator, tenant: str, at: float) -> Snapshot:
    day = simulator.refresh_date(at)
    rows = simulator.rows(tenant, "activations_user_counts", day)
    # As in CSV: upper case, and sorted as a parsed report is.
    written = sorted((Row(row.product_type.upper(), row.counts) for row in rows), key=lambda row: row.product_type)
    return Snapshot(day, tuple(written), at, "")


def _what_to_try(address: str, count: int, scenario: str, days: int, path: Path) -> str:
    url = f"http://{address}"
    return f"""
The exporter runs against a simulated Microsoft: {count} tenants, {days} days of history, scenario {scenario}.

  Metrics     curl {url}/metrics
  One tenant  curl '{url}/metrics?tenant=contoso'
  Status      {url}/

  Reports     office365-activations-exporter history --config.file {path}
  Scenarios   office365-activations-exporter demo --scenario low-activation   (others: --scenario list)

Ctrl-C ends it.

"""
