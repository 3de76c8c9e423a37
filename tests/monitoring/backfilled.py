"""A Prometheus that scrapes `demo` and was backfilled with its history."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.process import COMMAND, Running, environment
from tests.prometheus import prometheus
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.prometheus import Prometheus

JOB = "office365"
"""The job of `tests.prometheus`: the past must bear the same."""

_LONGEST = 600
"""Seconds for a command, on the busiest machine."""


@contextmanager
def backfilled(folder: Path, *words: str, names: Sequence[str] = ("prometheus",)) -> Iterator[list[Prometheus]]:
    """Run `demo`, and each Prometheus with its past, as docs/backfill.md says.

    Args:
        folder: where everything goes.
        words: of the command line of `demo`.
        names: of the Prometheus, for `tests.tools.require`.
    """
    with Running("demo", *words, log=folder / "demo.log") as demo, ExitStack() as stack:
        config = demo.get("/api/v1/status").json()["config_file"]
        past = folder / "past.om"
        history = [*COMMAND, "history", "--config.file", config, "--format", "openmetrics"]
        with past.open("wb") as output:
            labels = ["--label", f"job={JOB}", "--label", f"instance={demo.address}"]
            subprocess.run([*history, *labels], stdout=output, check=True, timeout=_LONGEST, env=environment())
        data = folder / "data"
        data.mkdir()
        create = [str(require("promtool")), "tsdb", "create-blocks-from", "--max-block-duration=720h", "openmetrics"]
        subprocess.run([*create, str(past), str(data)], check=True, capture_output=True, timeout=_LONGEST)
        servers = []
        for name in names:
            shutil.copytree(data, folder / name / "data")
            servers.append(stack.enter_context(prometheus(name, demo.address, folder / name)))
        for server in servers:
            server.wait_for("count(rate(process_cpu_seconds_total[1m]))")
            server.wait_for("count(office365_activations_exporter_tenants_pending == 0)")
        yield servers
