"""What checkov, a scanner for risky settings, remarks on the chart's manifests and on the Dockerfile."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import yaml

from tests.delivery.chart import CI, ROOT, render, workload
from tests.tools import require

if TYPE_CHECKING:
    from pathlib import Path

WORKLOADS = ("Deployment", "StatefulSet", "Pod")
EXPLAINED = {
    "CKV_K8S_11": ("a CPU limit would throttle polls and scrapes, which are short; the request is set", WORKLOADS),
    "CKV_K8S_15": ("a tag of a release never moves, and pods start while the registry is away", WORKLOADS),
    "CKV_K8S_43": (
        "image.digest gives it; a chart that is packed before its image is pushed cannot know it",
        WORKLOADS,
    ),
    "CKV_K8S_35": ("Microsoft's own variables, for one tenant without a configuration file", ("StatefulSet",)),
    "CKV_DOCKER_7": ("it does not read the ARG in FROM, which has a tag and a digest", ("/Dockerfile",)),
    "CKV_K8S_8": ("the pod of `helm test` asks once and ends", ("Pod",)),
    "CKV_K8S_9": ("the pod of `helm test` asks once and ends", ("Pod",)),
    "CKV2_K8S_6": ("the pod of `helm test` must not be taken for an exporter by the policy", ("Pod",)),
}
"""Each check that is not met, with the reason and the kinds it is about."""


def test_nothing_unexplained(tmp_path: Path) -> None:
    """Of every `ci/` file's manifests and the Dockerfile, checkov refuses what is explained, and nothing else."""
    for name, values in CI.items():
        manifests = render({**values, "extraManifests": []})
        pod = workload(manifests)["spec"]["template"]["spec"]
        pod["containers"] = pod["containers"][:1]  # what users add is theirs to answer for
        pod.pop("initContainers", None)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(manifests), "utf-8")
    (tmp_path / "Dockerfile").symlink_to(ROOT / "Dockerfile")
    command = [str(require("checkov")), "--skip-download", "--compact", "--quiet", "--output=json"]
    command += ["--framework", "kubernetes", "dockerfile", "--directory", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    reports = {report["check_type"]: report for report in json.loads(ended.stdout)}
    assert set(reports) == {"kubernetes", "dockerfile"}, ended.stderr
    assert all(report["summary"]["parsing_errors"] == 0 for report in reports.values())
    assert reports["kubernetes"]["summary"]["passed"] > 1000
    failed = [check for report in reports.values() for check in report["results"]["failed_checks"]]
    found = {(check["check_id"], check["resource"].partition(".")[0]) for check in failed}
    assert found == {(check, kind) for check, (_, kinds) in EXPLAINED.items() for kind in kinds}, [
        (check["check_id"], check["check_name"], check["resource"]) for check in failed
    ]
