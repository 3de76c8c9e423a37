"""`kill -9` at random moments: a real exporter under load, and what its successor publishes."""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.builders import PLATFORMS, USERS
from tests.full_simulator import Simulator, SimulatorServer, Stage
from tests.process import Running, configure
from tests.soak.errors import ViolationError
from tests.soak.network import LIMITS, WINDOW
from tests.soak.oracle import COLUMNS, PLATFORM_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator

_TENANTS = 40
_LONGEST_LIFE = 15.0
_SAMPLE = re.compile(r'office365_activations_(\w+)\{(.*tenant=".*)\} (\S+)')
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CONFIGURATION = {
    # The smallest interval, and JSON, whose budget is seven times that of CSV: as many polls as there can be.
    "poll": {"interval": "1s", "jitter": "0s", "timeout": "5s", "concurrency": 16},
    "report": {"api_version": "beta", "format": "json"},
    "reports": [USERS, PLATFORMS],
}


@dataclass(slots=True)
class Shown:
    """What a scrape says of one report.

    Attributes:
        day: midnight UTC of its refresh date, Unix seconds.
        success: when the last good poll ended.
        polls: how many there were since the start.
        rows: its numbers by product type.
    """

    day: float = 0.0
    success: float = 0.0
    polls: float = 0.0
    rows: dict[str, tuple[float, ...]] = field(default_factory=dict)


Scrape = dict[tuple[str, str], Shown]


def read(text: str) -> Scrape:
    """Return what a scrape says of each tenant's reports."""
    found: defaultdict[tuple[str, str], Shown] = defaultdict(Shown)
    counts: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for metric, labels_text, value in _SAMPLE.findall(text):
        labels = dict(_LABEL.findall(labels_text))
        tenant = labels["tenant"]
        match metric:
            case "report_refresh_timestamp_seconds":
                found[tenant, labels["report"]].day = float(value)
            case "last_success_timestamp_seconds":
                found[tenant, labels["report"]].success = float(value)
            case "polls_total":
                found[tenant, labels["report"]].polls = float(value)
            case "platform_activations":
                counts[tenant, PLATFORMS, labels["product_type"]][labels["platform"]] = float(value)
            case _ if metric in COLUMNS:
                counts[tenant, USERS, labels["product_type"]][metric] = float(value)
    for (tenant, report, product), by_column in counts.items():
        columns = COLUMNS if report == USERS else PLATFORM_LABELS
        found[tenant, report].rows[product] = tuple(by_column[column] for column in columns)
    return dict(found)


class Kills:
    """A simulation, and exporters that die on one storage.

    Args:
        server: the simulation, started.
        folder: for configuration, storage and logs.
        rng: draws the moments.

    Attributes:
        published: what was last seen on `/metrics`.
        kills: how many there were: while serving, and while starting.
        polls: how many polls were seen to end.
    """

    def __init__(self, server: SimulatorServer, folder: Path, rng: random.Random) -> None:
        self._server = server
        self._state = server.simulator
        self._folder = folder
        self._rng = rng
        self._configuration = configure(
            server, folder, {**_CONFIGURATION, "storage": {"path": str(folder / "storage")}}
        )
        self.published: Scrape = {}
        self.kills: Counter[str] = Counter()
        self.polls = 0.0
        self._killed_at = 0.0
        server.latency = 0.02
        for tenant in server.simulator.tenants:
            self._state.set_scenario(tenant, "flaky")

    def kill(self) -> None:
        """Start an exporter, hold what it publishes against what its predecessor did, and kill it.

        Raises:
            ViolationError: something published was lost, or something was published that was never served.
        """
        exporter = Running(f"--config.file={self._configuration}", log=self._folder / "log")
        if self._rng.random() < 0.25:
            time.sleep(self._rng.uniform(0, 1.0))
            self.kills["while starting"] += 1
        else:
            with exporter:
                self._first_look(exporter)
                self._load(exporter, self._rng.uniform(0, 160))
            self.kills["while serving"] += 1
        exporter.process.kill()
        exporter.process.wait()
        self._killed_at = time.time()
        self._check_log(exporter.log)

    def _first_look(self, exporter: Running) -> None:
        while exporter.get("/-/ready").status_code != 200:
            time.sleep(0.005)
        text = exporter.metrics()
        if "office365_activations_exporter_storage_errors_total 0" not in text:
            raise ViolationError(f"storage did not open well:\n{exporter.log}")
        now = read(text)
        for key, before in self.published.items():
            self._compare(key, before, now.get(key, Shown()))
        self._take(now)

    def _load(self, exporter: Running, polls: float) -> None:
        """Let it poll so often, with numbers that change all the time; less often where its call budget is used up."""
        end = time.monotonic() + _LONGEST_LIFE
        while sum(shown.polls for shown in self.published.values()) < polls and time.monotonic() < end:
            for tenant in self._rng.sample(self._server.simulator.tenants, 20):
                self._state.revise(tenant)
            self._take(read(exporter.metrics()))
            time.sleep(self._rng.uniform(0, 0.03))
        self.polls += sum(shown.polls for shown in self.published.values())

    def _compare(self, key: tuple[str, str], before: Shown, now: Shown) -> None:
        same = now.success == before.success
        if now.success < before.success or now.day < before.day or (same and now.rows != before.rows):
            raise ViolationError(f"lost: {key} was {before}, is {now}")
        if not same and now.polls == 0 and now.success > self._killed_at:
            raise ViolationError(f"a success that nobody had: {key} was {before}, is {now}")

    def _take(self, now: Scrape) -> None:
        for (tenant, report), shown in now.items():
            day = datetime.fromtimestamp(shown.day, UTC).date()
            served = self._state.served(tenant, report, day)
            for row in shown.rows.items():
                if row not in served:
                    raise ViolationError(f"never served: {tenant}, {report}, {day}, {row}")
        self.published |= {key: shown for key, shown in now.items() if shown.success}

    @staticmethod
    def _check_log(log: str) -> None:
        if found := re.search(r".*(?:damaged|in memory only|in use by|error in the exporter).*", log):
            raise ViolationError(f"the log says: {found[0]}")

    def check_quota(self) -> None:
        """Hold the calls that Microsoft saw against the budget, over all these lives.

        Raises:
            ViolationError: there were more.
        """
        calls: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for record in self._state.log:
            if record.stage is Stage.GRAPH:
                calls[record.tenant, record.report].append(record.at)
        for key, made in calls.items():
            for first, later in zip(made, made[LIMITS["json"] :], strict=False):
                if later - first < WINDOW - 1:
                    raise ViolationError(f"quota: more than {LIMITS['json']} calls in {later - first:.0f} s: {key}")


@contextmanager
def kills(seed: int) -> Iterator[Kills]:
    """Start a simulation for exporters to die on."""
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as folder,
        SimulatorServer(Simulator(seed, _TENANTS)) as server,
    ):
        yield Kills(server, Path(folder), random.Random(seed))


def main(count: int, seed: int) -> int:
    """Kill `count` times; return 1 at the first thing that was lost or never served."""
    began = time.perf_counter()
    with kills(seed) as victim:
        try:
            for number in range(1, count + 1):
                victim.kill()
                if number % 20 == 0:
                    sys.stdout.write(f"{number} kills, nothing lost\n")
                    sys.stdout.flush()
            victim.check_quota()
        except (ViolationError, AssertionError) as violation:
            sys.stdout.write(f"VIOLATION after {victim.kills.total()} kills, seed {seed}: {violation}\n")
            return 1
        how = ", ".join(f"{number} {moment}" for moment, number in sorted(victim.kills.items()))
        sys.stdout.write(
            f"ok: seed {seed}: {count} kills ({how}), {_TENANTS} tenants, {victim.polls:.0f} polls, "
            f"{len(victim.published)} reports published again and again, {time.perf_counter() - began:.0f} s\n"
        )
    return 0
