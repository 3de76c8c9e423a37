"""The Helm chart's pods, run as a kubelet would run them, against the simulation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.storage.database import FILE_NAME
from tests.delivery.chart import CI, ROOT, container, render, workload
from tests.delivery.pod import APPLIED, NAMESPACES, NOT_APPLIED
from tests.tools import missing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", CI)
def test_pod_runs(name: str, tmp_path: Path) -> None:
    """Run as rendered, it passes probes and `helm test`, reads and stores the report, is scraped, and ends with 0."""
    tried = subprocess.run(
        [*NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        missing(f"mount and network namespaces need root, or user namespaces for everybody: {tried.stderr.strip()}")
    ended = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.delivery.pod", name, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert (seen["exit code"], seen["leaks"]) == (0, []), seen["log"]
    up = re.findall(r"^office365_activations_up\{.*\} (.*)$", seen["metrics"], re.MULTILINE)
    assert up, seen["log"]
    assert set(up) == {"1.0"}, seen["log"]
    assert "office365_activations_assigned_users{" in seen["metrics"]
    assert "office365_activations_exporter_storage_errors_total 0.0" in seen["metrics"], seen["log"]
    assert (FILE_NAME in seen["stored"]) is not CI[name].get("demo", False)


def test_every_setting_is_applied_or_explained() -> None:
    """The pods that are run differ from the rendered ones in nothing but what stands in the table with its reason."""
    keys = set[str]()
    for values in CI.values():
        manifests = render(values)
        keys |= set(workload(manifests)["spec"]["template"]["spec"]) | set(container(manifests))
    assert keys - APPLIED == set(NOT_APPLIED)
