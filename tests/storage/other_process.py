"""What tests let another process do with a storage: `python -m tests.storage.other_process TASK FOLDER`."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import closing
from itertools import count
from pathlib import Path

from exporter.log import set_up
from exporter.state import Standing
from exporter.storage import Storage, StorageError
from exporter.storage.history import History
from tests.storage.samples import CONTOSO, DAY, START, good, report


def say(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def hold(folder: Path) -> None:
    """Keep the storage open until stdin ends."""
    storage = Storage.open(folder, clock=time.time)
    say("open")
    sys.stdin.read()
    storage.close()


def write(folder: Path) -> None:
    """Save one report a day for ever, and say so after each."""
    storage = Storage.open(folder, clock=time.time)
    standing = storage.restore().get(CONTOSO, Standing())
    begun = 0 if standing.snapshot is None else standing.snapshot.rows[0].counts[0] + 1
    for number in count(begun):
        snapshot = report(number, START + number * DAY, OFFICE=(number,), VISIO=(2 * number,))
        standing = standing.after(good(snapshot))
        storage.record_call(CONTOSO, snapshot.collected_at)
        storage.save(CONTOSO, "contoso", standing, snapshot)
        say(number)


def fill(folder: Path) -> None:
    """Save until no file may grow any more; say what happened then, and after there was space again."""
    storage = Storage.open(folder, clock=time.time)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    standing = Standing()
    saved = 0
    for number in count():
        snapshot = report(number, START + number * DAY)
        standing = standing.after(good(snapshot))
        try:
            storage.save(CONTOSO, "contoso", standing, snapshot)
        except StorageError as error:
            say(f"full: {error.message} ({error.hint})")
            break
        saved = number
    kept = storage.restore()[CONTOSO].snapshot
    say("kept" if kept and kept.refresh_date == report(saved, 0).refresh_date else "lost")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    storage.save(CONTOSO, "contoso", standing, None)
    say("healed" if storage.restore()[CONTOSO] == standing else "still broken")
    storage.close()


def open_full(folder: Path) -> None:
    """Open a storage on a disk that takes not one byte more; say what came of it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    storage = Storage.open(folder, clock=time.time)
    say(storage.file, sorted(key.cloud for key in storage.restore()))


def open_any(folder: Path) -> None:
    """Open a storage that may not be usable; say why it is not."""
    with closing(Storage.open(folder, clock=time.time)) as storage:
        say(storage.problem)


def read(folder: Path) -> None:
    """Open a storage as `history` does; say why it cannot be read."""
    try:
        with History(folder):
            pass
    except StorageError as error:
        say(error.message)


if __name__ == "__main__":
    set_up()
    tasks = {
        "hold": hold,
        "write": write,
        "fill": fill,
        "open-full": open_full,
        "open": open_any,
        "read": read,
    }
    tasks[sys.argv[1]](Path(sys.argv[2]))
