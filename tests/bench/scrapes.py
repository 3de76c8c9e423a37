"""Scrapes against prometheus-client and nginx: one client and many, plain and secured."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import bcrypt
import trustme
import yaml

from tests.bench.clients import load
from tests.bench.filling import configure, fill, stored
from tests.bench.measuring import alternate
from tests.bench.results import Bar, Result, Table, at_least, at_most, figure, milliseconds
from tests.bench.servers import Exporter, Nginx, Stock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.servers import Server

_LONGEST = 20
"""Seconds that one round may take; a combination that needs longer is left out."""

_ANSWERS = 3
_CLIENTS = 16
_BARS = {1: (2, None), 100: (50, None), 1000: (1000, 3), 10_000: (None, 1.5)}
"""By number of tenants: how many times better than prometheus-client, and how many times worse than nginx."""

_USER, _PASSWORD, _COST = "prometheus", "a password", 10


def scrapes(bench: Bench) -> Result:
    """Latency and throughput of a scrape against prometheus-client with gauges and nginx with a static file."""
    latencies: list[Sequence[str]] = []
    rates: list[Sequence[str]] = []
    bars: list[Bar] = []
    for size in bench.sizes(1, 100, 1000, 10_000):
        folder = bench.new_folder()
        configuration = configure(folder, size, **stored(folder))
        fill(configuration)
        with ExitStack() as stack:
            exporter = stack.enter_context(Exporter(bench.installation, configuration))
            text = exporter.await_polls()
            stock = stack.enter_context(Stock(bench.installation, folder, text))
            servers = (exporter, stock, stack.enter_context(Nginx(folder, text)))
            for gzip in (True, False):
                p50 = _alternate(bench, folder, servers, gzip=gzip, clients=1)
                latencies.append(_row(size, servers, p50, milliseconds, gzip=gzip))
                rate = _alternate(bench, folder, servers, gzip=gzip, clients=_CLIENTS)
                rates.append(_row(size, servers, rate, figure, gzip=gzip))
                if gzip:
                    bars += _bars(size, *(p50[server] for server in servers))
    head = ("tenants", "body", "exporter", "prometheus-client", "nginx", "exporter ÷ prometheus-client", "÷ nginx")
    note = f"—: one round would take more than {_LONGEST} s."
    tables = (
        Table("One client: p50 of a scrape in milliseconds (less is better)", head, latencies),
        Table(f"{_CLIENTS} clients: scrapes a second (more is better)", head, rates, note),
    )
    return Result(tables, bars)


def _alternate(
    bench: Bench, folder: Path, servers: Sequence[Server], *, gzip: bool, clients: int
) -> dict[Server, float]:
    """Return the median p50 in seconds for one client, the median rate for several."""

    def measure(server: Server, seconds: int) -> Callable[[], float]:
        def once() -> float:
            done = load(folder, server.url, clients=clients, seconds=seconds, gzip=gzip)
            return done.p50 if clients == 1 else done.rate

        return once

    durations = {server: _seconds(server, gzip=gzip, clients=clients) for server in servers}
    return alternate(
        bench.rounds,
        {server: measure(server, seconds) for server, seconds in durations.items() if seconds <= _LONGEST},
    )


def _seconds(server: Server, *, gzip: bool, clients: int) -> int:
    """Return how long a round must be for some answers to each client."""
    with server.client() as client:
        taken = client.get("/metrics", gzip=gzip)[0]
    return max(1, round(_ANSWERS * taken * clients + 0.5))


def _row(
    size: int, servers: Sequence[Server], found: Mapping[Server, float], show: Callable[[float], str], *, gzip: bool
) -> tuple[str, ...]:
    own = found[servers[0]]
    cells = [show(found[server]) if server in found else "—" for server in servers]
    ratios = [figure(own / found[server]) if server in found else "—" for server in servers[1:]]
    return (f"{size:,}", "gzip" if gzip else "identity", *cells, *ratios)


def _bars(size: int, own: float, stock: float, nginx: float) -> list[Bar]:
    found = []
    better, worse = _BARS[size]
    what = f"p50, gzip, one client, {size:,} tenants"
    if better is not None:
        found.append(at_least(f"{what}: prometheus-client ÷ exporter", stock / own, better))
    if worse is not None:
        found.append(at_most(f"{what}: exporter ÷ nginx", own / nginx, worse))
    return found


def paced(bench: Bench) -> Result:
    """A scrape now and then on a new connection, against nginx: no scrape profits from the one before."""
    size = bench.size(1000)
    folder = bench.new_folder()
    configuration = configure(folder, size, **stored(folder))
    fill(configuration)
    with Exporter(bench.installation, configuration) as exporter, Nginx(folder, exporter.await_polls()) as nginx:

        def measure(server: Server) -> Callable[[], float]:
            def once() -> float:
                time.sleep(1)
                with server.client() as client:
                    return client.get("/metrics")[0]

            return once

        found = alternate(bench.rounds * 5, {server: measure(server) for server in (exporter, nginx)})
    row = (f"{size:,}", *(milliseconds(taken) for taken in found.values()), figure(found[exporter] / found[nginx]))
    head = ("tenants", "exporter", "nginx", "ratio")
    return Result((Table("One scrape (gzip) every two seconds: p50 in milliseconds", head, (row,)),))


def secured(bench: Bench) -> Result:
    """The scrape over TLS with a password, against the plain one and nginx with TLS."""
    size = bench.size(1000)
    folder = bench.new_folder()
    configuration = configure(folder, size, **stored(folder))
    fill(configuration)
    web, pair = _web_configuration(folder)
    rows = []
    with ExitStack() as stack:
        plain = stack.enter_context(Exporter(bench.installation, configuration))
        text = plain.await_polls()
        other = bench.new_folder()
        configuration = configure(other, size, **stored(other))
        fill(configuration)
        flag, known = f"--web.config.file={web}", f"{_USER}:{_PASSWORD}"
        safe = stack.enter_context(Exporter(bench.installation, configuration, flag, secure=True, user=known))
        nginx = stack.enter_context(Nginx(folder, text, pair))
        for clients in (1, _CLIENTS):
            found = alternate(
                bench.rounds,
                {
                    name: _measure(folder, url, clients)
                    for name, url in (("plain", plain.url), ("safe", safe.url), ("nginx", nginx.url))
                },
            )
            show = milliseconds if clients == 1 else figure
            what = "p50, milliseconds" if clients == 1 else f"scrapes a second, {clients} clients"
            cells = (show(found[name]) for name in ("plain", "safe", "nginx"))
            rows.append((what, *cells, figure(found["safe"] / found["plain"]), figure(found["safe"] / found["nginx"])))
    head = ("gzip", "plain", "TLS and password", "nginx, TLS", "secured ÷ plain", "÷ nginx, TLS")
    return Result((Table(f"TLS and basic authentication at {size:,} tenants", head, rows),))


def _measure(folder: Path, url: str, clients: int) -> Callable[[], float]:
    def once() -> float:
        done = load(folder, url, clients=clients, seconds=2, gzip=True, user=f"{_USER}:{_PASSWORD}")
        return done.p50 if clients == 1 else done.rate

    return once


def _web_configuration(folder: Path) -> tuple[Path, Path]:
    """Write a web configuration with TLS and a password; return it, and the file with key and certificate."""
    pair = folder / "pair.pem"
    trustme.CA().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pair))
    hashed = bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(_COST)).decode()
    document = {
        "tls_server_config": {"cert_file": str(pair), "key_file": str(pair)},
        "basic_auth_users": {_USER: hashed},
    }
    path = folder / "web.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path, pair
