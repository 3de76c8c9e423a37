"""The metrics of the exporter itself and of its process, rendered at each scrape."""

from __future__ import annotations

import os
import platform
import threading
import weakref
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import PlatformCollector, ProcessCollector

from exporter import __version__
from exporter.errors import Reason
from exporter.exposition import family_header, header, line, lines, series
from exporter.metrics import OWN_FAMILIES, SCRAPE_DURATION, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.auth.credentials import CredentialExpiry
    from exporter.storage import Storage


class OwnMetrics:
    """The exporter's own counts: plain numbers, made into lines when a scrape asks.

    Args:
        revision: the source's revision, for `build_info`.
        storage: says itself whether it works; None where there is none to tell of.

    Attributes:
        tenants_pending: tenants without any outcome or restored report; None until the first rendering has counted.
        reloaded_at: when the configuration was last loaded successfully, Unix seconds.
        reload_error: why it was not since then; empty where it was.
        scrape_seconds: how long the previous scrape took.
        expiries: of every credential that has one.
    """

    def __init__(self, revision: str = "", storage: Storage | None = None) -> None:
        self._failures = Counter({reason.value: 0 for reason in Reason})
        self._requests: Counter[tuple[str, str]] = Counter()
        self._revision = revision
        self._lock = threading.Lock()
        self._stale_reports = 0
        self._storage = storage
        self._kept: dict[bool, tuple[tuple[Sample, ...], bytes]] = {}
        self.tenants_pending: int | None = None
        self.reloaded_at = 0.0
        self.reload_error = ""
        self.scrape_seconds = 0.0
        self.expiries: tuple[CredentialExpiry, ...] = ()

    def count_failure(self, reason: Reason) -> None:
        with self._lock:
            self._failures[reason.value] += 1

    def count_request(self, endpoint: str, code: str) -> None:
        with self._lock:
            self._requests[endpoint, code] += 1

    def count_stale_report(self) -> None:
        """Count a report older than the one held."""
        with self._lock:
            self._stale_reports += 1

    def samples(self) -> Iterator[Sample]:
        """Yield every sample of `OWN_FAMILIES` but the previous scrape's cost."""
        with self._lock:
            failures, requests = dict(self._failures), dict(self._requests)
        for reason, count in failures.items():
            yield Sample("exporter_failures_total", (reason,), count)
        yield Sample("exporter_stale_reports_total", (), self._stale_reports)
        if self._storage is not None:
            yield Sample("exporter_storage_errors_total", (), self._storage.errors)
            if (up := self._storage.up) is not None:
                yield Sample("exporter_storage_up", (), up)
        if self.tenants_pending is not None:
            yield Sample("exporter_tenants_pending", (), self.tenants_pending)
        earliest: dict[tuple[str, str], float] = {}
        for expiry in self.expiries:
            key = (expiry.client_id, expiry.kind)
            earliest[key] = min(expiry.at, earliest.get(key, expiry.at))
        for key, at in earliest.items():
            yield Sample("exporter_credential_expiry_timestamp_seconds", key, at)
        for request, count in sorted(requests.items()):
            yield Sample("exporter_http_requests_total", request, count)
        yield Sample("exporter_config_last_reload_successful", (), not self.reload_error)
        if self.reloaded_at:
            yield Sample("exporter_config_last_reload_success_timestamp_seconds", (), self.reloaded_at)
        yield Sample("exporter_build_info", (__version__, self._revision, platform.python_version()), 1)

    def text(self, *, openmetrics: bool) -> bytes:
        """Return the lines; they change with polls and not with scrapes, so they are kept until they do."""
        samples = tuple(self.samples())
        kept, text = self._kept.get(openmetrics, ((), b""))
        if kept != samples:
            pieces = []
            for family in OWN_FAMILIES:
                if chosen := [sample for sample in samples if sample.family == family.name]:
                    pieces += [family_header(family, openmetrics=openmetrics), lines(family, chosen)]
            text = b"".join(pieces)
            self._kept[openmetrics] = (samples, text)
        if not self.scrape_seconds:
            return text
        duration = lines(SCRAPE_DURATION, (Sample(SCRAPE_DURATION.name, (), self.scrape_seconds),))
        return text + family_header(SCRAPE_DURATION, openmetrics=openmetrics) + duration


class ProcessMetrics:
    """`process_*` and `python_info` as prometheus-client's collectors give them, with fewer reads of /proc.

    Args:
        proc: where it is; without it there is only `python_info`.
    """

    def __init__(self, proc: str = "/proc") -> None:
        process = tuple(ProcessCollector(proc=proc, registry=None).collect())
        metrics = (*process, *PlatformCollector(registry=None).collect())
        samples = [(sample, metric) for metric in metrics for sample in metric.samples]
        fixed = ("process_start_time_seconds", "python_info")
        self._fixed = {sample.name: sample.value for sample, _ in samples if sample.name in fixed}
        self._series = {
            openmetrics: {
                sample.name: header(sample.name, metric.type, metric.documentation, openmetrics=openmetrics).decode()
                + series(sample.name, sorted(sample.labels.items()))
                for sample, metric in samples
            }
            for openmetrics in (False, True)
        }
        self._files = f"{proc}/self/fd"
        self._statm: int | None = None
        if process:
            self._page_size = os.sysconf("SC_PAGESIZE")
            # Kept open: a scrape tells of the process's memory also when no further file can be opened.
            self._statm = os.open(f"{proc}/self/statm", os.O_RDONLY)
            weakref.finalize(self, os.close, self._statm)

    def text(self, *, openmetrics: bool) -> bytes:
        """Return the lines as of now; without what cannot be read."""
        values = self._values()
        begun = self._series[openmetrics]
        return "".join(line(begun[name], values[name]) for name in begun if name in values).encode()

    def _values(self) -> dict[str, float]:
        if self._statm is None:
            return self._fixed
        import resource  # noqa: PLC0415 - does not exist on Windows, which has no /proc either

        used = resource.getrusage(resource.RUSAGE_SELF)
        values = dict(self._fixed)
        values["process_cpu_seconds_total"] = used.ru_utime + used.ru_stime
        values["process_max_fds"] = float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        size, resident, *_ = os.pread(self._statm, 200, 0).split()
        values["process_virtual_memory_bytes"] = float(size) * self._page_size
        values["process_resident_memory_bytes"] = float(resident) * self._page_size
        with suppress(OSError):
            # From Linux 6.2 on the folder's size says how many files are open, before that its list does.
            values["process_open_fds"] = float(os.stat(self._files).st_size or len(os.listdir(self._files)))  # noqa: PTH116, PTH208 - a scrape waits
        return values
