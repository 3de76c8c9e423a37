"""Reads the stored reports for `history`, also while `serve` runs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from exporter.errors import ConfigError
from exporter.log import get_logger
from exporter.state import Key, Snapshot
from exporter.storage import database, records, schema
from exporter.storage.errors import StorageError, storage_errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

log = get_logger(__name__)

_EDITIONS = """
    SELECT edition.id, refresh_date, collected_at, request_id, product_type, counts
    FROM edition JOIN product ON product.edition = edition.id
    WHERE series = ? AND {condition} ORDER BY {order}, edition.id, product_type
"""
_CURRENT = _EDITIONS.format(condition="replaced_at IS NULL", order="refresh_date")
_PUBLISHED = _EDITIONS.format(condition="published_at BETWEEN ? AND ?", order="published_at")
_WITHDRAWALS = """
    SELECT edition, since, until FROM withdrawal JOIN edition ON edition.id = edition WHERE series = ? ORDER BY since
"""
_TIMES = """
    SELECT id, published_at, confirmed_at FROM edition WHERE series = ? AND published_at IS NOT NULL
    ORDER BY published_at, id
"""


@dataclass(frozen=True, slots=True)
class Series:
    """One tenant's report in the file; `tenant` is its configured name, else the last one it had."""

    number: int
    key: Key
    tenant: str

    @property
    def place(self) -> tuple[str, str]:
        """Cloud and tenant id, by which its tenant is found in the configuration."""
        return self.key.cloud, self.key.tenant_id


@dataclass(frozen=True, slots=True)
class Edition:
    """When one set of numbers was on /metrics.

    Attributes:
        number: in the file.
        series: the tenant's report.
        published_at: the first good poll that had it there, Unix seconds.
        confirmed_at: the last one.
        withdrawn: from when to when it was not, Unix seconds, because the last good poll was too long ago.
    """

    number: int
    series: Series
    published_at: float
    confirmed_at: float
    withdrawn: tuple[tuple[float, float], ...]


class History:
    """A storage opened for reading; made by `open`, closed by `with` or `close`."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self._file = file
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the storage in the folder `path`; takes no lock and changes nothing.

        Raises:
            StorageError: there is none, or it cannot be read.
        """
        file = path / database.FILE_NAME
        with storage_errors("open the history", file):
            if not file.exists():
                raise StorageError(f"{file}: does not exist", hint="give the storage.path that `serve` uses")
            return cls(file, database.connect_readonly(file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def series(
        self, *, tenants: Sequence[str] = (), names: Mapping[tuple[str, str], str] | None = None
    ) -> list[Series]:
        """List the stored series, sorted by tenant.

        Args:
            tenants: only these, by name or tenant id; all where empty.
            names: the configured name of a cloud and tenant id.

        Raises:
            ConfigError: nothing is stored of one of `tenants`.
            StorageError: the file cannot be read.
        """
        with storage_errors("read the history", self._file):
            rows = self._connection.execute("SELECT id, cloud, tenant_id, report, tenant FROM series").fetchall()
        found = [
            Series(
                number,
                Key(cloud, tenant_id, report),
                (names or {}).get((cloud, tenant_id), tenant or tenant_id),
            )
            for number, cloud, tenant_id, report, tenant in rows
        ]
        found.sort(key=lambda series: (series.tenant, series.key.tenant_id, series.key.cloud, series.key.report))
        known = {name for series in found for name in (series.tenant, series.key.tenant_id)}
        if unknown := [name for name in tenants if name not in known]:
            stored = ", ".join(sorted({series.tenant for series in found})[:10]) or "none"
            raise ConfigError(
                tuple(f"--tenant {name}: nothing is stored for it (stored: {stored})" for name in unknown),
                hint="give a tenant's name or tenant id",
            )
        return [series for series in found if not tenants or {series.tenant, series.key.tenant_id} & set(tenants)]

    def current(self, series: Series) -> list[Snapshot]:
        """Read the reports of `series`, by refresh date: for each date the numbers that Microsoft gave last.

        Raises:
            StorageError: the file cannot be read.
        """
        return [snapshot for _, snapshot in self._snapshots(_CURRENT, series.number)]

    def published(self, series: Series) -> list[Edition]:
        """Read when which report of `series` was on /metrics, revisions included, in that order.

        Raises:
            StorageError: the file cannot be read.
        """
        with storage_errors("read the history", self._file):
            withdrawn: dict[int, list[tuple[float, float]]] = {}
            if schema.version(self._connection) >= schema.WITHDRAWALS:
                for number, since, until in self._connection.execute(_WITHDRAWALS, (series.number,)):
                    withdrawn.setdefault(number, []).append((since, until))
            return [
                Edition(number, series, first, last, tuple(withdrawn.get(number, ())))
                for number, first, last in self._connection.execute(_TIMES, (series.number,))
            ]

    def snapshots(self, editions: Iterable[Edition]) -> dict[int, Snapshot]:
        """Read the numbers of `editions`, by the edition's number.

        Raises:
            StorageError: the file cannot be read.
        """
        moments: dict[int, list[float]] = {}
        for edition in editions:
            moments.setdefault(edition.series.number, []).append(edition.published_at)
        found: dict[int, Snapshot] = {}
        for series, published in moments.items():
            found.update(self._snapshots(_PUBLISHED, series, min(published), max(published)))
        return found

    def _snapshots(self, statement: str, *values: float) -> list[tuple[int, Snapshot]]:
        # All of one series at once, so that no read keeps the writer of a rollback journal waiting.
        with storage_errors("read the history", self._file), closing(self._connection.cursor()) as cursor:
            rows = cursor.execute(statement, values)
            return list(records.snapshots(rows, lambda what: log.error("a stored report is left out", error=what)))
