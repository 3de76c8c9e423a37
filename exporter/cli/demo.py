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
from urllib.parse import quote

from exporter import log
from exporter.cli import DEMO_ADDRESS, PROGRAM
from exporter.cli.common import variables_of
from exporter.cli.serve import serve_forever
from exporter.cli.simulator import list_scenarios, simulation, write_configuration
from exporter.config import load
from exporter.simulator.reports import refresh_date
from exporter.simulator.scenarios import SCENARIOS
from exporter.state import Outcome, Row, Snapshot, Standing
from exporter.storage import Storage
from exporter.web.webconfig import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli import Arguments
    from exporter.config import Config
    from exporter.simulator.simulator import Simulator
    from exporter.simulator.tenants import Tenant

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
        variables = variables_of(environ, "web", "log")
        proxies = {"HTTPS_PROXY": "", "ALL_PROXY": "", "https_proxy": "", "all_proxy": ""}  # loopback needs none
        config = load(flags, variables)
        if "listen_address" not in config.root.web.model_fields_set:
            flags["web.listen_address"] = [DEMO_ADDRESS]
            config = load(flags, variables)
        log.set_up(config.root.log.level, config.root.log.format)
        days = seed_history(config, server.simulator, time.time()) if SCENARIOS[scenario].has_past else 0

        def started(addresses: tuple[str, ...]) -> None:
            what = f"{len(config.tenants)} tenants, {days} days of history, scenario {scenario}"
            sys.stdout.write(_what_to_try(addresses[0], config, what, path))
            sys.stdout.flush()

        return serve_forever(config, lambda: load(flags, variables), {**environ, **proxies}, started=started)


def seed_history(config: Config, simulator: Simulator, now: float) -> int:
    """Store what the simulated tenants' reports said on the days before `now` (Unix seconds); return how many days.

    Thousands of tenants get fewer days, so that the demonstration starts soon.
    """
    days = max(1, min(_DAYS, _MOST_REPORTS // len(config.tenants)))
    with closing(Storage.open(config.root.storage.path, clock=lambda: now)) as storage:
        for tenant, simulated in zip(config.tenants, simulator.tenants, strict=True):
            for key in tenant.keys:
                standing = Standing()
                for back in range(days, 0, -1):
                    snapshot = _past_report(simulator, simulated, key.report, now - back * _DAY)
                    standing = standing.after(Outcome(snapshot.collected_at, 0.0, snapshot, rejected_rows=0))
                    storage.save(key, tenant.name, standing, snapshot)
    return days


def _past_report(simulator: Simulator, tenant: Tenant, report: str, at: float) -> Snapshot:
    day = refresh_date(at)
    # As in CSV: upper case, and sorted as a parsed report is.
    rows = [Row(row.product_type.upper(), row.counts) for row in simulator.rows(tenant, report, day)]
    return Snapshot(day, tuple(sorted(rows, key=lambda row: row.product_type)), at, "")


def _what_to_try(address: str, config: Config, what: str, path: Path) -> str:
    web = config.root.web
    curl, scheme = "curl", "http"
    if web.config.file is not None and WebConfigFile(web.config.file).load().context is not None:
        curl, scheme = "curl --insecure", "https"
    host, _, port = address.rpartition(":")
    url = f"{scheme}://{'localhost' if host in ('', '[::]', '0.0.0.0') else host}:{port}"  # noqa: S104 - nothing is bound
    if host == "unix":
        curl, url = f"{curl} --unix-socket {shlex.quote(port)}", f"{scheme}://localhost"
    url += quote(web.prefix)
    metrics = url + web.telemetry_path
    program = _program()
    return f"""
The exporter runs against a simulated Microsoft: {what}.

  Metrics     {curl} {shlex.quote(metrics)}
  One tenant  {curl} {shlex.quote(f"{metrics}?tenant={config.tenants[0].name}")}
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
