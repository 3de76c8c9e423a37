"""What the process tells of itself."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from exporter.process_metrics import FastProcessCollector

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def values(collector: FastProcessCollector | ProcessCollector) -> dict[str, float]:
    """Return the samples."""
    return {sample.name: sample.value for metric in collector.collect() for sample in metric.samples}


def test_it_tells_what_prometheus_clients_collector_tells() -> None:
    """Names, types and help are the same in the same order, and so are the numbers, up to their resolution."""
    ours, theirs = list(FastProcessCollector().collect()), list(ProcessCollector(registry=None).collect())
    described = [[(metric.name, metric.type, metric.documentation) for metric in one] for one in (ours, theirs)]
    assert described[0] == described[1]
    mine, others = values(FastProcessCollector()), values(ProcessCollector(registry=None))
    assert mine["process_start_time_seconds"] == others["process_start_time_seconds"]
    assert mine["process_max_fds"] == others["process_max_fds"]
    assert mine["process_cpu_seconds_total"] == pytest.approx(others["process_cpu_seconds_total"], abs=0.1)
    for name in ("process_resident_memory_bytes", "process_virtual_memory_bytes"):
        assert mine[name] == pytest.approx(others[name], rel=0.05)


def test_each_open_file_counts() -> None:
    """A file more is one more."""
    process = FastProcessCollector()
    before = values(process)["process_open_fds"]
    with Path(os.devnull).open("rb"):
        assert values(process)["process_open_fds"] == before + 1


def test_it_has_values_when_no_file_can_be_opened() -> None:
    """Out of files, when an operator needs it most, memory and processor time are still shown."""
    process = FastProcessCollector()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        shown = values(process)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert shown["process_max_fds"] == 0
    assert shown["process_resident_memory_bytes"] > 0
    assert shown["process_cpu_seconds_total"] > 0


def test_without_proc_it_tells_nothing(tmp_path: Path) -> None:
    """On a system without /proc there is no metric rather than a wrong one."""
    assert list(FastProcessCollector(proc=str(tmp_path)).collect()) == []
