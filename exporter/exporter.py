"""The composition root of `serve`: everything is made here, handed on as arguments, and ended here."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.collection import Collection
from exporter.config import watched
from exporter.config.tenants import tenants as tenants_of
from exporter.errors import MENDED_BY_PEOPLE, ConfigError
from exporter.exposition import Exposition
from exporter.families import TENANT_FAMILIES
from exporter.log import get_logger
from exporter.metrics import OwnMetrics, TenantSamples
from exporter.rendering import Renderer
from exporter.standings import key_of
from exporter.tail import Tail, process_collectors
from exporter.watch import Chore, fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.config import Config
    from exporter.config.tenants import Tenant
    from exporter.pipeline import Pipeline
    from exporter.schedule import Schedule, Task
    from exporter.snapshot import Key
    from exporter.storage import MemoryStorage, Storage

log = get_logger(__name__)

_PATIENCE = 1.5
"""Seconds that polls get to end at a stop; the whole stop must be over within five."""

_EXPIRY_WARNING = 30
"""Days before its end from which on a credential is warned about."""


class Exporter:
    """The running exporter: polls on its schedule, renders what changed, answers what the web endpoints ask.

    Args:
        config: what to do.
        load: reads the configuration anew, for a reload; raises `ConfigError`.
        storage: where reports are kept.
        environ: for HTTPS_PROXY and NO_PROXY.
        clock: Unix seconds.
        revision: the source's revision, for `build_info`.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        storage: Storage | MemoryStorage,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        revision: str = "",
    ) -> None:
        self._load = load
        self._storage = storage
        self._environ = environ
        self._clock = clock
        self._config = config
        self._tenants = tenants_of(config)
        self._own = OwnMetrics(revision)
        self._own.reloaded_at = clock()
        self._collection = Collection(storage, self._own, clock)
        self._standings, self._budget = self._collection.standings, self._collection.budget
        samples = TenantSamples(self._standings, self._budget, clock)
        self._exposition = Exposition(TENANT_FAMILIES, Tail(self._own, process_collectors()))
        self._renderer = Renderer(self._exposition, samples, self._own, clock)
        self._hurried: set[Key] = set()
        self._files = fingerprints(watched(config))
        self._pipeline: Pipeline | None = None
        self._schedule: Schedule | None = None
        self._reloading = threading.Lock()
        self._started_at = clock()
        self._rendered = False

    def render_first(self) -> None:
        """Render what storage restored: from here on the exporter is ready."""
        self._renderer.replace(self._tenants)
        self._renderer.render()
        self._rendered = True
        self._renderer.start()

    def start_polling(self) -> None:
        """Import what talks to Microsoft, and start the schedule.

        Raises:
            ConfigError: `http` names a file that cannot be used.
        """
        from exporter.schedule import Schedule  # noqa: PLC0415 - the web endpoints answer before APScheduler is imported

        self._pipeline = self._pipeline or self._new_pipeline(self._config)
        self._own.expiries = self._pipeline.credentials.expiries(self._tenants)
        self._schedule = Schedule(self._config.poll.concurrency, clock=self._clock)
        self._schedule.replace(self._tasks(), self._config.poll.concurrency)
        self._schedule.start()

    def stop(self) -> None:
        """Start no further poll, give those that run a moment, and close storage."""
        ended = self._schedule is None or self._schedule.stop(_PATIENCE)
        if self._pipeline is not None and ended:
            self._pipeline.close()
        self._renderer.stop()
        self._storage.close()

    def chores(self) -> tuple[Chore, ...]:
        """Return what is to be done now and then while the exporter runs."""
        return (
            Chore(1.0, self._notice_clock),
            Chore(30.0, self._reload_if_changed),
            Chore(86400.0, lambda: self._collection.retain(self._config.storage.retention)),
            Chore(86400.0, self._warn_of_expiry),
        )

    def _notice_clock(self) -> None:
        if self._schedule is not None:
            self._schedule.notice_clock()

    def _reload_if_changed(self) -> None:
        files = fingerprints(watched(self._config))
        if files != self._files:
            self._files = files
            self.reload()

    def _warn_of_expiry(self) -> None:
        for expiry in self._own.expiries:
            days = (expiry.at - self._clock()) / 86400
            if days < _EXPIRY_WARNING:
                log.warning(
                    "a credential expires soon" if days > 0 else "a credential has expired",
                    client_id=expiry.client_id,
                    kind=expiry.kind,
                    expires=_moment(expiry.at),
                    days=round(days),
                    hint="renew it in the app registration, then replace the file: no restart is needed",
                )

    # What the web endpoints ask.

    def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
        """Return the body of `/metrics`.

        Raises:
            UnknownTenantError: one of `tenants` is not configured.
        """
        started = time.perf_counter()
        body = self._exposition.body(openmetrics=openmetrics, gzip=gzip, tenants=tenants)
        self._own.scrape_seconds = time.perf_counter() - started
        return body

    def ready(self) -> bool:
        """Say whether configuration, storage and the first rendering are done."""
        return self._rendered

    def status(self) -> Mapping[str, object]:
        """Return what `/api/v1/status` tells."""
        return {
            "version": __version__,
            "started": _moment(self._started_at),
            "config_file": str(self._config.config_file or ""),
            "storage": str(self._config.storage.path or "memory only"),
            "last_reload_successful": self._own.reload_successful,
            "tenants": [self._status_of(tenant) for tenant in self._tenants],
        }

    def reload(self) -> tuple[bool, str]:
        """Read the configuration anew and swap it in whole; a bad one changes nothing."""
        with self._reloading:
            try:
                config = self._load()
                tenants = tenants_of(config)
                pipeline = self._new_pipeline(config)
            except ConfigError as error:
                self._own.reload_successful = False
                log.error(  # noqa: TRY400 - people need the faults, not our call stack
                    "the configuration was not reloaded; the old one stays", faults=error.message
                )
                return False, f"not reloaded, the old configuration stays:\n{error.message}"
            self._swap(config, tenants, pipeline)
            self._own.reload_successful = True
            self._own.reloaded_at = self._clock()
            log.info("the configuration was reloaded", tenants=len(tenants))
            return True, f"reloaded: {len(tenants)} tenants"

    def _swap(self, config: Config, tenants: tuple[Tenant, ...], pipeline: Pipeline) -> None:
        if config.storage.path != self._config.storage.path:
            log.warning("storage.path changes only with a restart", path=str(config.storage.path))
        if self._pipeline is not None:
            # Polls that run at this moment end with the old one.
            closing = threading.Timer(self._config.poll.timeout, self._pipeline.close)
            closing.daemon = True
            closing.start()
        self._config, self._tenants, self._pipeline = config, tenants, pipeline
        keys = {key_of(tenant, report): tenant for tenant in tenants for report in tenant.reports}
        self._collection.adopt(keys)
        self._hurried |= {key for key in keys if self._waits_for_people(key)}
        self._own.expiries = pipeline.credentials.expiries(tenants)
        self._renderer.replace(tenants)
        if self._schedule is not None:
            self._schedule.replace(self._tasks(), config.poll.concurrency)

    def _waits_for_people(self, key: Key) -> bool:
        last = self._standings.get(key).last
        return last is not None and last.failure is not None and last.failure.reason in MENDED_BY_PEOPLE

    def _new_pipeline(self, config: Config) -> Pipeline:
        from exporter.pipeline import Pipeline  # noqa: PLC0415 - the web endpoints answer before msal is imported

        return Pipeline(config, self._budget, environ=self._environ, clock=self._clock, count=self._own.count_request)

    def _tasks(self) -> list[Task]:
        return [self._task(tenant, report) for tenant in self._tenants for report in tenant.reports]

    def _task(self, tenant: Tenant, report: str) -> Task:
        from exporter.schedule import Task, next_due  # noqa: PLC0415 - as in start_polling

        key = key_of(tenant, report)

        def due() -> float:
            now = self._clock()
            wanted = now if key in self._hurried else next_due(tenant.poll, key, self._standings.get(key), now)
            return max(wanted, self._budget.free_at(key, tenant.report.format))

        def run() -> None:
            self._hurried.discard(key)
            if self._pipeline is not None:
                self._collection.poll(self._pipeline.poller, tenant, report)
                self._renderer.changed(tenant)

        return Task(key, due, run)

    def _status_of(self, tenant: Tenant) -> Mapping[str, object]:
        reports = {}
        for name in tenant.reports:
            standing = self._standings.get(key_of(tenant, name))
            failure = standing.last.failure if standing.last else None
            reports[name] = {
                "last_success": _moment(standing.last_success),
                "last_poll": _moment(standing.last.at if standing.last else None),
                "refresh_date": standing.snapshot.refresh_date.isoformat() if standing.snapshot else None,
                "failure": None
                if failure is None
                else {
                    "reason": failure.reason.value,
                    "message": failure.message,
                    "hint": failure.hint,
                    "request_id": failure.request_id,
                },
            }
        states = [_state(report) for report in reports.values()]
        state = next((worst for worst in ("failing", "pending") if worst in states), "ok")
        return {
            "name": tenant.name,
            "tenant_id": tenant.tenant_id,
            "cloud": tenant.cloud.name,
            "state": state,
            "reports": reports,
        }


def _state(report: Mapping[str, object]) -> str:
    if report["failure"] is not None:
        return "failing"
    return "ok" if report["last_success"] is not None else "pending"


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
