"""Fetch the real programs that tests need, as Debian packages, into .tools/, without installing anything.

Needs no root: apt gets a private configuration, made from the machine's own package sources, and the packages
are only unpacked. Where that cannot be done it says so and ends well: the tests skip with the reason.

Usage: fetch_tools.py [bundle ...]     (default: the bundles that `make test` uses)
       fetch_tools.py --mirror
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
SOURCES = Path("/etc/apt")
KEYS = ("Types", "URIs", "Suites", "Components", "Signed-By")
ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]*)")
TIMEOUT = 600  # seconds for one command: a slow mirror, not a hanging one


class FetchError(Exception):
    """A bundle cannot be had here; the message says why."""


@dataclass(frozen=True)
class Bundle:
    """Some packages of one suite and the programs that tests want from them.

    Attributes:
        name: the folder under .tools/ that they are unpacked in.
        packages: those to unpack; one that the suite does not have is left out.
        programs: the name that tests use, and the path in the package.
        suite: where from; empty for the machine's own.
        libraries: whether the libraries that the machine lacks are fetched too.
    """

    name: str
    packages: tuple[str, ...]
    programs: tuple[tuple[str, str], ...]
    suite: str = ""
    libraries: bool = False


PROMETHEUS = ("prometheus", "promtool", "prometheus-alertmanager")
BUNDLES = (
    Bundle(
        "own",
        PROMETHEUS,
        (
            ("prometheus", "usr/bin/prometheus"),
            ("promtool", "usr/bin/promtool"),
            ("alertmanager", "usr/bin/prometheus-alertmanager"),
            ("amtool", "usr/bin/amtool"),
        ),
    ),
    Bundle("victoria", ("victoria-metrics",), (("victoria-metrics", "usr/bin/victoria-metrics"),)),
    Bundle(
        "sid",
        PROMETHEUS,
        (
            ("prometheus3", "usr/bin/prometheus"),
            ("promtool3", "usr/bin/promtool"),
            ("alertmanager3", "usr/bin/prometheus-alertmanager"),
        ),
        suite="sid",
    ),
    Bundle("bench", ("nginx", "wrk"), (("nginx", "usr/sbin/nginx"), ("wrk", "usr/bin/wrk")), libraries=True),
)
DEFAULT = ("own", "sid", "victoria")


def main(names: list[str]) -> int:
    """Fetch the bundles named; 0 whether or not they can be had, 2 for an unknown name.

    `--mirror` only prints where the machine's own packages come from.
    """
    if names == ["--mirror"]:
        found = own_sources()
        sys.stdout.writelines(f"{entry['URIs'].split()[0]}\n" for entry in found[:1])
        return 0 if found else 1
    known = {bundle.name: bundle for bundle in BUNDLES}
    if unknown := [name for name in names if name not in known]:
        say(f"unknown: {' '.join(unknown)}; known: {' '.join(known)}")
        return 2
    for name in names or DEFAULT:
        try:
            fetch(known[name])
        except (FetchError, OSError) as error:
            say(f"{name}: not to be had here: {error}")
    return 0


def fetch(bundle: Bundle) -> None:
    """Download and unpack a bundle, unless it is there already."""
    folder = TOOLS / bundle.name
    stamp = folder / ".complete"
    if stamp.is_file() and stamp.read_text("utf-8") == repr(bundle):
        return
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FetchError("this is no Debian: apt-get and dpkg-deb are missing; put the programs on the PATH")
    say(f"{bundle.name}: downloading {', '.join(bundle.packages)} ({bundle.suite or own_suite()}) …")
    shutil.rmtree(folder, ignore_errors=True)
    for archive in download(bundle, folder / "apt"):
        run("dpkg-deb", "--extract", str(archive), str(folder))
    shutil.rmtree(folder / "apt")
    for name, path in bundle.programs:
        publish(name, folder / path, folder if bundle.libraries else None)
    stamp.write_text(repr(bundle), "utf-8")


def download(bundle: Bundle, state: Path) -> list[Path]:
    """Download a bundle's packages with a private apt, and return the archives."""
    archives = state / "archives"
    for folder in (state / "lists/partial", archives / "partial"):
        folder.mkdir(parents=True)
    sources = state / "own.sources"
    sources.write_text(machine_sources(bundle.suite), "utf-8")
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State": state,
        "Dir::State::Status": "/var/lib/dpkg/status",
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Cache::Archives": archives,
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    apt = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    run("apt-get", *apt, "-o", "APT::Update::Error-Mode=any", "update")
    packages = [name for name in bundle.packages if succeeds("apt-cache", *apt, "show", name)]
    if bundle.libraries:
        install = ("install", "--yes", "--download-only", "--reinstall", "--no-install-recommends")
        run("apt-get", *apt, *install, *packages)
    else:
        run("apt-get", *apt, "download", *packages, folder=archives)
    return sorted(archives.glob("*.deb"))


def machine_sources(suite: str) -> str:
    """Return the machine's own sources of its distribution, as apt's deb822 text.

    Args:
        suite: stands in the place of the machine's own suite; empty to leave it.

    Raises:
        FetchError: the machine has no source for its own suite.
    """
    own = own_suite()
    entries = own_sources()
    if not entries:
        raise FetchError(f"no source for {own} in {SOURCES}")
    lines = []
    for entry in entries:
        suites = suite or " ".join(name for name in entry["Suites"].split() if name.startswith(own))
        lines += [f"{key}: {suites if key == 'Suites' else value}" for key, value in entry.items()]
        lines.append("")
    return "\n".join(lines)


def own_sources() -> list[dict[str, str]]:
    """Return the machine's sources of its own release."""
    own = own_suite()
    return [entry for entry in read_sources() if own in entry["Suites"].split()]


def own_suite() -> str:
    """Return the code name of the machine's release, as in bookworm."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def read_sources() -> list[dict[str, str]]:
    """Read every binary source of the machine, in both of apt's formats (sources.list(5))."""
    entries = []
    for path in sorted(SOURCES.glob("sources.list.d/*.sources")):
        entries += [deb822(block) for block in re.split(r"\n\s*\n", path.read_text("utf-8"))]
    for path in (SOURCES / "sources.list", *sorted(SOURCES.glob("sources.list.d/*.list"))):
        if path.is_file():
            entries += [one_line(line) for line in path.read_text("utf-8").splitlines()]
    return [entry for entry in entries if "deb" in entry.get("Types", "").split() and "Suites" in entry]


def deb822(block: str) -> dict[str, str]:
    """Read one block of `Key: value` lines; a key inside may go on over indented lines."""
    text = "\n".join(line for line in block.splitlines() if not line.startswith("#"))
    found = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", text, re.MULTILINE)
    entry = {key: value.strip() for key, value in found if key in KEYS}
    return entry | ({"Types": "deb"} if "deb" in entry.get("Types", "").split() else {})


def one_line(line: str) -> dict[str, str]:
    """Read one line of the older format: `deb [signed-by=…] URI suite component …`."""
    found = ONE_LINE.match(line)
    if found is None:
        return {}
    signed = re.search(r"signed-by=(\S+)", found["options"] or "")
    values = ("deb", found["uri"], found["suite"], found["rest"].strip(), signed[1] if signed else "")
    return {key: value for key, value in zip(KEYS, values, strict=True) if value}


def publish(name: str, program: Path, libraries: Path | None) -> None:
    """Put a program into .tools/bin under the name that tests use."""
    if not program.is_file():
        raise FetchError(f"{name}: its package has no {program.name}")
    command = [str(program)]
    if libraries is not None:
        folders = sorted({str(path.parent) for path in libraries.rglob("*.so*")})
        command = ["env", f"LD_LIBRARY_PATH={':'.join(folders)}", *command]
    published = TOOLS / "bin" / name
    published.parent.mkdir(parents=True, exist_ok=True)
    published.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "utf-8")
    published.chmod(0o755)
    command = [str(published), "--version"]
    started = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if fault := re.search(r".*(?:GLIBC_|loading shared libraries).*", started.stderr):
        published.unlink()
        raise FetchError(fault[0])


def succeeds(*command: str) -> bool:
    """Tell whether a command ends well."""
    return subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT).returncode == 0


def run(*command: str, folder: Path | None = None) -> None:
    """Run a command; FetchError with its last line if it fails."""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=folder, env=environment, timeout=TIMEOUT
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines() or [""]
        raise FetchError(f"{command[0]}: {last[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{command[0]} took longer than {TIMEOUT} s") from error


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{Path(__file__).name}: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
