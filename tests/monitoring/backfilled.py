"""A Prometheus that scrapes `demo` and was backfilled with its history."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.process import COMMAND, Running, environment
from tests.prometheus import prometheus
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.prometheus import Prometheus

JOB = "office365"
"""The job of `tests.prometheus`: the past must bear the same."""


@contextmanager
def backfilled(
    folder: Path, *words: str, name: str = "prometheus", rules: Path | None = None
) -> Iterator[tuple[Running, Prometheus]]:
    """Run `demo` and a Prometheus with its past, as docs/backfill.md says.

    Args:
        folder: where everything goes.
        words: of the command line of `demo`.
        name: of the Prometheus, for `tests.tools.require`.
        rules: a file of rules to load.
    """
    with Running("demo", *words, log=folder / "demo.log") as demo:
        config = demo.get("/api/v1/status").json()["config_file"]
        past = folder / "past.om"
        history = [*COMMAND, "history", "--config.file", config, "--format", "openmetrics"]
        with past.open("wb") as output:
            labels = ["--label", f"job={JOB}", "--label", f"instance={demo.address}"]
            subprocess.run([*history, *labels], stdout=output, check=True, timeout=120, env=environment())
        data = folder / "prometheus" / "data"
        data.mkdir(parents=True)
        create = [str(require("promtool")), "tsdb", "create-blocks-from", "--max-block-duration=720h", "openmetrics"]
        subprocess.run([*create, str(past), str(data)], check=True, capture_output=True, timeout=300)
        with prometheus(name, demo.address, folder / "prometheus", rules=rules) as server:
            server.wait_for("count(rate(process_cpu_seconds_total[1m]))")
            server.wait_for("count(office365_activations_exporter_tenants_pending == 0)")
            yield demo, server
