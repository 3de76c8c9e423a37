"""The repository: image recipe, locks, tools and what a stranger's clone would trip over."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from exporter import __version__
from tests import fetch_tools
from tests.tools import require

ROOT = Path(__file__).parent.parent.parent
LOCKS = {path.stem: path.read_text("utf-8") for path in (ROOT / "requirements").glob("*.txt")}
every_lock = pytest.mark.parametrize("name", sorted(LOCKS))


def tracked() -> list[Path]:
    """Return the text files that a clone has."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package in a lock."""
    return dict(re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", lock, re.MULTILINE))


def normal(requirement: str) -> str:
    """Return the normalised name of the package that a requirement asks for (PEP 503)."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_dockerfile() -> None:
    """Hadolint finds nothing to remark on the Dockerfile."""
    command = [str(require("hadolint")), "--no-color", str(ROOT / "Dockerfile")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_base_is_pinned_in_one_place() -> None:
    """The Dockerfile names its base once, by tag and digest, where a bot finds it, and every stage is over it."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    pinned = r"^ARG PYTHON_IMAGE=docker\.io/library/python:[\d.]+-slim-[a-z]+@sha256:[0-9a-f]{64}$"
    assert len(re.findall(pinned, text, re.MULTILINE)) == text.count("sha256:") == 1
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_image_is_labelled_by_every_engine(engine: str, tmp_path: Path) -> None:
    """Docker and podman are given the platforms, and labels that name version, commit, and the base with its digest."""
    (tmp_path / engine).write_text('#!/bin/sh\n[ "$1" = version ] || printf "%s\\n" "$@"\n', "utf-8")
    (tmp_path / engine).chmod(0o755)
    (tmp_path / "docker").touch(mode=0o755)
    if engine == "podman":
        (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n", "utf-8")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PLATFORMS": "linux/amd64,linux/arm64"}
    command = [str(ROOT / "tests/delivery/build_image"), "--more"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    words = ended.stdout.splitlines()
    label = "org.opencontainers.image."
    labels = dict(word.removeprefix(label).split("=", 1) for word in words if word.startswith(label))
    assert labels["version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    base = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert [f"{labels['base.name']}@{labels['base.digest']}"] == base
    assert words[-2:] == ["--more", "."]
    assert words[words.index("--platform") + 1] == "linux/amd64,linux/arm64"
    assert ("buildx" in words, "--manifest" in words) == (engine == "docker", engine == "podman")


def test_dockerfile_copies_what_the_context_has() -> None:
    """Every path that the Dockerfile copies from the checkout exists and is let through by .dockerignore."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").split() if line.startswith("!")}
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for path in line.split()[:-1]:
            assert (ROOT / path).exists(), path
            assert path in allowed


@every_lock
def test_locks_are_hashed(name: str) -> None:
    """Each package of a lock is pinned to one version with at least one hash, and no address is in it."""
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", LOCKS[name], flags=re.MULTILINE).strip())
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+(\[\S+\])?==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "://" not in LOCKS[name]
    assert "index-url" not in LOCKS[name]


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_locks_agree(name: str) -> None:
    """What is tested is what is shipped: the lock for development has the same versions."""
    assert pins(LOCKS[name]).items() <= pins(LOCKS["dev"]).items()


def test_locks_are_complete() -> None:
    """Every requirement of pyproject.toml is in its lock (else: make lock)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    asked = {
        "runtime": project["project"]["dependencies"],
        "build": groups["build"],
        "dev": groups["check"] + groups["test"],
        "release": groups["release"],
        "checkov": groups["checkov"],
    }
    for lock, requirements in asked.items():
        assert {normal(requirement) for requirement in requirements} <= set(pins(LOCKS[lock])), lock


def test_clone_names_no_foreign_place() -> None:
    """No file names the address of a package index, or a folder of somebody's machine."""
    foreign = re.compile(
        r"(?:files\.python|pypi\.py)\w*\.org|/simple/?\"|(?:^|[\s\"'=(])/(?:root|home)/\w", re.MULTILINE
    )
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        assert foreign.search(text) is None, path


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_help() -> None:
    """`make` alone lists every target with a sentence."""
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony is not None
    for target in phony[1].split():
        assert re.search(rf"^  {target} +\w", listed, re.MULTILINE), target


SOURCES = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: stable stable-updates
Components: main
# another
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_deb822_sources() -> None:
    """A block of a .sources file is read with its lines that go on, sources of source code aside."""
    assert fetch_tools.deb822(SOURCES) == {
        "Types": "deb",
        "URIs": "http://mirror.example/debian",
        "Suites": "stable stable-updates",
        "Components": "main",
        "Signed-By": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("# deb http://mirror.example/debian stable main", {}),
        ("deb-src http://mirror.example/debian stable main", {}),
        (
            "deb [arch=amd64 signed-by=/usr/share/k.gpg] http://mirror.example/debian stable main contrib # c",
            {
                "Types": "deb",
                "URIs": "http://mirror.example/debian",
                "Suites": "stable",
                "Components": "main contrib",
                "Signed-By": "/usr/share/k.gpg",
            },
        ),
    ],
)
def test_one_line_sources(line: str, expected: dict[str, str]) -> None:
    """A line of a sources.list is read, comments and sources of source code aside."""
    assert fetch_tools.one_line(line) == expected


def test_require_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing tool skips a test with the reason on somebody's machine, and fails it in CI."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is missing"):
        require("no-such-tool")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is missing"):
        require("no-such-tool")
