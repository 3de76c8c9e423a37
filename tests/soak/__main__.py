"""`python -m tests.soak`: simulated months of many tenants, with every fault, and the kills of a real process."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak.run import live
from tests.tools import memory_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.soak.result import Result

_LARGE = (10, 50, 90.0)
_SMALL = (1000, 5, 10.0)

Task = tuple[int, int, float]


def main(argv: Sequence[str]) -> int:
    """Run what is asked for; return 1 at the first invariant that does not hold."""
    options = _options(argv)
    if options.kills:
        from tests.soak.kills import main as kill_many  # noqa: PLC0415 - starts servers and processes

        return kill_many(options.kills, options.first)
    tasks = list(_tasks(options))
    began = time.perf_counter()
    results: list[tuple[Task, Result]] = []
    if len(tasks) == 1:
        results = [_run(_say, None, tasks[0])]
        return _report(results, began)
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir=memory_folder()) as place,
        multiprocessing.get_context("fork").Pool(options.jobs) as pool,
    ):
        run = partial(_run, _say_nothing, Path(place))
        for number, (task, result) in enumerate(pool.imap_unordered(run, tasks), start=1):
            results.append((task, result))
            if result.violation:
                break
            if task[1] == _LARGE[1] or number % 50 == 0:
                _say(f"{number}/{len(tasks)}: seed {task[0]}, {task[1]} tenants, {result.days:.0f} days, no violation")
    return _report(results, began)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Without options: ten seeds of 50 tenants x 90 days, and a thousand of 5 tenants x 10 days.",
    )
    parser.add_argument("--seeds", type=int, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default: 1)")
    parser.add_argument("--tenants", type=int, help="how many tenants (default: 5)")
    parser.add_argument("--days", type=float, help="how many simulated days (default: 10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time (default: one a core)")
    parser.add_argument("--kills", type=int, help="in place of all that: kill a real process so often, by kill -9")
    return parser.parse_args(argv)


def _tasks(options: argparse.Namespace) -> Iterator[Task]:
    sets = [_LARGE, _SMALL]
    if options.seeds or options.tenants or options.days:
        sets = [(options.seeds or 1, options.tenants or _SMALL[1], options.days or _SMALL[2])]
    for seeds, tenants, days in sets:
        for seed in range(options.first, options.first + seeds):
            yield seed, tenants, days


def _run(tell: Callable[[str], None], place: Path | None, task: Task) -> tuple[Task, Result]:
    gc.set_threshold(50_000, 20, 50)  # a third faster, and memory is looked at after a full collection
    return task, live(*task, tell, place)


def _report(results: Sequence[tuple[Task, Result]], began: float) -> int:
    faults: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for _, result in results:
        faults += result.faults
        events += result.events
    _say("faults met: " + ", ".join(f"{name} {count}" for name, count in sorted(faults.items())))
    _say("events: " + ", ".join(f"{name} {count}" for name, count in sorted(events.items())))
    seeds = ", ".join(
        f"{min(chosen)}-{max(chosen)} of {tenants} tenants x {days:g} days"
        for tenants, days in dict.fromkeys(task[1:] for task, _ in results)
        if (chosen := [task[0] for task, _ in results if task[1:] == (tenants, days)])
    )
    found = [result for _, result in results]
    _say(
        f"{'VIOLATION' if any(result.violation for result in found) else 'ok'}: seeds {seeds}: "
        f"{sum(result.days for result in found):.0f} simulated days, {sum(result.polls for result in found)} polls, "
        f"{sum(result.requests for result in found)} requests, {sum(result.deaths for result in found)} deaths, "
        f"{sum(result.reports for result in found)} reports stored, {time.perf_counter() - began:.0f} s"
    )
    for (seed, tenants, days), result in results:
        if result.violation:
            _say(f"seed {seed}: {result.violation}")
            _say(f"again: python -m tests.soak --first {seed} --seeds 1 --tenants {tenants} --days {days:g}")
    return int(any(result.violation for result in found))


def _say_nothing(_: str) -> None:
    pass


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
