"""What is to be done now and then, in a thread of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = get_logger(__name__)

_LOOK = 0.5


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every `seconds`, the first time at once."""

    seconds: float
    do: Callable[[], None]


class Housekeeping:
    """Does chores until it is stopped; what one of them raises costs none of the others.

    Args:
        chores: what to do.
        monotonic: seconds; a clock that jumps changes nothing here.
    """

    def __init__(self, chores: Iterable[Chore], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._due = dict.fromkeys(chores, 0.0)
        self._monotonic = monotonic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting for a chore that is being done."""
        self._stopped.set()

    def look(self) -> None:
        """Do every chore that is due."""
        for chore, due in self._due.items():
            if self._monotonic() >= due:
                self._due[chore] = self._monotonic() + chore.seconds
                try:
                    chore.do()
                except Exception:
                    log.exception("a chore met a fault of the exporter")

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK):
            self.look()


def fingerprints(paths: Iterable[Path]) -> dict[Path, tuple[int, int, int]]:
    """Return of each file what changes when it does; a file that is not there has zeros."""
    found: dict[Path, tuple[int, int, int]] = {}
    for path in paths:
        try:
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            found[path] = (0, 0, 0)
    return found
