"""What the process tells of itself."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from exporter.process_metrics import ProcessMetrics
from tests.formats import parse_text, text_latest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def values(text: str) -> dict[str, float]:
    """Return the samples of an exposition."""
    return {sample.name: sample.value for metric in parse_text(text) for sample in metric.samples}


def shown(process: ProcessMetrics) -> dict[str, float]:
    """Return what the process tells of itself now."""
    return values(process.text(openmetrics=False).decode())


def test_it_tells_what_prometheus_clients_collectors_tell() -> None:
    """Names, types and help are the same in the same order, and so are the numbers, up to their resolution."""
    registry, process = CollectorRegistry(), ProcessMetrics()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    theirs, ours = text_latest(registry).decode(), process.text(openmetrics=False).decode()
    described = [[line for line in text.splitlines() if line.startswith("#")] for text in (ours, theirs)]
    assert described[0] == described[1]
    mine, others = values(ours), values(theirs)
    assert mine["process_start_time_seconds"] == others["process_start_time_seconds"]
    assert mine["process_max_fds"] == others["process_max_fds"]
    assert mine["process_cpu_seconds_total"] == pytest.approx(others["process_cpu_seconds_total"], abs=0.1)
    for name in ("process_resident_memory_bytes", "process_virtual_memory_bytes"):
        assert mine[name] == pytest.approx(others[name], rel=0.05)


def test_each_open_file_counts() -> None:
    """A file more is one more."""
    process = ProcessMetrics()
    before = shown(process)["process_open_fds"]
    with Path(os.devnull).open("rb"):
        assert shown(process)["process_open_fds"] == before + 1


def test_it_has_values_when_no_file_can_be_opened() -> None:
    """Out of files, when an operator needs it most, memory and processor time are still shown."""
    process = ProcessMetrics()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        now = shown(process)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert now["process_max_fds"] == 0
    assert now["process_resident_memory_bytes"] > 0
    assert now["process_cpu_seconds_total"] > 0


def test_without_proc_it_tells_nothing(tmp_path: Path) -> None:
    """On a system without /proc there is no metric of the process rather than a wrong one."""
    assert list(shown(ProcessMetrics(proc=str(tmp_path)))) == ["python_info"]
