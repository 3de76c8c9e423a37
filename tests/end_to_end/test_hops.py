"""The way from bytes to bytes, as docs/architecture.md lists it."""

from __future__ import annotations

import json
from pathlib import Path

import exporter
from exporter.simulator.server import SimulatorServer
from exporter.simulator.simulator import Simulator
from tests.docs.markdown import ROOT, blocks
from tests.process import Running, configure

TRACED = """
import json, os, sys, threading

wanted, package = set(json.loads(os.environ["HOPS"])), os.environ["HOPS_PACKAGE"] + os.sep
log = open(os.environ["HOPS_LOG"], "a", buffering=1)

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(package):
        name = f"{code.co_filename.removeprefix(package)}:{code.co_qualname}"
        if name in wanted:
            log.write(name + chr(10))

threading.setprofile(note)
sys.setprofile(note)
"""
"""What Python runs at its start: it writes down each call of the functions in HOPS."""


def test_the_way_from_bytes_to_bytes_is_as_listed(tmp_path: Path) -> None:
    """A poll and a scrape of a running exporter call the functions that the architecture lists, in that order."""
    (listed,) = (one.text for one in blocks(ROOT / "docs" / "architecture.md") if one.text.startswith("poll:\n"))
    poll, scrape = (part.split("\n")[1:] for part in listed.strip().split("\n\n"))
    (tmp_path / "sitecustomize.py").write_text(TRACED, encoding="utf-8")
    calls = tmp_path / "calls"
    more = {
        "PYTHONPATH": str(tmp_path),
        "HOPS": json.dumps(poll + scrape),
        "HOPS_LOG": str(calls),
        "HOPS_PACKAGE": str(Path(exporter.__file__).parent),
    }
    with SimulatorServer(Simulator(tenants=1)) as server:
        path = configure(server, tmp_path)
        with Running("--config.file", str(path), log=tmp_path / "log", **more) as running:
            running.wait_until("^office365_activations_assigned_users")
            polled = calls.read_text(encoding="utf-8").splitlines()
            negotiated = {
                "Accept": "text/plain;q=0.9",
                "Accept-Encoding": "gzip",
            }  # not the answers kept of earlier ones
            assert running.get("/metrics", **negotiated).status_code == 200
            scraped = calls.read_text(encoding="utf-8").splitlines()[len(polled) :]
    for way, called in ((poll, polled), (scrape, scraped)):
        rest = iter(called)
        missing = [hop for hop in way if hop not in rest]
        assert not missing, f"not called in this order: {missing[0]}"
