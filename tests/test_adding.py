"""docs/adding.md is followed literally, in a copy of the repository."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

import exporter
from exporter.simulator import reports
from exporter.simulator.reports import Report
from tests.docs.markdown import ROOT, fenced
from tests.full_simulator import Simulator, SimulatorServer
from tests.process import Running, configure, environment

PAGE = ROOT / "docs" / "adding.md"
PACKAGE = Path(exporter.__file__).parent
KNOWN = """
import json
from exporter.config import load
from exporter.config.settings import settings
from exporter.metrics import NAMES
from exporter.reports import REPORTS

body = b"Mobile,Desktop,Report Refresh Date,Product Type\\n1,2,2026-01-01,VISIO\\n"
parsed = REPORTS["activations_device_counts"].parse([body], "csv", now=1_790_000_000.0)
config = load({"config.file": "config.yml"}, {})
found = {
    "counts": parsed.rows[0].counts,
    "configured": config.root.reports,
    "metrics": "office365_activations_device_activations" in NAMES,
    "documented": any("activations_device_counts" in one.help for one in settings()),
}
"""
STORE = """
import json, time
from pathlib import Path
from datetime import date
from exporter.state import Key, Outcome, Row, Snapshot, Standing
from exporter.storage import Storage

def keys():
    return [Key("global", "11111111-1111-1111-1111-111111111111", f"activations_{name}_counts")
            for name in ("user", "device")]

def save(key, day, counts):
    now = time.time()
    storage = Storage.open(Path("storage"), clock=time.time)
    snapshot = Snapshot(date(2026, 1, day), (Row("VISIO", counts),), now, "id")
    outcome = Outcome(now, 1.0, snapshot, rejected_rows=0)
    storage.save(key, "contoso", storage.restore().get(key, Standing()).after(outcome), snapshot)
    storage.retain(5 * 365 * 86400)
    storage.close()

def held():
    storage = Storage.open(Path("storage"), clock=time.time)
    found = {key.report: standing.snapshot.rows[0].counts for key, standing in storage.restore().items()}
    storage.close()
    return found
"""
CONFIGURATION = """
reports: [activations_user_counts{more}]
storage: {{path: storage}}
tenants:
  - name: contoso
    tenant_id: 11111111-1111-1111-1111-111111111111
    client_id: 22222222-2222-2222-2222-222222222222
    auth: {{client_secret: none}}
"""


def python(folder: Path, *words: str) -> str:
    """Run Python with the package of this folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(PYTHONPATH=str(folder)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_changes(section: str, copy: Path) -> None:
    """Make the changes of a section of the page in a copy of the repository."""
    chapter = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    changes = [block.text for block in fenced(chapter, PAGE.name) if block.language == "diff"]
    assert changes
    for change in changes:
        header, *hunks = re.split(r"^@@\n", change, flags=re.MULTILINE)
        file = copy / header.removeprefix("--- ").strip()
        text = file.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
            new = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
            assert text.count(old) == 1, f"{file.name} has not exactly one {old!r}"
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folder of this version, and that of one which has the page's report too; they share a storage."""
    both = tmp_path_factory.mktemp("adding")
    today, tomorrow = both / "today", both / "tomorrow"
    for folder, more in ((today, ""), (tomorrow, ", activations_device_counts")):
        shutil.copytree(PACKAGE, folder / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "config.yml").write_text(CONFIGURATION.format(more=more), encoding="utf-8")
        (folder / "storage").symlink_to(both, target_is_directory=True)
    make_changes("Add a report", tomorrow)
    return today, tomorrow


def test_the_page_names_what_there_is() -> None:
    """Each file that the page names exists, and so does each name of the code in a step's file."""
    for step in re.split(r"\n(?=\d\. |- |\n)", PAGE.read_text(encoding="utf-8")):
        files = set(re.findall(r"`((?:exporter|tests)/[\w/]+\.py)`", step))
        text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`((?:[A-Z]|_[A-Z])\w+(?:\.\w+)?)`", step) if files else ():
            assert all(re.search(rf"\b{part}\b", text) for part in name.split(".")), name


def test_a_report_is_one_entry(versions: tuple[Path, Path]) -> None:
    """The page's entry makes a report that configuration, parser, metrics and documentation know."""
    found: dict[str, Any] = json.loads(python(versions[1], "-c", f"{KNOWN}\nprint(json.dumps(found))"))
    assert found == {
        "counts": [2, 1],
        "configured": ["activations_user_counts", "activations_device_counts"],
        "metrics": True,
        "documented": True,
    }


def test_the_report_is_polled_and_shown(
    versions: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Graph has the report, `once` writes its metrics and `check` shows its counts."""
    columns = ("Desktop", "Mobile", "Further")  # the simulation has three counts
    function = "getOffice365ActivationsDeviceCounts"
    served = Report("activations_device_counts", function, columns, tuple(map(str.lower, columns)))
    monkeypatch.setitem(cast("dict[str, Report]", reports.REPORTS), served.name, served)
    monkeypatch.setitem(cast("dict[str, Report]", reports.BY_FUNCTION), served.function, served)
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path, {"reports": [served.name]})
        words = ("--config.file", str(path))
        written = python(versions[1], "-m", "exporter", "once", *words)
        (checked,) = json.loads(python(versions[1], "-m", "exporter", "check", "--format", "json", *words))
    shown = set(
        re.findall(r'device_activations{device="(\w+)",product_type="([^"]+)",tenant="contoso"} (\d+)', written)
    )
    rows = server.simulator.rows(server.simulator.tenants[0], served.name, date.fromisoformat(checked["refresh_date"]))
    counts = {row.product_type.upper(): {"desktop": row.counts[0], "mobile": row.counts[1]} for row in rows}
    assert checked["rows"] == counts
    assert shown == {(device, name, str(count)) for name, of in counts.items() for device, count in of.items()}


def test_stored_reports_live_through_upgrade_and_rollback(versions: tuple[Path, Path]) -> None:
    """Reports stored before a report was added, with it, and after a rollback are all held by both versions."""
    today, tomorrow = versions

    def history(folder: Path) -> list[str]:
        return python(folder, "-m", "exporter", "history", "--config.file", "config.yml").splitlines()

    python(today, "-c", f"{STORE}\nsave(keys()[0], 1, (3, 2, 1))")
    before = history(today)
    python(tomorrow, "-c", f"{STORE}\nsave(keys()[1], 2, (7, 8))")
    upgraded = history(tomorrow)
    assert len(upgraded) == len(before) + 1 == 3
    assert "device_activations_desktop,device_activations_mobile" in upgraded[0]
    assert history(today) == before
    python(today, "-c", f"{STORE}\nsave(keys()[0], 3, (5, 4, 3))")
    assert len(history(today)) == 3
    assert len(history(tomorrow)) == 4
    text = python(tomorrow, "-c", f"{STORE}\nprint(json.dumps(held()))")
    assert json.loads(text) == {"activations_user_counts": [5, 4, 3], "activations_device_counts": [7, 8]}


def followed(section: str, folder: Path) -> Path:
    """Copy the repository, make the changes of a section of the page in the copy, and return it."""
    copy = folder / "repository"
    for name in ("docs", "monitoring", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copytree(PACKAGE, copy / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.md"), ROOT / "pyproject.toml"):
        shutil.copy(file, copy / file.name)
    make_changes(section, copy)
    return copy


def run_tests(copy: Path, *words: str) -> None:
    """Run tests of the copy, which write its generated pages and golden files."""
    python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--update-golden", *words)


def test_a_metric_is_added_by_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's steps make a metric that /metrics has, with its HELP, and that the reference and golden files list."""
    copy = followed("Add a metric", tmp_path)
    name, text = "office365_activations_consecutive_failures", "Failed polls of the report since the last good one."
    page, golden = "test_the_metrics_page_is_the_codes_own_list", "test_the_exposition_is_as_its_golden_file"
    run_tests(
        copy,
        "tests/test_metrics.py",
        f"tests/docs/test_docs.py::{page}",
        f"tests/test_exposition.py::{golden}",
        "tests/soak/test_soak.py",
    )
    assert f"| `{name}` | tenant, report | gauge | {text} |" in (copy / "docs" / "metrics.md").read_text("utf-8")
    for file in ("text.txt", "openmetrics.txt"):
        assert f"# HELP {name} {text}\n" in (copy / "tests" / "golden" / "exposition" / file).read_text("utf-8")
    monkeypatch.chdir(copy)
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path)
        with Running("--config.file", str(path), log=tmp_path / "log", PYTHONPATH=str(copy)) as exporter:
            shown = exporter.wait_until(rf"^{name}{{")
    tenant = server.simulator.tenants[0].name
    assert f"# HELP {name} {text}\n# TYPE {name} gauge\n" in shown
    assert f'\n{name}{{report="activations_user_counts",tenant="{tenant}"}} 0.0\n' in shown


def test_a_credential_is_added_by_the_page(tmp_path: Path) -> None:
    """The page's steps make a credential that the configuration takes, that gets a token, and that is documented."""
    copy = followed("Add a credential", tmp_path)
    run_tests(
        copy, "tests/auth", "tests/config", "tests/docs/test_configuration.py", "-k", "base64 or reference or table"
    )
    assert "client_secret_base64_file" in (copy / "docs" / "configuration.md").read_text("utf-8")
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path)
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        secret = tmp_path / "secret"
        secret.write_bytes(base64.b64encode(server.simulator.tenants[0].secret.encode()))
        document["tenants"][0]["auth"] = {"client_secret_base64_file": str(secret)}
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        words = ("-m", "exporter", "check", "--config.file", str(path))
        (checked,) = json.loads(python(copy, *words, "--format", "json"))
        assert checked["rows"]
        secret.write_text("no base64!", encoding="utf-8")
        refused = subprocess.run(
            [sys.executable, *words, "--offline"], cwd=copy, capture_output=True, text=True, check=False, timeout=120
        )
    assert refused.returncode == 2
    assert "secret is not base64; write the secret in base64" in refused.stderr
