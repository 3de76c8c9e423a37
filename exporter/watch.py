"""Files that changed, and the thread of periodic tasks."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from exporter.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

log = get_logger(__name__)

CHECK_SECONDS = 30.0
"""Seconds between two checks of the files."""

_TICK = 0.5

States: TypeAlias = "Mapping[Path, tuple[int, ...]]"


class Watch:
    """Notices that files have changed.

    A change counts once it is seen twice alike: a file that is still being written says something else than its writer.

    Args:
        files: returns the files that matter at this moment.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._known = self._last = self.now()

    def now(self) -> States:
        """Return what of each file changes when its content, its place or its permissions do; nothing for no file."""
        states: dict[Path, tuple[int, ...]] = {}
        for path in self._files():
            try:
                status = path.stat()
                states[path] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            except (OSError, ValueError):
                states[path] = ()
        return states

    def changed(self) -> bool:
        """Check the files; return True at the second check that sees the same change, until it is accepted."""
        now = self.now()
        last, self._last = self._last, now
        return now == last and now != self._known

    def differences(self, now: States) -> set[Path]:
        """Return the known files that differ in `now` from what was accepted last."""
        return {path for path, state in now.items() if self._known.get(path, state) != state}

    def accept(self, before: States) -> None:
        """Take the files as known after they were read.

        Args:
            before: what `now` returned before that, so that a change in between is still noticed.
        """
        now = self.now()
        self._known = {path: before.get(path, state) for path, state in now.items()}
        self._last = now


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something to do every `seconds`, the first time at once."""

    seconds: float
    do: Callable[[], None]


class PeriodicTasks:
    """Runs tasks until it is stopped; a task that raises stops no other.

    Args:
        tasks: what to do.
        monotonic: seconds; a clock that jumps changes nothing here.
    """

    def __init__(self, tasks: Iterable[PeriodicTask], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._due = dict.fromkeys(tasks, 0.0)
        self._monotonic = monotonic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="periodic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting for a task that runs."""
        self._stopped.set()

    def run_due(self) -> None:
        for task, due in self._due.items():
            if self._monotonic() >= due:
                self._due[task] = self._monotonic() + task.seconds
                try:
                    task.do()
                except Exception:
                    log.exception("a periodic task failed: this is a bug in the exporter")

    def _run(self) -> None:
        while not self._stopped.wait(_TICK):
            self.run_due()
