"""The invariants: after each step, and those that are looked at once a day."""

from __future__ import annotations

import gc
import gzip
import os
import sys
from typing import TYPE_CHECKING

from tests.bench.measuring import resident
from tests.soak.clock import START
from tests.soak.configuration import DAY
from tests.soak.errors import ViolationError
from tests.soak.page import Page

if TYPE_CHECKING:
    from tests.full_simulator import Simulator
    from tests.soak.clock import Time
    from tests.soak.ledger import Ledger
    from tests.soak.oracle import Oracle
    from tests.soak.process import Process

_SETTLED = 10
"""Days after which memory may grow no more."""

_SERVED = 10
"""Days for which the simulation remembers what it served: older numbers must have left the page long ago."""

_SHORT = 150
"""How many polls the ledger may hold at a look at memory: its own growth is not the exporter's."""

_MOST_BLOCKS = 20_000
"""Python objects that may be more on a later day: a single one kept of each poll is more in 90 days of 50 tenants."""

_MOST_MIB = 64
"""Resident memory that may be more: an answer of 16 MB leaves a hole behind that the allocator keeps."""


class Watch:
    """Holds what a process shows against what it must.

    Args:
        simulator: what is true.
        oracle: what must be shown.
        time: of everything.
    """

    def __init__(self, simulator: Simulator, oracle: Oracle, time: Time) -> None:
        self._simulator = simulator
        self._oracle = oracle
        self._time = time
        self._page = Page()
        self._memory: tuple[int, float] | None = None

    def look(self, process: Process) -> None:
        """Read the page; every sample must be one that must be there, and none may be missing.

        Raises:
            ViolationError: it is not so.
        """
        for name in self._page.follow(process.page()) | self._oracle.changed():
            wanted = self._oracle.samples(name)
            shown = self._page.tenants.get(name, {})
            quota = {series: value for series, value in shown.items() if series[0] == "quota_remaining_calls"}
            rest = {series: value for series, value in shown.items() if series not in quota}
            if rest != wanted and rest != self._oracle.samples(name, doubtful=True):
                wrong = set(shown.items()) ^ set((wanted | quota).items())
                raise ViolationError(f"{name}: the page is not what it must be: {sorted(wrong)[:6]}")
            known = self._oracle.quota(name)
            if known and quota != known:
                raise ViolationError(f"{name}: quota {quota} instead of {known}")

    def daily(self, process: Process) -> None:
        """Scrape, and look at the counters and at every standing in memory.

        Raises:
            ViolationError: something is not what it must be.
        """
        self._page.follow(process.page())
        self._page.confirm(b"".join(process.scrape(openmetrics=False, gzip=False, tenants=())))
        self._page.confirm(gzip.decompress(b"".join(process.scrape(openmetrics=False, gzip=True, tenants=()))))
        process.check_counters(self._oracle.failures.total(), self._oracle.stale)
        if wrong := set(process.restored().items()) ^ set(self._oracle.standings.items()):
            first = sorted(wrong, key=repr)[:2]
            raise ViolationError(f"the standings in memory are not what the polls came to: {first}")
        simulator = self._simulator
        oldest = self._simulator.refresh_date(self._time.true - _SERVED * DAY)
        simulator._served = {key: rows for key, rows in simulator._served.items() if key[2] > oldest}

    def memory(self, ledger: Ledger) -> None:
        """Look whether memory has grown since the tenth day.

        Raises:
            ViolationError: it has.
        """
        if self._time.true < START + _SETTLED * DAY or len(ledger.recent) > _SHORT:
            return
        gc.collect()
        used = (sys.getallocatedblocks(), resident(os.getpid()))
        if self._memory is None:
            self._memory = used
        blocks, size = self._memory
        if used[0] > blocks + _MOST_BLOCKS or used[1] > size + _MOST_MIB:
            raise ViolationError(f"memory grows: {self._memory} after day {_SETTLED}, now {used} (blocks, MiB)")
