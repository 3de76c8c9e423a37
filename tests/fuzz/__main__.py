"""`python -m tests.fuzz --cases 1000000`: Hypothesis, over and over with other seeds."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, seed, settings

from exporter import log
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_BATCH = 8000
"""Cases of one seed: Hypothesis remembers all cases of a run, and grows slow over more."""

Batch = tuple[int, int, int]


def main(argv: Sequence[str]) -> int:
    """Fuzz; return 1 at the first case that ends in anything but the declared errors."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many (default: a million)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time (default: one a core)")
    options = parser.parse_args(argv)
    began = time.perf_counter()
    batches = list(_batches(options.cases, options.first))
    done: Counter[str] = Counter()
    took: Counter[str] = Counter()
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        for (number, chosen, _), cases, seconds, failure in pool.imap_unordered(_run, batches):
            name = TARGETS[number].name
            done[name] += cases
            took[name] += round(seconds * 1000)
            if failure:
                sys.stdout.write(f"FAILURE: {name}, seed {chosen}:\n{failure}\n")
                return 1
    for name, cases in done.items():
        sys.stdout.write(f"{name}: {cases} cases, {took[name] / 1000:.0f} s\n")
    sys.stdout.write(
        f"ok: {done.total()} cases, seeds {options.first}-{options.first + len(batches) - 1}, "
        f"{time.perf_counter() - began:.0f} s\n"
    )
    return 0


def _batches(cases: int, first: int) -> Iterator[Batch]:
    number = first
    for index, target in enumerate(TARGETS):
        left = max(cases * target.share // 1000, 1)
        while left > 0:
            yield index, number, min(left, _BATCH)
            left -= _BATCH
            number += 1


def _run(batch: Batch) -> tuple[Batch, int, float, str]:
    """Run a batch; return it, how many cases there were, the seconds, and what went wrong."""
    index, number, cases = batch
    target = TARGETS[index]
    log.set_up("error")
    met = 0

    @seed(number)
    @settings(
        max_examples=-(-cases // target.weight),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def fuzz(case: Any) -> None:
        nonlocal met
        met += target.weight
        target.check(case)

    began = time.perf_counter()
    try:
        fuzz()
    except BaseException:  # noqa: BLE001 - whatever it is, it is what was looked for
        return batch, met, time.perf_counter() - began, traceback.format_exc()
    return batch, met, time.perf_counter() - began, ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
