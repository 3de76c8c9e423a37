"""The way to Microsoft, watched: what was asked when, against the quotas and Retry-After."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from tests.full_simulator import SimulatorTransport, Stage
from tests.soak.errors import KilledError, ViolationError

if TYPE_CHECKING:
    from exporter.state import Key
    from tests.full_simulator import CallRecord, Simulator
    from tests.soak.clock import Time

WINDOW = 600.0
LIMITS = {"csv": 7, "json": 50}
_TOO_MANY = 429
_LONGEST_WAIT = 86400.0
_ROUNDING = 2e-5  # more than the exporter's own


@dataclass(slots=True)
class Windows:
    """The calls to Graph of the last ten minutes, and who must wait until when; all by true time."""

    calls: dict[tuple[Key, str], deque[float]] = field(default_factory=lambda: defaultdict(deque))
    not_before: dict[tuple[Key, bool], float] = field(default_factory=dict)
    forgotten: dict[Key | None, float] = field(default_factory=dict)

    def count(self, key: Key, form: str, now: float) -> int:
        """Return how many calls of that form the last ten minutes hold."""
        made = self.calls[key, form]
        while made and made[0] <= now - WINDOW + _ROUNDING:
            made.popleft()
        return len(made)

    def call(self, key: Key, form: str, now: float) -> None:
        """Take a call to Graph in.

        Raises:
            ViolationError: it is one too many.
        """
        if self.count(key, form, now) >= LIMITS[form]:
            raise ViolationError(f"quota: more than {LIMITS[form]} calls by {form} in ten minutes: {key}")
        self.calls[key, form].append(now)

    def forget(self, now: float, key: Key | None = None) -> None:
        """Expect nothing any more of what one report (or every one) did: what was known of it is lost for a reason."""
        self.forgotten[key] = now
        for known in [known for known in self.calls if key in (None, known[0])]:
            del self.calls[known]
        self.free(key)

    def free(self, key: Key | None = None) -> None:
        """Forget who must wait."""
        self.not_before = {known: at for known, at in self.not_before.items() if key not in (None, known[0])}


class Network(httpx.BaseTransport):
    """Brings requests to the simulation.

    Args:
        simulator: who answers.
        time: of everything.

    Attributes:
        polling: which report is being polled.
        records: what the simulation answered in this poll.
        faults: how often each fault was met.
        windows: what quotas and Retry-After allow.
        requests: how many there were.
    """

    def __init__(self, simulator: Simulator, time: Time) -> None:
        self._transport = SimulatorTransport(simulator, time.truth, time.sleep)
        self._state = simulator
        self._time = time
        self._kill_in = 0
        self.polling: Key | None = None
        self.records: list[CallRecord] = []
        self.faults: Counter[str] = Counter()
        self.windows = Windows()
        self.requests = 0

    def kill_in(self, requests: int) -> None:
        """Let the process die around one of the next requests: even numbers after the answer, odd ones before it."""
        self._kill_in = requests

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, and look whether this request was allowed."""
        self.requests += 1
        self._die()
        graph = request.url.host == "graph.microsoft.com"
        self._look(request, graph=graph)
        before = self._state.log[-1] if self._state.log else None
        try:
            response = self._transport.handle_request(request)
        finally:
            record = self._state.log[-1]
            if record is not before:
                self.records.append(record)
                if record.fault:
                    self.faults[record.fault] += 1
        if response.status_code == _TOO_MANY and self.polling is not None:
            self._wait(response, self.polling, graph=record.stage is not Stage.TOKEN)
        self._die()
        return response

    def _die(self) -> None:
        if self._kill_in:
            self._kill_in -= 1
            if not self._kill_in:
                raise KilledError

    def _look(self, request: httpx.Request, *, graph: bool) -> None:
        key, now = self.polling, self._time.true
        if key is None:
            raise ViolationError(f"a request outside of any poll: {request.url.host}")
        if self._state.leaks:
            raise ViolationError(f"leak: {self._state.leaks}")
        if not graph and request.method != "POST":
            return
        if now < self.windows.not_before.get((key, graph), 0.0) - 1:
            raise ViolationError(
                f"Retry-After: {key} was asked {self.windows.not_before[key, graph] - now:.1f} s early"
            )
        if graph:
            query = request.url.query.decode()
            self.windows.call(key, "json" if "json" in query else "csv", now)

    def _wait(self, response: httpx.Response, key: Key, *, graph: bool) -> None:
        value = response.headers.get("retry-after", "")
        seconds = 0.0
        if value.isdigit():
            seconds = min(float(value), _LONGEST_WAIT)
        elif value.endswith("GMT"):
            # A date is read by the exporter's own clock.
            seconds = min(parsedate_to_datetime(value).timestamp() - self._time.now(), _LONGEST_WAIT)
        lost = max(self.windows.forgotten.get(known, 0.0) for known in (key, None))
        if not self.records[-1].fault and self._time.true - lost > WINDOW:
            raise ViolationError(f"Microsoft's own limit was met: {key}")
        self.windows.not_before[key, graph] = self._time.true + seconds
