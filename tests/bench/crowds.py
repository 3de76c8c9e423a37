"""A well-behaved scraper among idle connections, guesses at passwords and many other scrapers."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import bcrypt
import yaml

from tests.bench.clients import ACCEPT, value
from tests.bench.installation import ROOT
from tests.bench.measuring import quantile
from tests.bench.results import Bar, Result, Table, at_most, milliseconds
from tests.bench.storms import Asker, live
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.servers import Exporter

    Crowd = Callable[[Exporter], AbstractContextManager[None]]

_IDLE, _SCRAPERS, _GUESSES, _COST = 10_000, 200, 1000, 18
_USER, _PASSWORD = "prometheus", "a password"
_PAUSE = 0.05


def crowds(bench: Bench) -> Result:
    """The p99 of one scraper, and whether polls go on, while others hold or flood the server."""
    size, seconds = bench.size(1000), 15 if bench.quick else 75
    wanted: dict[str, Crowd] = {
        "nobody else": _nobody,
        f"{_IDLE:,} idle connections": _idle,
        f"{_SCRAPERS} scrapers without a pause": _scrapers,
        f"{_GUESSES:,} wrong passwords (bcrypt, cost {_COST}) and on": _guesses,
    }
    rows: list[Sequence[str]] = []
    bars: list[Bar] = []
    every = "30s" if bench.quick else "1m"
    flag = f"--web.config.file={_web_configuration(bench.new_folder())}"
    with live(bench, size, every, flag, user=_KNOWN) as exporter:
        for name, crowd in wanted.items():
            before = _count_polls(exporter)
            with crowd(exporter), Asker(exporter, "/metrics", _PAUSE) as scraper:
                time.sleep(seconds)
            went_on = _count_polls(exporter) - before
            times = scraper.times()
            p99 = quantile(times, 0.99)
            felt = (median(times), p99, max(times))
            rows.append((name, f"{len(times):,}", *map(milliseconds, felt), f"{went_on:g}"))
            if crowd is not _nobody:
                bars.append(at_most(f"p99 of a well-behaved scraper next to {name}", p99 * 1000, 250, "ms"))
                bars.append(Bar(f"polls next to {name}", "go on", f"{went_on:g} in {seconds} s", went_on > 0))
    head = ("next to", "scrapes", "p50, ms", "p99, ms", "longest, ms", "polls meanwhile")
    return Result((Table(f"One scraper (gzip, 20 a second at most) at {size:,} tenants", head, rows),), bars)


_KNOWN = f"{_USER}:{_PASSWORD}"


def _web_configuration(folder: Path) -> Path:
    hashed = bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(_COST)).decode()
    path = folder / "web.yaml"
    path.write_text(yaml.safe_dump({"basic_auth_users": {_USER: hashed}}), encoding="utf-8")
    return path


def _count_polls(exporter: Exporter) -> float:
    with exporter.client() as client:
        return value(client.text(), "office365_activations_polls_total")


@contextmanager
def _nobody(_exporter: Exporter) -> Iterator[None]:
    yield


@contextmanager
def _idle(exporter: Exporter) -> Iterator[None]:
    """Hold connections that say nothing, half a request, or one byte by byte, and return when the server cuts them."""
    port = exporter.address.rpartition(":")[2]
    words = [sys.executable, "-m", "tests.bench.idlers", port, str(_IDLE)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("the idle connections could not be opened")
            yield
        finally:
            process.kill()


@contextmanager
def _scrapers(exporter: Exporter) -> Iterator[None]:
    secret = base64.b64encode(_KNOWN.encode()).decode()
    words = [str(require("wrk")), "-t1", f"-c{_SCRAPERS}", "-d1h", "-H", f"Accept: {ACCEPT}"]
    words += ["-H", "Accept-Encoding: gzip", "-H", f"Authorization: Basic {secret}", exporter.url]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def _guesses(exporter: Exporter) -> Iterator[None]:
    """Try one wrong password after the other, each a new one, on 16 connections."""
    ended = threading.Event()
    refused: list[str] = []
    let_in: list[int] = []

    def guess(first: int) -> None:
        for number in range(first, 10**9, 16):
            if ended.is_set():
                return
            try:
                with exporter.client(user=f"{_USER}:{number}") as client:
                    client.get("/metrics")
                let_in.append(number)
            except OSError as error:
                refused.extend(re.findall(" (401|429) ", str(error)))
            ended.wait(0.005)

    threads = [threading.Thread(target=guess, args=(first,), daemon=True) for first in range(16)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if len(refused) < _GUESSES or let_in:
        raise RuntimeError(f"{len(refused)} guesses were refused, and let in were {let_in}")
