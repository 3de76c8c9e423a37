"""One run of the exporter, from its start to its end or death: the real one, but without threads and sockets."""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING

from exporter.cli.serve import PeriodicTasks
from exporter.config import load
from exporter.exporter import Exporter
from exporter.microsoft import Microsoft
from exporter.poller import Poller
from exporter.state import Standing
from tests.soak.errors import ViolationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.config import Config, Tenant
    from exporter.state import Key, Outcome
    from tests.soak.clock import Time
    from tests.soak.configuration import Configuration
    from tests.soak.disk import Disk
    from tests.soak.network import Network
    from tests.soak.oracle import Oracle


class Queue:
    """In place of the schedule: the polls by their due times, run one by one.

    It plans as `Schedule` does: a poll again after each run, all of them after a change or a clock jump, and a poll
    that is due no more when its moment comes is planned again.
    """

    def __init__(self, process: Process, time: Time) -> None:
        self._process = process
        self._time = time
        self._tenants: dict[Key, Tenant] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._number = 0
        self._current: dict[Key, int] = {}

    def replace(self, tenants: Iterable[Tenant], _concurrency: int) -> None:
        """Poll exactly these tenants' reports from now on."""
        self._tenants = {key: tenant for tenant in tenants for key in tenant.keys}
        self.plan_again()

    def stop(self, _grace: float = 0.0) -> None:
        """Do nothing: nobody runs."""

    def next_at(self) -> float:
        """Return when the next poll runs, by the exporter's clock; infinity if there is none."""
        while self._heap and self._current.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def run_next(self) -> None:
        """Run the next poll, if it is still due."""
        _, _, key = heapq.heappop(self._heap)
        if self._process._due(self._tenants[key], key) <= self._time.now():
            self._process.poll(self._tenants[key], key)
        self._plan(key)

    def plan_again(self) -> None:
        """Plan everything again."""
        self._heap.clear()
        self._current.clear()
        for key in self._tenants:
            self._plan(key)

    def _plan(self, key: Key) -> None:
        self._number += 1
        self._current[key] = self._number
        due = self._process._due(self._tenants[key], key)
        heapq.heappush(self._heap, (max(due, self._time.now()), self._number, key))


class WatchedPoller(Poller):
    """A poller that tells the network whose poll it is, and the oracle what came of it."""

    network: Network
    oracle: Oracle

    def poll(self, tenant: Tenant, key: Key, standing: Standing) -> Outcome:
        """Poll."""
        self.network.polling = key
        self.network.records.clear()
        outcome = super().poll(tenant, key, standing)
        self.network.polling = None
        self.oracle.polled(key, outcome, self.network.records)
        return outcome


class Process(Exporter):
    """The exporter as `serve` makes it, with the network, the time and the schedule of a run.

    Args:
        configuration: its configuration.
        disk: its storage.
        network: its way to Microsoft.
        time: of everything.
        oracle: told of every poll.
        seed: of the pauses between attempts.
    """

    def __init__(
        self, configuration: Configuration, disk: Disk, *, network: Network, time: Time, oracle: Oracle, seed: int
    ) -> None:
        flags = {"config.file": str(configuration.file)}
        self._network = network
        self._time = time
        self._oracle = oracle
        self._rng = random.Random(seed)
        super().__init__(
            load(flags, {}), lambda: load(flags, {}), disk, environ={}, clock=time.now, monotonic=time.truth
        )
        self._replica = ""  # the storage's id is random, and a seed must tell the same story twice
        self.disk = disk
        self._errors_at_start = disk.errors - disk.failed
        self.queue = Queue(self, time)
        self.periodic = PeriodicTasks(self.periodic_tasks(), time.truth)

    def begin(self) -> None:
        """Render what was restored, and plan the polls."""
        self._renderer.replace(self._config.tenants)
        self._renderer.render()
        self._rendered = True

    def start_polling(self) -> None:
        """Plan the polls."""
        self._microsoft = self._new_microsoft(self._config)
        self._schedule = self.queue  # type: ignore[assignment]  # what it is asked for, it can do
        self.queue.replace(self._config.tenants, 1)

    def idle(self) -> None:
        """Do what the threads next to the polls do."""
        self.periodic.run_due()
        self._renderer.render()

    def page(self) -> Sequence[bytes]:
        """Return the pieces of the tenants' part of `/metrics`, which the next scrape joins."""
        return self._exposition._pages[False].texts

    def restored(self) -> dict[Key, Standing]:
        """Return where every enabled report stands in memory."""
        nothing = Standing()
        standings = {key: self._states.get(key) for _, key in self.reports}
        return {key: standing for key, standing in standings.items() if standing != nothing}

    def check_counters(self, failures: int, stale: int) -> None:
        """Hold the process's own counters against what happened.

        Raises:
            ViolationError: one is wrong.
        """
        samples = {(sample.family, sample.labels): sample.value for sample in self._own.samples()}
        counted = sum(value for (family, _), value in samples.items() if family == "exporter_failures_total")
        seen = (counted, samples["exporter_stale_reports_total", ()], samples["exporter_storage_errors_total", ()])
        wanted = (failures, stale, self._errors_at_start + self.disk.failed)
        if seen != wanted:
            raise ViolationError(f"counters (failures, stale, storage errors): {seen}, not {wanted}")

    def _new_microsoft(self, config: Config) -> Microsoft:
        microsoft = Microsoft(
            config,
            self._budget,
            environ={},
            clock=self._time.now,
            count=self._own.count_request,
            transport=self._network,
        )
        poller = WatchedPoller(
            microsoft.clients,
            microsoft.tokens,
            self._budget,
            clock=self._time.now,
            monotonic=self._time.truth,
            sleep=self._time.sleep,
            rng=self._rng,
        )
        poller.network, poller.oracle = self._network, self._oracle
        microsoft.poller = poller
        return microsoft
