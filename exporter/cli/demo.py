"""`demo`: the exporter against a simulated Microsoft, with 90 simulated days behind it."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import log
from exporter.cli.arguments import DEMO_ADDRESS, PROGRAM
from exporter.cli.serve import serve_forever
from exporter.cli.simulator import list_scenarios, simulation, write_configuration
from exporter.config import load
from exporter.simulator import SCENARIOS
from exporter.state import Outcome, Row, Snapshot, Standing
from exporter.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.arguments import Arguments
    from exporter.config import Config
    from exporter.simulator import Simulator

_ADDRESS = "OFFICE365_EXPORTER_WEB__LISTEN_ADDRESS"
_VARIABLES = ("OFFICE365_EXPORTER_WEB__", "OFFICE365_EXPORTER_LOG__")
_DAYS = 90
_MOST_REPORTS = 9000
_DAY = 86400.0


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Serve the demonstration until SIGTERM or SIGINT; return the exit code."""
    scenario = arguments.options["scenario"]
    if scenario == "list":
        sys.stdout.write(list_scenarios())
        return 0
    with tempfile.TemporaryDirectory(prefix="office365-demo-") as temporary, simulation(arguments.options) as server:
        path = write_configuration(server, Path(temporary), demo=True)
        flags = {**arguments.flags, "config.file": str(path)}
        # Settings of what to poll and where to store are not for a simulation.
        variables = {name: value for name, value in environ.items() if name.startswith(_VARIABLES)}
        if _ADDRESS not in variables:
            flags.setdefault("web.listen_address", [DEMO_ADDRESS])
        proxies = {"HTTPS_PROXY": "", "ALL_PROXY": "", "https_proxy": "", "all_proxy": ""}  # loopback needs none
        config = load(flags, variables)
        log.set_up(config.log.level, config.log.format)
        days = seed_history(config, server.simulator, time.time()) if SCENARIOS[scenario].has_past else 0

        def started(addresses: tuple[str, ...]) -> None:
            first = config.tenants[0].name
            what = f"{len(config.tenants)} tenants, {days} days of history, scenario {scenario}"
            sys.stdout.write(_what_to_try(addresses[0], first, what, path))
            sys.stdout.flush()

        return serve_forever(config, lambda: load(flags, variables), {**environ, **proxies}, started=started)


def seed_history(config: Config, simulator: Simulator, now: float) -> int:
    """Store what the simulated tenants' reports said on the days before `now`; return how many days.

    Thousands of tenants get fewer days, so that the demonstration starts soon.

    Args:
        config: with `storage.path` set.
        simulator: whose numbers.
        now: Unix seconds.
    """
    known = config.tenants
    days = max(1, min(_DAYS, _MOST_REPORTS // len(known)))
    if config.storage.path is None:
        raise AssertionError("the demonstration always has storage")
    with closing(Storage.open(config.storage.path, clock=lambda: now)) as storage:
        for tenant in known:
            for key in tenant.keys:
                standing = Standing()
                for back in range(days, 0, -1):
                    snapshot = _past_report(simulator, tenant.name, key.report, now - back * _DAY)
                    standing = standing.after(Outcome(snapshot.collected_at, 0.0, snapshot, rejected_rows=0))
                    storage.save(key, tenant.name, standing, snapshot)
    return days


def _past_report(simulator: Simulator, tenant: str, report: str, at: float) -> Snapshot:
    day = simulator.refresh_date(at)
    # As in CSV: upper case, and sorted as a parsed report is.
    rows = [Row(row.product_type.upper(), row.counts) for row in simulator.rows(tenant, report, day)]
    return Snapshot(day, tuple(sorted(rows, key=lambda row: row.product_type)), at, "")


def _what_to_try(address: str, tenant: str, what: str, path: Path) -> str:
    host, _, port = address.rpartition(":")
    url = f"http://{'localhost' if host in ('', '[::]', '0.0.0.0') else host}:{port}"  # noqa: S104 - nothing is bound
    program = _program()
    return f"""
The exporter runs against a simulated Microsoft: {what}.

  Metrics     curl {url}/metrics
  One tenant  curl '{url}/metrics?tenant={tenant}'
  Status      {url}/

  Reports     {program} history --config.file {shlex.quote(str(path))}
  Scenarios   {program} demo --scenario list

Press Ctrl-C to stop.

"""


def _program() -> str:
    """Return how this program was called, to print commands that work as they are printed."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m exporter"
    found = shutil.which(PROGRAM)
    return PROGRAM if found and Path(found).resolve() == called.resolve() else shlex.quote(sys.argv[0])
