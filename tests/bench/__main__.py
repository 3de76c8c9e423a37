"""`make bench`, with ARGS="--quick" to see it work, ARGS="--only NAME" for one benchmark."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import bad_clients, crowds, footprint, polls, scrapes, storms
from tests.bench.bench import Bench
from tests.bench.installation import ROOT, Installation
from tests.bench.machine import describe
from tests.bench.results import insert
from tests.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bench.results import Result

BENCHMARKS: Mapping[str, Callable[[Bench], Result]] = {
    "start": footprint.start,
    "parts": footprint.parts,
    "memory": footprint.memory,
    "scrapes": scrapes.scrapes,
    "paced": scrapes.paced,
    "secured": scrapes.secured,
    "after": storms.after_a_poll,
    "storms": storms.storms,
    "crowds": crowds.crowds,
    "bad-clients": bad_clients.bad_clients,
    "polls": polls.polls,
    "scale": polls.scale,
}

DOCUMENTS = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "sizing.md")


def main() -> int:
    """Run the benchmarks, print their tables, and write them into the documents unless this is a quick look."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=tuple(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="small and few: to see it work; writes nothing")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "nginx") if not (TOOLS / name).exists() and shutil.which(name) is None]
    if missing:
        sys.stderr.write(f"{' and '.join(missing)}: not found; run tests/fetch_tools.py bench, or install it\n")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every `with` ends its processes
    machine = describe()
    kept_all_bars = True
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        bench = Bench(Installation(folder), folder, options.quick)
        for name in options.only or BENCHMARKS:
            started = time.monotonic()
            result = BENCHMARKS[name](bench)
            kept_all_bars = kept_all_bars and all(bar.holds for bar in result.bars)
            text = f"{machine}\n\n{result.markdown()}"
            sys.stdout.write(f"## {name} ({time.monotonic() - started:.0f} s)\n\n{text}\n\n")
            sys.stdout.flush()
            if not options.quick and not insert(DOCUMENTS, name, text):
                raise AssertionError(f"no document has a place for {name}")
    return 0 if kept_all_bars or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
