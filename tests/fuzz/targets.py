"""What is fuzzed, and what must hold of whatever comes out."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

from exporter import graph
from exporter.config import load
from exporter.config.times import parse_crontab, parse_duration, print_duration
from exporter.errors import ConfigError, RedirectError, ReportError
from exporter.http import retry_after
from exporter.reports import REPORTS
from exporter.schedule import next_fire
from exporter.web.webconfig import WebConfigFile
from tests.builders import NOON
from tests.config.loading import UUID
from tests.config.test_fuzz import SHAPED, VALUES
from tests.fuzz import http_reader, inputs
from tests.tools import memory_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DAY = 86400.0
_HOSTS = (".office.com", "files.example:8443", "127.0.0.1:9443")
_SECRET = "hunter2"


@dataclass(frozen=True, slots=True)
class Target:
    """A way in from outside.

    Attributes:
        name: for reports.
        share: of all cases, in thousandths.
        cases: draws what comes in.
        check: takes a case in; raises what nobody declared.
        weight: how many cases each drawn one is.
    """

    name: str
    share: int
    cases: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    weight: int = 1


def check_csv(body: bytes) -> None:
    """Read a report by CSV: a report whose every number stands in the file, or `ReportError`."""
    for version in inputs.variants(body):
        _check_csv(version)


def _check_csv(body: bytes) -> None:
    for report in REPORTS.values():
        with suppress(ReportError):
            parsed = report.parse((body,), "csv", now=NOON)
            _check_rows(parsed.rows, len(report.columns))
            text = body.decode().replace('""', '"')
            assert all(str(count) in text for row in parsed.rows for count in row.counts)


def check_json(pages: list[bytes]) -> None:
    """Read a report by JSON: a report or `ReportError`."""
    for version in inputs.variants(pages[0]):
        for report in REPORTS.values():
            with suppress(ReportError):
                _check_rows(report.parse([version, *pages[1:]], "json", now=NOON).rows, len(report.columns))


def _check_rows(rows: Any, columns: int) -> None:
    names = [row.product_type for row in rows]
    assert names == sorted(set(names))
    assert names
    for row in rows:
        assert len(row.counts) == columns
        assert row.product_type.encode()
        assert all(type(count) is int and 0 <= count <= 2**53 for count in row.counts)


def check_web(content: bytes) -> None:
    """Read a web configuration, certificates and all: ok, or `ConfigError` with its errors."""
    errors: tuple[str, ...] | None = None
    with _files(content) as path:
        try:
            WebConfigFile(path).load()
        except ConfigError as error:
            errors = error.errors
    assert errors is None or errors


def check_config(content: bytes) -> None:
    """Read a configuration file: ok, or `ConfigError` whose errors contain no secret."""
    with _files(content) as path:
        _load(path)


def check_tenant_file(content: bytes) -> None:
    """Read a tenant file: ok, or `ConfigError` whose errors contain no secret."""
    with _files(content) as path:
        config = path.with_name("config.yml")
        config.write_text(f"tenant_files: [{path.name}]\n", encoding="utf-8")
        _load(config)


def _load(path: Path) -> None:
    config, found = None, None
    try:
        config = load({"config.file": str(path)}, {})
    except ConfigError as error:
        found = error
    if config is not None:
        assert len(config.tenants) <= len(config.configured)
    elif found is not None:
        assert found.errors
        assert all(": " in line for line in found.errors)
        assert _SECRET not in repr(found)


@contextmanager
def _files(content: bytes) -> Iterator[Path]:
    """Write `content` to a file, in memory where there is such a place, and take it away again."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory_folder()) as folder:
        path = Path(folder) / "file.yml"
        path.write_bytes(content)
        yield path


def check_wait(value: str) -> None:
    """Read Retry-After: a number of seconds up to a day."""
    assert 0 <= retry_after({"retry-after": value}, NOON) <= _DAY


def check_duration(text: str) -> None:
    """Read a duration: one that reads the same when it is printed, or `ValueError`."""
    with suppress(ValueError):
        seconds = parse_duration(text)
        assert seconds >= 0
        assert parse_duration(print_duration(seconds)) == seconds


def check_crontab(line: str) -> None:
    """Read a crontab line: one that comes due within years at a minute that it names, or `ValueError`."""
    try:
        crontab = parse_crontab(line)
    except ValueError:
        return
    due = datetime.fromtimestamp(next_fire(line, "UTC", NOON), UTC)
    assert due.timestamp() > NOON
    assert due.minute in crontab.minutes
    assert due.hour in crontab.hours
    assert due.month in crontab.months


def check_location(location: str) -> None:
    """Judge a redirect of Graph or of a download host: an https address of a listed host, or `RedirectError`."""
    for base in ("", "https://a.office.com/data"):
        _check_location(base, location)


def _check_location(base: str, location: str) -> None:
    try:
        url = graph._allowed(base, location, _HOSTS)
    except RedirectError:
        return
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert parts.username is None
    host, port = (parts.hostname or "").rstrip("."), parts.port or 443  # with a dot at its end it is the same host
    assert f"{host}:{port}" in _HOSTS or (host.endswith(".office.com") and port == 443)


_ENTRY = {"tenant_id": "t.example", "client_id": UUID, "auth": {"client_secret": f"{_SECRET}~"}}
# Errors show a tenant's name: none is drawn here with a secret in it.
_BLOCKS = st.sampled_from(["poll", "report", "targets", "auth", "cloud", "reports", "enabled"])
_TENANT_FILES = st.fixed_dictionaries(
    {"tenants": st.lists(st.dictionaries(_BLOCKS, VALUES, max_size=3).map(lambda block: _ENTRY | block), max_size=2)}
)

TARGETS = (
    Target("HTTP", 30, http_reader.BYTES, http_reader.check),
    Target("CSV", 300, inputs.csv_files() | st.binary(max_size=200), check_csv, inputs.VARIANTS),
    Target(
        "JSON",
        250,
        st.lists(inputs.json_pages() | st.binary(max_size=100), min_size=1, max_size=2),
        check_json,
        inputs.VARIANTS,
    ),
    Target("web configuration", 60, inputs.web_files() | st.binary(max_size=100), check_web),
    Target("configuration", 20, inputs.yaml_files(SHAPED) | st.binary(max_size=100), check_config),
    Target("tenant files", 20, inputs.yaml_files(_TENANT_FILES) | st.binary(max_size=100), check_tenant_file),
    Target("Retry-After", 120, inputs.WAITS, check_wait),
    Target("durations", 90, inputs.DURATIONS, check_duration),
    Target("crontab", 30, inputs.CRONTABS, check_crontab),
    Target("redirects", 80, inputs.LOCATIONS, check_location),
)
