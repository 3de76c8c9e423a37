"""The thread that renders each tenant whose samples changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporter.log import get_logger
from exporter.state import CLOCK_JUMP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.config import Tenant
    from exporter.exposition import Exposition
    from exporter.metrics import TenantSamples
    from exporter.process_metrics import OwnMetrics
    from exporter.state import Key

log = get_logger(__name__)

_LOOK = 1.0
"""How often time itself is checked, seconds: reports grow too old, calls leave the quota's window."""

_HELD = 300.0
"""Seconds after a jump ahead in which polls, which are all due then, may show what is still true."""

_REST = 2.0
"""After rendering, the thread rests this many times as long as that took: a storm of polls is shown in batches."""


class AgeClock:
    """The clock by which numbers grow too old: a jump ahead does not withdraw what was read a moment ago.

    It follows such a jump five minutes later. Until then polls, which are due at once, replace what they can; a machine
    that was paused for days withdraws the rest.

    Args:
        clock: Unix seconds; may jump.
        monotonic: seconds.
    """

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._ahead = clock() - monotonic()
        self._lag = 0.0
        self._until = 0.0
        self._jumped = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return Unix seconds."""
        with self._lock:
            now, steady = self._clock(), self._monotonic()
            jump, self._ahead = now - steady - self._ahead, now - steady
            lag = self._lag if steady < self._until else 0.0
            if abs(jump) > CLOCK_JUMP:
                self._jumped += jump
                lag = max(lag + jump, 0.0)
                if jump > 0:
                    self._until = steady + _HELD
            self._lag = lag
            return now - lag

    def jumped(self) -> float:
        """Return by how many seconds the clock has jumped since this was called last; 0 if it has not."""
        self()
        with self._lock:
            jumped, self._jumped = self._jumped, 0.0
        return jumped


class Renderer:
    """Renders changed tenants into the exposition.

    Args:
        exposition: where to.
        samples: what from.
        own: learns how many tenants are pending.
        clock: Unix seconds, as of which numbers are too old.
    """

    def __init__(
        self, exposition: Exposition, samples: TenantSamples, own: OwnMetrics, clock: Callable[[], float]
    ) -> None:
        self._exposition = exposition
        self._samples = samples
        self._own = own
        self._clock = clock
        self._tenants: dict[str, Tenant] = {}
        self._names: dict[Key, str] = {}
        self._changed: dict[str, None] = {}
        self._pending: set[str] = set()
        self._moments: dict[str, float] = {}  # when each tenant's samples change without a poll
        self._lock = threading.Lock()
        self._rendering = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def replace(self, tenants: Iterable[Tenant]) -> None:
        """Show exactly these tenants from the next rendering on, under the names they have now."""
        with self._lock:
            self._tenants, gone = {tenant.name: tenant for tenant in tenants}, self._tenants
            self._names = {key: tenant.name for tenant in self._tenants.values() for key in tenant.keys}
            self._changed.update(dict.fromkeys([*gone, *self._tenants]))
        self._wake.set()

    def changed(self, key: Key) -> None:
        """Render the tenant of a report again, soon, under the name it has by now."""
        with self._lock:
            if key in self._names:
                self._changed[self._names[key]] = None
        self._wake.set()

    def render(self) -> bool:
        """Render now whatever changed, by polls or by time; say whether anything did."""
        with self._rendering:
            now = self._clock()
            with self._lock:
                names, self._changed = self._changed, {}
                tenants = self._tenants
            names.update(dict.fromkeys(name for name, at in self._moments.items() if at <= now))
            for name in names:
                try:
                    self._render(name, tenants.get(name))
                except Exception:  # one tenant must not hold up the numbers of all others
                    log.exception("a tenant's metrics cannot be rendered: this is a bug in the exporter", tenant=name)
                    self._moments.pop(name, None)
                    self._exposition.drop(name)
            if names:
                self._exposition.publish()
            self._own.tenants_pending = len(self._pending)
            return bool(names)

    def start(self) -> None:
        """Render in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="rendering", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _render(self, name: str, tenant: Tenant | None) -> None:
        if tenant is None:
            self._exposition.drop(name)
            self._pending.discard(name)
            self._moments.pop(name, None)
            return
        # Asked first: what expires while samples are made is rendered again.
        self._moments[name] = self._samples.changes_at(tenant)
        self._exposition.put(name, self._samples.of(tenant))
        if self._samples.pending(tenant):
            self._pending.add(name)
        else:
            self._pending.discard(name)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(_LOOK)
            self._wake.clear()
            started = self._clock()
            try:
                rendered = self.render()
            except Exception:
                log.exception("rendering failed: this is a bug in the exporter")
                rendered = True
            if rendered:
                self._stopped.wait(min(max(_REST * (self._clock() - started), 0.01), 1.0))
