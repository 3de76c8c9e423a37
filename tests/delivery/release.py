"""Builds what is released, and holds it as a stranger gets it: `make release-check`.

sdist and wheel are built once, into dist/release. On each supported Python that wheel is installed with the locked
dependencies in an empty environment, runs `demo`, and is what the tests run against. Next to them go an SBOM and the
result of a scan for known vulnerabilities.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.tools import free_address

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent.parent
OUTPUT = ROOT / "dist" / "release"
NAME = "office365-activations-exporter"
GAUGES = ("assigned_users", "activated_users", "shared_computer_users")
# Without the folders of docs, Prometheus, charts, images and soaks, which depend on neither Python nor wheel.
FAST = ("auth", "cli", "config", "http", "simulator", "storage", "web")
UV = str(Path(sys.executable).parent / "uv")
OF_SOURCES = {"test_adding.py"}
"""Tests of the sources themselves, which the copy of the checkout does not have."""


class ReleaseError(Exception):
    """The release does not hold; the message says what."""


def main(words: Sequence[str] | None = None) -> int:
    """Check the release; 1 with the reason if it does not hold."""
    arguments = argparse.ArgumentParser(prog="make release-check")
    arguments.add_argument("--tag", help="the release's tag; has to be v and the version")
    options = arguments.parse_args(words)
    try:
        version = check_version(options.tag)
        wheel = build(OUTPUT)
        pythons = find_pythons(classifiers())
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for number, (name, python) in enumerate(pythons.items()):
                environment = folder / f"python{name}"
                install(environment, python, wheel)
                demo(environment)
                if number == 0:
                    sbom(folder, environment, version)
                    scan(folder)
                test(folder, environment)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        say(f"failed: {error}")
        return 1
    return 0


def check_version(tag: str | None) -> str:
    """Hold tag, changelog and chart against the version, which stands in exporter/__init__.py alone, and return it."""
    version: str = re.findall(
        r'^__version__ = "(.+)"$', (ROOT / "exporter/__init__.py").read_text("utf-8"), re.MULTILINE
    )[0]
    if tag is not None and tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag}, the version {version}")
    section = re.search(
        rf"^## \[{re.escape(version)}\] - (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    if section is None:
        raise ReleaseError(f"CHANGELOG.md has no section for {version}")
    if tag is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", section[1]):
        raise ReleaseError(f"CHANGELOG.md has no date for {version}")
    run(sys.executable, "-m", "tests.delivery.chart_files", "--check", folder=ROOT)
    return version


def build(output: Path) -> Path:
    """Build the sdist and, from it, the wheel; the checkout has to give the same wheel, byte for byte."""
    shutil.rmtree(output, ignore_errors=True)
    command = (UV, "build", "--quiet", "--no-build-isolation", "--no-create-gitignore", "--python", sys.executable)
    run(*command, "--out-dir", str(output), str(ROOT))
    (wheel,) = output.glob("*.whl")
    with tempfile.TemporaryDirectory() as other:
        run(*command, "--wheel", "--out-dir", other, str(ROOT))
        (again,) = Path(other).iterdir()
        if (again.name, digest(again)) != (wheel.name, digest(wheel)):
            raise ReleaseError("the wheel from the sdist is not the wheel from the checkout")
    for path in sorted(output.iterdir()):
        say(f"built {path.name}, {path.stat().st_size:,} bytes, sha256 {digest(path)}")
    return wheel


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def classifiers() -> list[str]:
    """Return the Pythons that the package says it supports, as in 3.11."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)]


def find_pythons(supported: Sequence[str]) -> dict[str, str]:
    """Return the interpreter of each supported Python: those of PYTHONS, else those on the PATH and pyenv's.

    Raises:
        ReleaseError: one that PYTHONS names does not run.
    """
    if named := os.environ.get("PYTHONS", "").split():
        found = dict(filter(None, map(probe, named)))
        if len(found) < len(named) or not set(found) <= set(supported):
            raise ReleaseError(f"PYTHONS has {found or 'none that runs'}; supported: {', '.join(supported)}")
        return found
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    pythons = dict[str, str]()
    for version in supported:
        others = map(str, sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True))
        # pyenv has a shim on the PATH for each of its versions, which does not run unless the version is chosen.
        found = dict(filter(None, map(probe, [f"python{version}", *others])))
        pythons |= {version: found[version]} if version in found else {}
    if missing := ", ".join(version for version in supported if version not in pythons):
        say(f"Python {missing}: not run: not found on the PATH or under pyenv, and PYTHONS is not set")
    return pythons


def probe(python: str) -> tuple[str, str] | None:
    """Return an interpreter's version, as in 3.11, and its own path; None if it does not run."""
    code = "import sys; print('{}.{}'.format(*sys.version_info), sys.executable)"
    try:
        ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version, _, path = ended.stdout.strip().partition(" ")
    return version, path


def install(environment: Path, python: str, wheel: Path) -> None:
    """Install the wheel and its locked dependencies in an environment that has nothing else."""
    run(UV, "venv", "--quiet", "--relocatable", "--python", python, str(environment))
    requirements(environment, "runtime")
    run(*pip(environment, "install"), "--no-deps", "--no-index", str(wheel))
    run(*pip(environment, "check"))
    code = "import exporter, sys; print(exporter.__file__, sys.version.split()[0])"
    where = run(str(environment / "bin/python"), "-c", code, folder=environment).split()
    if not Path(where[0]).is_relative_to(environment):
        raise ReleaseError(f"exporter was imported from {where[0]}")
    say(f"Python {where[1]}: installed")


def requirements(environment: Path, lock: str) -> None:
    """Install a lock."""
    run(*pip(environment, "install"), "--no-deps", "--require-hashes", "-r", str(ROOT / f"requirements/{lock}.txt"))


def pip(environment: Path, command: str) -> tuple[str, ...]:
    """Return the words that begin a command of uv's pip for an environment."""
    return (UV, "pip", command, "--quiet", "--python", str(environment / "bin/python"))


def demo(environment: Path) -> None:
    """Run `demo` until /metrics has three gauges for three tenants, and end it by SIGTERM."""
    address = free_address()
    began = time.monotonic()
    command = [str(environment / "bin" / NAME), "demo", f"--web.listen-address={address}"]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, cwd=environment, stdout=log, stderr=log) as process:
        try:
            while not complete(address):
                if process.poll() is not None or time.monotonic() > began + 60:
                    log.seek(0)
                    raise ReleaseError(f"demo shows no three gauges for three tenants:\n{log.read().decode()}")
                time.sleep(0.1)
            seconds = time.monotonic() - began
            process.terminate()
            if code := process.wait(timeout=5):
                raise ReleaseError(f"demo ended with {code} after SIGTERM")
        finally:
            process.kill()
    say(f"demo: three gauges for three tenants after {seconds:.1f} s")


def complete(address: str) -> bool:
    """Tell whether /metrics has each gauge for three tenants."""
    try:
        text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    except httpx.TransportError:
        return False
    found = [
        set(re.findall(rf'^office365_activations_{gauge}{{.*?tenant="([^"]+)"', text, re.MULTILINE)) for gauge in GAUGES
    ]
    return all(len(tenants) == 3 for tenants in found)


def sbom(folder: Path, environment: Path, version: str) -> None:
    """Write an SBOM in CycloneDX's form of what the environment has: the package and its locked dependencies."""
    tools = folder / "tools"
    run(UV, "venv", "--quiet", "--python", sys.executable, str(tools))
    requirements(tools, "release")
    path = OUTPUT / f"{NAME}-{version}.cdx.json"
    command = [str(tools / "bin/cyclonedx-py"), "environment", "--output-reproducible", "--validate"]
    run(
        *command,
        "--pyproject",
        str(ROOT / "pyproject.toml"),
        "--output-file",
        str(path),
        str(environment / "bin/python"),
    )
    listed = versions(json.loads(path.read_text("utf-8"))["components"])
    installed = versions(json.loads(run(*pip(environment, "list"), "--format=json"))) - {(NAME, version)}
    if listed != installed:
        raise ReleaseError(f"SBOM and environment differ in {sorted(listed ^ installed)}")
    say(f"SBOM: {path.name}, {len(listed)} dependencies")


def versions(packages: Sequence[dict[str, str]]) -> set[tuple[str, str]]:
    """Return names, normalised as in PEP 503, and versions."""
    return {(re.sub(r"[-_.]+", "-", one["name"]).lower(), one["version"]) for one in packages}


def scan(folder: Path) -> None:
    """Look the locked dependencies up among the known vulnerabilities, where their database can be reached."""
    path = OUTPUT / "vulnerabilities.json"
    command = [str(folder / "tools/bin/pip-audit"), "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += ["--requirement", str(ROOT / "requirements/runtime.txt"), "--format=json", f"--output={path}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if not path.exists():
        lines = ended.stderr.strip().splitlines() or [f"pip-audit ended with {ended.returncode}"]
        say(f"scan for vulnerabilities: not run: {lines[-1]}")
        return
    found = [one for one in json.loads(path.read_text("utf-8"))["dependencies"] if one.get("vulns")]
    if found or ended.returncode:
        raise ReleaseError(f"known vulnerabilities: {', '.join(one['name'] for one in found)}; see {path}")
    say("scan for vulnerabilities: none known")


def test(folder: Path, environment: Path) -> None:
    """Run the tests against the installed wheel: in a copy of the checkout that has no `exporter` to import."""
    checkout = folder / "checkout"
    if not checkout.exists():
        listed = run("git", "ls-files", "-z", folder=ROOT).split("\0")
        for name in listed:
            if name and not name.startswith("exporter/") and (ROOT / name).is_file():
                (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, checkout / name)
        (checkout / ".tools").symlink_to(ROOT / ".tools")
    requirements(environment, "dev")
    files = [path.name for path in (ROOT / "tests").glob("test_*.py") if path.name not in OF_SOURCES]
    tests = [f"tests/{name}" for name in (*FAST, *sorted(files))]
    command = [str(environment / "bin/python"), "-m", "pytest", "--quiet", "--numprocesses=auto", "--dist=worksteal"]
    variables = os.environ | {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    began = time.monotonic()
    if subprocess.run([*command, *tests], cwd=checkout, env=variables, check=False).returncode:
        raise ReleaseError(f"tests against the wheel, {environment.name}")
    say(f"{environment.name}: the tests hold against the wheel ({time.monotonic() - began:.0f} s)")


def run(*command: str, folder: Path | None = None) -> str:
    """Run a command and return what it prints."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if ended.returncode:
        raise ReleaseError(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"release: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
