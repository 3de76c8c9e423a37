"""One run: a seed, some tenants and some days, step by step, with the invariants held after each."""

from __future__ import annotations

import heapq
import itertools
import random
import re
import shutil
import tempfile
from collections import deque
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from exporter import log
from exporter.simulator.reports import make_rows
from exporter.storage import StorageError
from exporter.storage.database import FILE_NAME
from tests.full_simulator import Simulator
from tests.soak.clock import START, Time
from tests.soak.configuration import DAY, Configuration
from tests.soak.disk import Disk, FailingConnection, copy_files, cut_power
from tests.soak.errors import KilledError, ViolationError
from tests.soak.events import Events
from tests.soak.ledger import Ledger
from tests.soak.network import Network
from tests.soak.oracle import Oracle
from tests.soak.process import Process
from tests.soak.result import Ears, Result
from tests.soak.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.state import Key, Standing

_LONG = 30
"""Days from which on a run is long enough to see memory grow."""


class Run:
    """A simulated life of the exporter.

    Args:
        seed: of everything.
        tenants: how many.
        days: how many.
        folder: for configuration, secrets and storage; empty.
        tell: told of each event, for a replay.
    """

    def __init__(
        self, seed: int, tenants: int, days: float, folder: Path, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._rng = random.Random(seed)
        self._days = days
        self._tell = tell
        self._happened: deque[str] = deque(maxlen=12)
        self.wreck = folder / "wreck"
        self.time = Time()
        self.simulator = Simulator(seed, tenants)
        self.simulator.log = deque(maxlen=10)
        self.network = Network(self.simulator, self.time)
        self.oracle = Oracle(self.simulator, self.network, self.time)
        self.ledger = Ledger()
        retention = self._rng.choice((20, 60, 1825)) * DAY
        self.configuration = Configuration(folder, self.simulator, self._rng, retention)
        self.result = Result(seed)
        self._ears = Ears()
        log.set_up("error", stream=self._ears)
        self._watch = Watch(self.simulator, self.oracle, self.time)
        self._number = itertools.count()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._events = Events(self, self._rng, tenants)
        self._pause = DAY * 0.6 / max(tenants, 3)
        self._next_event = self.time.true + self._pause
        self._next_day = self.time.true + DAY
        self._jumped_at = 0.0

    def run(self) -> Result:
        """Live through all the days; the result says whether an invariant broke."""
        # MSAL asks time.time for the time, and hours must pass for it too.
        # Rows are computed again for every call, and groups are large: both cost time that proves nothing here.
        rows = lru_cache(maxsize=256)(make_rows)
        with (
            mock.patch("time.time", self.time.now),
            mock.patch("exporter.simulator.state.make_rows", rows),
            mock.patch("exporter.exposition._GROUP", 8),
        ):
            try:
                self._live()
            except ViolationError as violation:
                self.result.violation = self._where(str(violation))
            except Exception as error:  # noqa: BLE001 - whatever it is, the seed is to be known
                self.result.violation = self._where(f"{type(error).__name__}: {error}")
        result, network = self.result, self.network
        result.days = (self.time.true - START) / DAY
        result.polls, result.requests, result.faults = self.oracle.total, network.requests, network.faults
        return result

    def _where(self, what: str) -> str:
        return f"step {self.result.steps}, day {(self.time.true - START) / DAY:.3f}: {what}\n  before: " + "; ".join(
            self._happened
        )

    def _live(self) -> None:
        self.begin()
        while self.time.true < START + self._days * DAY:
            self.result.steps += 1
            try:
                self._step()
                self._idle()
            except KilledError:
                self.crash()
                self._idle()
            self._watch.look(self.process)
            if self._ears.heard:
                raise ViolationError(f"an exception that nobody foresaw: {self._ears.heard[0]}")
        self.ledger.settle()
        self._look_at_memory()
        self.end()
        self._check_storage()

    def _idle(self) -> None:
        """Let the threads next to the polls do their work; they may find a changed configuration."""
        self.process.idle()
        if self.process._config is not self._config:
            self._reloaded()

    def _step(self) -> None:
        """Let the next thing happen: a poll, something planned, or an event."""
        poll_at = self.process.queue.next_at() - self.time.skew
        planned_at = self._later[0][0] if self._later else float("inf")
        at = min(poll_at, planned_at, self._next_event, self._next_day)
        self.time.sleep(at - self.time.true)
        if at == self._next_day:
            self._next_day += DAY
            self._idle()
            self._watch.daily(self.process)
            self._look_at_memory()
        elif at == self._next_event:
            self._next_event = self.time.true + self._rng.expovariate(1 / self._pause)
            what = self._events.happen()
            self.result.events[_kind(what)] += 1
            self._note(what)
        elif at == planned_at:
            heapq.heappop(self._later)[2]()
        else:
            self.process.queue.run_next()

    def _note(self, what: str) -> None:
        line = f"day {(self.time.true - START) / DAY:.3f} {what}"
        self._happened.append(line)
        self._tell(line)

    # What events use

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after some true time."""
        heapq.heappush(self._later, (self.time.true + seconds, next(self._number), do))

    def begin(self) -> None:
        """Start a process on whatever storage holds."""
        disk = Disk.open(self.configuration.storage, clock=self.time.now)
        disk.ledger = self.ledger
        self.ledger.settle()  # opening writes SQLite's log back into the file
        self.configuration.write()
        self.process = Process(
            self.configuration,
            disk,
            network=self.network,
            time=self.time,
            oracle=self.oracle,
            seed=self._rng.getrandbits(32),
        )
        self._config = self.process._config
        self.oracle.start(self.configuration.accounts.values(), self.ledger.standings)
        self.process.begin()
        self._watch.look(self.process)  # everything is published again before any poll
        self.process.start_polling()

    def end(self) -> None:
        """End the process as SIGTERM does."""
        self._lost_memories(power_cut=False)
        self.process.disk.heal()
        self.process.stop()
        self.ledger.settle()

    def crash(self, *, power_cut: bool = False, damage: bool = False) -> None:
        """Let the process die, and start another one on what it leaves behind."""
        self.result.deaths += 1
        disk = self.process.disk
        if not disk.dead:
            copy_files(self.configuration.storage, self.wreck)
        power_cut = power_cut and cut_power(self.wreck, self._rng)
        with suppress(StorageError):
            disk.close()
        shutil.rmtree(self.configuration.storage)
        self.wreck.rename(self.configuration.storage)
        self._lost_memories(power_cut=power_cut)
        if damage:
            (self.configuration.storage / f"{FILE_NAME}-wal").unlink(
                missing_ok=True
            )  # a good log would repair the file
            (self.configuration.storage / FILE_NAME).write_bytes(b"\xff" * 8192)
            self.ledger = Ledger()
            self.network.windows.forget(self.time.true)
            self.time.sleep(700)
        if power_cut:
            self.time.sleep(700)
            self._restored_after_power_cut()
        self.begin()

    def _restored_after_power_cut(self) -> None:
        disk = Disk.open(self.configuration.storage, clock=self.time.now)
        restored = disk.restore()
        disk.close()
        if not self.ledger.cut(restored):
            raise ViolationError("after a power cut storage holds a state that never was")

    def _lost_memories(self, *, power_cut: bool) -> None:
        """Expect no more than what was stored: a disk that takes nothing keeps no quota and no Retry-After."""
        windows = self.network.windows
        if power_cut or self.time.true - self._jumped_at < 700:
            windows.forget(self.time.true)
        for key, at in self.ledger.unrecorded.items():
            if self.time.now() - at < 700:
                windows.forget(self.time.true, key)
                self.oracle.jumped(0)
        self.ledger.unrecorded.clear()
        for key in {key for key, _ in windows.not_before}:
            if key == self.network.polling or self.ledger.standings.get(key) != self.oracle.standings.get(key):
                windows.free(key)
        if power_cut or self.network.polling is not None:
            self.oracle.jumped(0)  # the last call may have been recorded and not made
        self.network.polling = None

    def jump(self, seconds: float) -> None:
        """Let the exporter's clock jump."""
        self.oracle.jumped(seconds)
        self.time.skew += seconds
        self._jumped_at = self.time.true
        self.network.windows.free()

    def reload(self) -> None:
        """Let the process read its configuration again, as SIGHUP does."""
        self.process.reload()

    def _reloaded(self) -> None:
        self._config = self.process._config
        for account in self.configuration.accounts.values():
            for key in account.report_keys():
                if key not in self.oracle.standings and self.ledger.standings.get(key) is None:
                    self.network.windows.free(key)
        self.oracle.reload(self.configuration.accounts.values(), self._readable())

    def _readable(self) -> Mapping[Key, Standing]:
        broken = isinstance(self.process.disk._connection, FailingConnection)
        return {} if broken else self.ledger.standings

    def _look_at_memory(self) -> None:
        if self._days >= _LONG:
            self._watch.memory(self.ledger)

    def _check_storage(self) -> None:
        now = self.time.now() + 100 * 3600  # wherever the clock has been
        kept = self.simulator.refresh_date(now - self.configuration.retention + 3 * DAY).toordinal()
        self.result.reports = self.ledger.check(self.configuration.storage, kept)


def _kind(what: str) -> str:
    first = what.split(maxsplit=1)[0]
    return first if first in {"fault", "scenario"} else re.split(" at | by | of ", what)[0]


def live(
    seed: int, tenants: int, days: float, tell: Callable[[str], None] = lambda _: None, place: Path | None = None
) -> Result:
    """Run a seed in a folder of its own.

    Args:
        seed: of everything.
        tenants: how many.
        days: how many.
        tell: told of each event.
        place: where that folder is made; where temporary ones are if left out.
    """
    with tempfile.TemporaryDirectory(prefix="soak-", dir=place) as folder:
        return Run(seed, tenants, days, Path(folder), tell).run()
