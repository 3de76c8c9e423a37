"""Reads the stored reports for `history`, also while `serve` runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Self

from exporter.errors import ConfigError
from exporter.log import get_logger
from exporter.state import Key
from exporter.storage import database, records
from exporter.storage.database import StorageError, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from exporter.config import Tenant
    from exporter.state import Snapshot

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Series:
    """One tenant's report in the file.

    Attributes:
        number: in the file.
        key: what it is stored under.
        name: the tenant's configured name, else the last one it had.
        tenant: as it is configured now; None if it is not.
    """

    number: int
    key: Key
    name: str
    tenant: Tenant | None


@dataclass(frozen=True, slots=True)
class Edition:
    """When one set of numbers was on /metrics, Unix seconds.

    Attributes:
        number: in the file.
        series: the tenant's report.
        published_at: the first good poll that had it there.
        confirmed_at: the last one.
        withdrawn: from when, until when, and so on, it was not, because the last good poll was too long ago.
    """

    number: int
    series: Series
    published_at: float
    confirmed_at: float
    withdrawn: tuple[float, ...]


class History:
    """The storage in the folder `path`, opened for reading until `with` ends; takes no lock and changes nothing.

    Every method raises `StorageError` where the file cannot be read.

    Raises:
        StorageError: there is none, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path / database.FILE_NAME
        with storage_errors("open the history", self._file):
            if not self._file.exists():
                raise StorageError(f"{self._file}: does not exist", hint="give the storage.path that `serve` uses")
            self._connection = database.connect_readonly(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def series(self, configured: Iterable[Tenant] = (), tenants: Sequence[str] = ()) -> list[Series]:
        """List the stored series, sorted by the tenant's name.

        Args:
            configured: the tenants as they are now.
            tenants: only these, by name or tenant id; all where empty.

        Raises:
            ConfigError: nothing is stored of one of `tenants`.
        """
        by_place = {(tenant.cloud.stored_as, tenant.tenant_id): tenant for tenant in configured}
        found = []
        with storage_errors("read the history", self._file):
            rows = self._connection.execute("SELECT id, cloud, tenant_id, report, tenant FROM series")
            for number, *texts in rows:
                try:
                    cloud, tenant_id, report, stored_name = map(records.text, texts)
                except ValueError as error:
                    _unreadable(f"stored series {number} cannot be read and is left out: {error}")
                    continue
                tenant = by_place.get((cloud, tenant_id))
                name = tenant.name if tenant else stored_name or tenant_id
                found.append(Series(number, Key(cloud, tenant_id, report), name, tenant))
        found.sort(key=lambda series: (series.name, series.key.tenant_id, series.key.cloud, series.key.report))
        known = {name for series in found for name in (series.name, series.key.tenant_id)}
        if unknown := [name for name in tenants if name not in known]:
            stored = ", ".join(sorted({series.name for series in found})[:10]) or "none"
            raise ConfigError(
                tuple(f"--tenant {name}: nothing is stored for it (stored: {stored})" for name in unknown),
                hint="give a tenant's name or tenant id",
            )
        return [series for series in found if not tenants or {series.name, series.key.tenant_id} & set(tenants)]

    def current(self, series: Series) -> list[Snapshot]:
        """Read the reports of `series`, by refresh date: for each date the numbers that Microsoft gave last."""
        with storage_errors("read the history", self._file):
            return records.read_reports(self._connection, series.key, date.min, _unreadable)

    def published(self, series: Series) -> list[Edition]:
        """Read when which report of `series` was on /metrics, revisions included, in that order."""
        with storage_errors("read the history", self._file):
            times: dict[int, list[object]] = {}
            for number, *stored in self._connection.execute(
                "SELECT id, published_at, confirmed_at FROM edition WHERE series = ? AND published_at IS NOT NULL"
                " ORDER BY published_at, id",
                (series.number,),
            ):
                times[number] = stored
            for number, *stored in self._connection.execute(
                "SELECT edition, since, until FROM withdrawal JOIN edition ON edition.id = edition WHERE series = ?"
                " ORDER BY since",
                (series.number,),
            ):
                times.get(number, []).extend(stored)
        found = []
        for number, stored in times.items():
            try:
                first, last, *withdrawn = map(records.number, stored)
            except ValueError as error:
                _unreadable(f"the times of stored report {number} cannot be read, and it is left out: {error}")
            else:
                found.append(Edition(number, series, first, last, tuple(withdrawn)))
        return found

    def snapshots(self, editions: Iterable[Edition]) -> dict[int, Snapshot]:
        """Read the numbers of `editions`, by the edition's number."""
        numbers = ", ".join(str(edition.number) for edition in editions)
        with storage_errors("read the history", self._file):
            return records.snapshots(self._connection, _unreadable, f"edition.id IN ({numbers})")


def _unreadable(what: str) -> None:
    log.error("a stored report is left out", error=what)
