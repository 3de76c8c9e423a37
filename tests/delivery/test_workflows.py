"""GitHub's workflows and Renovate's settings, and the addresses that they publish to."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from tests.delivery import release
from tests.delivery.chart import CHART
from tests.delivery.test_repository import ROOT, tracked
from tests.tools import require

WORKFLOWS = {path.stem: path for path in (ROOT / ".github/workflows").glob("*.yml")}
URLS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
HOME = URLS["Homepage"]
OWNER, NAME = HOME.split("/")[-2:]
MADE = {
    "pyproject.toml": "the one place",
    "helm/office365-activations-exporter/Chart.yaml": "held against it by test_chart.py and here",
    "helm/office365-activations-exporter/files/": "make chart",
    "monitoring/dashboards/": "make dashboards",
    "monitoring/rules.yml": "make rules",
    "tests/golden/": "pytest --update-golden",
}
"""Where the repository's address stands, and what writes it there."""


def finish(tool: str, *words: str) -> None:
    """Run a tool that must find nothing."""
    ended = subprocess.run([str(require(tool)), *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def load(name: str) -> dict[str, Any]:
    """Return a workflow."""
    document: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text("utf-8"))
    return document


def test_zizmor_finds_nothing() -> None:
    """Pedantic zizmor: actions by hash, least permissions with reasons, no credentials left, no injection."""
    finish("zizmor", "--offline", "--quiet", "--persona=pedantic", ".github")


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-workflows", ".github/workflows/ci.yml"),
        ("github-workflows", ".github/workflows/release.yml"),
        ("renovate", ".github/renovate.json"),
    ],
)
def test_settings_follow_their_schema(schema: str, file: str) -> None:
    """Workflows and Renovate's settings are valid by their schemas."""
    finish("check-jsonschema", f"--builtin-schema=vendor.{schema}", file)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_run_what_a_checkout_runs(name: str) -> None:
    """Checks are targets of make and .ci/run; the Pythons are those of the classifiers."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    steps = [step for job in load(name)["jobs"].values() for step in job["steps"]]
    called = {target for step in steps for target in re.findall(r"^make ([a-z-]+)", step.get("run", ""))}
    assert "release-check" in called <= targets
    pythons = [step["with"]["python-version"].split() for step in steps if "setup-python" in step.get("uses", "")]
    assert [sorted(versions) for versions in pythons] == [sorted(release.classifiers())]


def test_only_what_was_tested_is_published() -> None:
    """Everything that is published needs the job that built and tested the release; no job builds packages again."""
    jobs = load("release")["jobs"]
    needs = {
        name: {job["needs"]} if isinstance(job.get("needs"), str) else set(job.get("needs", []))
        for name, job in jobs.items()
    }
    for name in set(jobs) - {"build"}:
        reached, new = set(), {name}
        while new:
            reached |= new
            new = {other for one in new for other in needs[one]} - reached
        assert "build" in reached, name
    assert [name for name, job in jobs.items() if "make " in str(job["steps"])] == ["build"]


def test_the_repositorys_address_is_written_by_hand_once() -> None:
    """Wherever the address of the repository or the runbook stands, it is pyproject.toml's, put there by a command."""
    used = set()
    for path in tracked():
        if path.suffix in {".png", ".txt"} and "golden" not in path.parts:
            continue
        for address in re.findall(
            r"https://github\.com/[\w-]*office365-activations[\w./-]*", path.read_text("utf-8", "replace")
        ):
            place = path.relative_to(ROOT).as_posix()
            made = [name for name in MADE if place.startswith(name)]
            assert made, f"{place} has {address}"
            assert address.startswith(HOME), place
            used |= set(made)
    assert used == set(MADE)
    assert all(url.startswith(HOME) for url in URLS.values())


def test_image_and_chart_have_one_address_each() -> None:
    """The image's stands in the chart's values, the chart's in its README.md.in, and both are this repository's."""
    image = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["image"]
    assert image["repository"] == f"{OWNER}/{NAME}"
    chart = f"{image['registry']}/{OWNER}/charts/{NAME}"
    places = {
        (path.relative_to(ROOT).as_posix(), address.rstrip(".,"))
        for path in tracked()
        if path.suffix not in {".png", ".py"}
        for address in re.findall(r"ghcr\.io/[\w./-]+", path.read_text("utf-8", "replace"))
    }
    folder = CHART.relative_to(ROOT).as_posix()
    assert places == {
        (f"{folder}/Chart.yaml", f"{image['registry']}/{image['repository']}"),
        (f"{folder}/README.md", chart),
        (f"{folder}/README.md.in", chart),
    }
    published = {name: load("release")["jobs"][name]["env"] for name in ("image", "chart")}
    assert published == {
        "image": {"IMAGE": image["registry"] + "/${{ github.repository }}"},
        "chart": {"CHARTS": image["registry"] + "/${{ github.repository_owner }}/charts"},
    }
