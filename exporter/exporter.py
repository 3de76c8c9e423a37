"""The composition root of `serve`: start, reload and stop."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.config import watched
from exporter.errors import ConfigError
from exporter.exposition import Exposition
from exporter.files import Watch
from exporter.log import get_logger
from exporter.metrics import TenantSamples
from exporter.process_metrics import OwnMetrics, ProcessMetrics
from exporter.recorder import Recorder
from exporter.rendering import AgeClock, Renderer
from exporter.storage import Storage, StorageLockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from exporter.config import Config, Tenant
    from exporter.microsoft import Microsoft
    from exporter.schedule import Schedule
    from exporter.state import Key, Outcome
    from exporter.status import Status

log = get_logger(__name__)

_REVISION = "SOURCE_REVISION"
"""The variable by which an image says which revision it was built from."""

_CHECK = 30.0
"""Seconds between two checks of the files."""

_GRACE = 1.5
"""Seconds that polls get to end at a stop; the whole stop must be over within five."""

_EXPIRY_WARNING = 30
"""Days before its end from which on a credential is warned about."""


def open_storage(config: Config) -> Storage:
    """Return the storage that the configuration names, or one in memory where it cannot be used.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        return Storage.open(config.root.storage.path, clock=time.time)
    except StorageLockedError as error:
        raise ConfigError((error.message, error.hint)) from None


class Exporter:
    """The running exporter: polls on its schedule, renders what changed, answers what the web endpoints ask.

    Args:
        config: what to do.
        load: reads the configuration again, for a reload; raises `ConfigError`.
        storage: where reports are kept.
        environ: for HTTPS_PROXY, NO_PROXY and the revision in `build_info`.
        clock: Unix seconds.
        monotonic: seconds; never jumps.
        process_metrics: whether `/metrics` has `process_*` and `python_info`.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        storage: Storage,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        process_metrics: bool = True,
    ) -> None:
        self._load = load
        self._storage = storage
        self._environ = environ
        self._clock = clock
        self._monotonic = monotonic
        self._age_clock = AgeClock(clock, monotonic)
        self._config = config
        self._own = OwnMetrics(environ.get(_REVISION, ""), storage)
        self._own.reloaded_at = clock()
        self._recorder = Recorder(storage, self._own, clock, monotonic)
        self._recorder.adopt(self._config.tenants)
        self._states, self._budget = self._recorder.states, self._recorder.budget
        samples = TenantSamples(self._states, self._budget, self._age_clock)
        self._process = ProcessMetrics() if process_metrics else None
        self._exposition = Exposition()
        self._renderer = Renderer(self._exposition, samples, self._own, self._age_clock)
        self._urgent: set[Key] = set()
        self._watch = Watch(lambda: watched(self._config))
        self._microsoft: Microsoft | None = None
        self._schedule: Schedule | None = None
        self._reloading = threading.RLock()
        self._started_at = clock()
        self._replica = storage.identity
        self._rendered = False
        self._corrected: Config | None = None

    def render_first(self) -> None:
        """Render what storage restored: from here on the exporter is ready."""
        with self._reloading:
            self._renderer.replace(self._config.tenants)
            self._renderer.render()
        self._rendered = True
        self._renderer.start()

    def connect(self) -> None:
        """Import what polls need, and read the credentials' dates of expiry.

        Raises:
            ConfigError: `http` names a file that cannot be used.
        """
        with self._reloading:
            self._microsoft = self._microsoft or self._new_microsoft(self._config)
            self._own.expiries = self._microsoft.credentials.expiries(self._config.tenants)

    @property
    def reports(self) -> tuple[tuple[Tenant, Key], ...]:
        return tuple((tenant, key) for tenant in self._config.tenants for key in tenant.keys)

    def poll(self, tenant: Tenant, key: Key) -> Outcome:
        """Poll a report once, after `connect`: its outcome is stored, rendered soon, counted and logged."""
        microsoft = self._microsoft  # held until the end: then the connections close that a reload has replaced
        if microsoft is None:
            raise AssertionError("not connected")
        self._urgent.discard(key)
        outcome = self._recorder.poll(microsoft.poller, tenant, key)
        if microsoft is not self._microsoft and outcome.failure is not None:
            self._urgent.add(key)  # it began before a reload that may have corrected the cause
        self._renderer.changed(key)
        return outcome

    def start_polling(self) -> None:
        """Connect, and start the schedule.

        Raises:
            ConfigError: `http` names a file that cannot be used.
        """
        from exporter.schedule import Schedule  # noqa: PLC0415 - the web endpoints answer before APScheduler is imported

        with self._reloading:
            self.connect()
            self._schedule = Schedule(self._due, self.poll, clock=self._clock, monotonic=self._monotonic)
            # First: APScheduler searches the jobs that wait for its start one by one, for each that is added.
            self._schedule.start()
            self._schedule.replace(self._config.tenants, self._config.root.poll.concurrency)

    def stop(self) -> None:
        """Start no further poll, give those that run a moment, and close storage."""
        ended = self._schedule is None or self._schedule.stop(_GRACE)
        if self._microsoft is not None and ended:
            self._microsoft.close()
        self._renderer.stop()
        self._storage.close()

    def periodic_tasks(self) -> tuple[tuple[float, Callable[[], None]], ...]:
        """Return what is to be done again and again, each with its seconds in between."""
        return (
            (1.0, self._notice_clock),
            (_CHECK, self._reload_if_changed),
            (60.0, self._repair_storage),
            (86400.0, lambda: self._recorder.retain(self._config.root.storage.retention)),
            (86400.0, self._warn_of_expiry),
        )

    def _notice_clock(self) -> None:
        if self._schedule is not None and (jumped := self._age_clock.jumped()):
            log.warning("the clock jumped: every poll is scheduled again", seconds=round(jumped, 1))
            self._schedule.plan_again()
            self._renderer.replace(self._config.tenants)  # what is too old, and when it will be, follows the clock

    def _reload_if_changed(self) -> None:
        if self._watch.changed() or self._is_corrected():
            self.reload()

    def _is_corrected(self) -> bool:
        """Say whether a refused configuration is ok by now, seen twice alike: what was wrong may be a file of its own.

        Nothing but the refused configuration may name that file, so that it is not watched.
        """
        last, self._corrected = self._corrected, None
        if self._own.reload_error:
            with suppress(ConfigError):
                config = self._load()
                self._new_microsoft(config).close()
                self._corrected = config
        return self._corrected is not None and self._corrected == last

    def _repair_storage(self) -> None:
        if self._recorder.repair_storage():
            self._renderer.replace(self._config.tenants)

    def _warn_of_expiry(self) -> None:
        for expiry in self._own.expiries:
            days = (expiry.at - self._clock()) / 86400
            if days < _EXPIRY_WARNING:
                log.warning(
                    "a credential expires soon" if days > 0 else "a credential has expired",
                    client_id=expiry.client_id,
                    kind=expiry.kind,
                    expires=datetime.fromtimestamp(expiry.at, UTC).isoformat(timespec="seconds"),
                    days=round(days),
                    hint="renew it in the app registration, then replace the file; restart only if systemd or a"
                    " variable passes it",
                )

    # What the web endpoints ask.

    def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
        """Return the body of `/metrics`.

        Raises:
            UnknownTenantError: one of `tenants` is not configured.
        """
        started = time.perf_counter()
        body: Sequence[bytes]
        if tenants:
            body = (self._exposition.of_tenants(tenants, openmetrics=openmetrics, gzip=gzip),)
        else:
            own = self._own.text(openmetrics=openmetrics)
            if self._process is not None:
                own += self._process.text(openmetrics=openmetrics)
            body = self._exposition.body(own, openmetrics=openmetrics, gzip=gzip)
        self._own.scrape_seconds = time.perf_counter() - started
        return body

    def ready(self) -> bool:
        """Say whether configuration, storage and the first rendering are done."""
        return self._rendered

    def status(self, tenant: str | None = None) -> Status:
        """Return what `/` and `/api/v1/status` show; with the history of one `tenant`, or of all without theirs.

        Raises:
            UnknownTenantError: `tenant` is not configured.
        """
        from exporter.status import status  # noqa: PLC0415 - its models take 20 ms, which the start has no use for

        return status(
            self._config,
            self._states,
            self._storage,
            only=tenant,
            now=self._clock(),
            expired_by=self._age_clock(),
            started_at=self._started_at,
            reloaded_at=self._own.reloaded_at,
            reload_error=self._own.reload_error,
            next_poll=self._due,
        )

    def reload(self) -> tuple[bool, str]:
        """Read the configuration again and swap it in whole; a bad one changes nothing.

        Returns:
            Whether it is in force, which `/metrics` then shows, and a sentence for people.
        """
        with self._reloading:
            before = self._watch.now()
            try:
                config = self._load()
                microsoft = self._new_microsoft(config)
            except ConfigError as error:
                self._own.reload_error = error.message
                self._watch.accept(before)
                log.error(  # noqa: TRY400 - the errors of the configuration say it all
                    "the configuration was not reloaded; the previous one remains in force", errors=error.message
                )
                return False, f"not reloaded, the previous configuration remains in force:\n{error.message}"
            self._swap(config, microsoft, self._watch.differences(before))
            self._watch.accept(before)
            self._own.reloaded_at = self._clock()
            self._own.reload_error = ""
            enabled = len(config.tenants)
            log.info("the configuration was reloaded", tenants=enabled)
            return True, f"reloaded (tenants: {enabled})"

    def _swap(self, config: Config, microsoft: Microsoft, changed: set[Path]) -> None:
        if config.root.storage.path != self._config.root.storage.path:
            log.warning("a new storage.path takes effect only after a restart", path=str(config.root.storage.path))
        auth_before = {key: (tenant.auth, tenant.client_id) for tenant, key in self.reports}
        self._config, self._microsoft, tenants = config, microsoft, config.tenants
        self._recorder.adopt(tenants)
        for tenant in tenants:
            auth, is_new_file = (tenant.auth, tenant.client_id), not changed.isdisjoint(tenant.auth.files)
            self._urgent |= {
                key
                for key in tenant.keys
                if is_new_file or auth_before.get(key, auth) != auth or self._states.get(key).failure is not None
            }
        self._own.expiries = microsoft.credentials.expiries(tenants)
        self._renderer.replace(tenants)
        self._renderer.render()
        if self._schedule is not None:
            self._schedule.replace(tenants, config.root.poll.concurrency)

    def _new_microsoft(self, config: Config) -> Microsoft:
        from exporter.microsoft import Microsoft  # noqa: PLC0415 - the web endpoints answer before msal is imported

        return Microsoft(config, self._budget, environ=self._environ, clock=self._clock, count=self._own.count_request)

    def _due(self, tenant: Tenant, key: Key) -> float:
        """Return when the report is polled next, Unix seconds; the past means at once."""
        from exporter.schedule import next_due  # noqa: PLC0415 - as in start_polling

        now = self._clock()
        standing = self._states.get(key)
        wanted = next_due(tenant.poll, key, standing, now, self._replica)
        if key in self._urgent and wanted > now:
            # No reload shortens the wait that Microsoft asked for.
            wanted = max(now, min(standing.last.not_before, wanted)) if standing.last else now
        return max(wanted, self._budget.free_at(key, tenant.report.format))
