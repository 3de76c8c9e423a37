"""How things are measured: medians of alternating rounds, and what the kernel says of a process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Name = TypeVar("Name")

_TICKS = os.sysconf("SC_CLK_TCK")


def alternate(rounds: int, measures: Mapping[Name, Callable[[], float]]) -> dict[Name, float]:
    """Measure each in turn, so many rounds; return the median of each.

    Taking turns spreads what else the machine does evenly over all of them.
    """
    found: dict[Name, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: median(values) for name, values in found.items()}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def resident(pid: int) -> float:
    """Return the process's resident memory, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor(pid: int) -> float:
    """Return the seconds of processor time that the process has taken, its ended children not included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def wait(until: Callable[[], bool], seconds: float, pause: float = 0.05) -> None:
    """Return once `until` says so.

    Raises:
        TimeoutError: it did not in time.
    """
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(pause)
