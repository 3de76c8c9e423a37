"""docs/adding.md is followed literally, in a copy of the package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

import exporter
from exporter.simulator import reports
from exporter.simulator.reports import Report
from tests.docs.markdown import ROOT, blocks
from tests.full_simulator import Simulator, SimulatorServer
from tests.process import configure, environment

PAGE = ROOT / "docs" / "adding.md"
PACKAGE = Path(exporter.__file__).parent
KNOWN = """
import json
from exporter.config import load
from exporter.config.reference import reference
from exporter.families import NAMES
from exporter.reports import REPORTS

body = b"Mobile,Desktop,Report Refresh Date,Product Type\\n1,2,2026-01-01,VISIO\\n"
parsed = REPORTS["activations_device_counts"].parse([body], "csv", now=1_790_000_000.0)
config = load({"config.file": "config.yml"}, {})
found = {
    "counts": parsed.rows[0].counts,
    "configured": config.reports,
    "metrics": "office365_activations_device_activations" in NAMES,
    "documented": "activations_device_counts" in reference(),
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
    storage.save(key, "contoso", storage.restore(key).get(key, Standing()).after(outcome), snapshot)
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


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folder of this version, and that of one which has the page's report too; they share a storage."""
    both = tmp_path_factory.mktemp("adding")
    today, tomorrow = both / "today", both / "tomorrow"
    for folder, more in ((today, ""), (tomorrow, ", activations_device_counts")):
        shutil.copytree(PACKAGE, folder / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "config.yml").write_text(CONFIGURATION.format(more=more), encoding="utf-8")
        (folder / "storage").symlink_to(both, target_is_directory=True)
    (block,) = (block for block in blocks(PAGE) if block.language == "python")
    name = re.findall(r"`(exporter/reports/\w+\.py)`", PAGE.read_text(encoding="utf-8"))[0]
    (tomorrow / name).write_text(block.text, encoding="utf-8")
    names = tomorrow / "exporter" / "reports" / "__init__.py"
    text = names.read_text(encoding="utf-8")
    start, end = text.split("\n)\n", 1)
    names.write_text(f'{start}\n    "{Path(name).stem}",\n)\n{end}', encoding="utf-8")
    return today, tomorrow


def test_the_page_names_what_there_is() -> None:
    """Each file that the page names exists, but for the example, and so does each name of the code in a step's file."""
    example = "exporter/reports/activations_device_counts.py"
    for step in re.split(r"\n(?=\d\. |- |\n)", PAGE.read_text(encoding="utf-8")):
        files = set(re.findall(r"`((?:exporter|tests)/[\w/]+\.py)`", step)) - {example}
        text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`((?:[A-Z]|_[A-Z])\w+(?:\.\w+)?)`", step) if files else ():
            assert all(re.search(rf"\b{part}\b", text) for part in name.split(".")), name


def test_a_report_is_one_file_and_one_line(versions: tuple[Path, Path]) -> None:
    """The page's file and line make a report that configuration, parser, metrics and reference know."""
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
    rows = server.simulator.state.rows(server.simulator.tenants[0], served, date.fromisoformat(checked["refresh_date"]))
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
