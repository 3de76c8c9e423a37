"""Doing one thing for many tenants."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from exporter.cli.common import for_each

if TYPE_CHECKING:
    import pytest


def test_results_come_in_the_items_order_and_the_bound_holds() -> None:
    """However long each takes, results stand in the order of the items, and no more run at once than allowed."""
    running, most = 0, 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002 * (number % 3))
        with lock:
            running -= 1
        return number * 2

    assert for_each(range(50), work, concurrency=4, title="working") == [number * 2 for number in range(50)]
    assert most <= 4


def test_a_terminal_shows_a_count_for_many_and_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal one line counts up for many items, not for a few, and is wiped at the end."""
    for count, shown in ((11, True), (10, False)):
        ours, terminal = os.openpty()
        with os.fdopen(terminal, "w") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            for_each(range(count), lambda number: number, concurrency=2, title="checking")
            stderr.write(".")
        text = ""
        while not text.endswith("."):
            text += os.read(ours, 10_000).decode()
        os.close(ours)
        assert (f"checking: {count} of {count}" in text) is shown
        assert text.endswith("\x1b[K." if shown else ".")


def test_results_are_handed_on_as_they_come() -> None:
    """A result that is there is handed on while others still wait."""
    came = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert came.wait(20)
        return number

    results: list[int] = []

    def done(number: int) -> None:
        results.append(number)
        came.set()

    assert for_each((0, 1), work, concurrency=2, title="working", done=done) == [0, 1]
    assert results == [1, 0]
