"""Faults below and around the content: connections, compression, headers, redirects."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from exporter.simulator.simulator import compressed
from exporter.simulator.state import Response
from tests.full_simulator.faults.fault import Fault, Stage
from tests.full_simulator.slow import SlowResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.state import Call
    from exporter.simulator.state import Fault as Answer

_BOMB_CHUNK, _BOMB_CHUNKS = bytes(1 << 20), 256
_FLOOD = tuple((f"x-flood-{number}", "0" * 100) for number in range(5000))
_ELSEWHERE = "/data/download/report?token=secret"


def _slow(*, delay: float = 0.0, drip: float = 0.0, drip_headers: float = 0.0, endless: bool = False) -> Answer:
    def answer(_call: Call, good: Callable[[], Response]) -> Response:
        response = good()
        return SlowResponse(
            response.status,
            response.headers,
            response.body,
            delay=delay,
            drip=drip,
            drip_headers=drip_headers,
            endless=endless,
        )

    return answer


def _broken_gzip(_call: Call, good: Callable[[], Response]) -> Response:
    response = good()
    return compressed(response, gzip.compress(b"", mtime=0)[:10] + b"\xff" * 64)


def _bomb(_call: Call, good: Callable[[], Response]) -> Response:
    return compressed(good(), _make_bomb())


@cache
def _make_bomb() -> bytes:
    """Return 256 MiB of zeros as one gzip member of a quarter of a megabyte: one packed block, many times over."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = packer.compress(_BOMB_CHUNK) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(_BOMB_CHUNKS):
        checksum = zlib.crc32(_BOMB_CHUNK, checksum)
    trailer = struct.pack("<LL", checksum, len(_BOMB_CHUNK) * _BOMB_CHUNKS)
    return gzip.compress(b"", mtime=0)[:10] + block * _BOMB_CHUNKS + packer.flush() + trailer


def _with_headers(*headers: tuple[str, str]) -> Answer:
    def answer(_call: Call, good: Callable[[], Response]) -> Response:
        response = good()
        return replace(response, headers=(*response.headers, *headers))

    return answer


def _away(location: Callable[[Call], str]) -> Answer:
    return lambda call, _: Response(302, (("Content-Type", "text/plain"), ("Location", location(call))))


def _plainly(call: Call, good: Callable[[], Response]) -> Response:
    location = dict(good().headers).get("Location", "").replace("https://", "http://", 1)
    return _away(lambda _: location)(call, good)


def _own_address(call: Call) -> str:
    address = getattr(call.cloud, call.host)
    query = "&".join(f"{name}={value}" for name, value in call.query.items())
    return f"{address}{call.path}" + (f"?{query}" if query else "")


WIRE_FAULTS = (
    Fault("slow", Stage.GRAPH, "two seconds of silence, then a good answer", _slow(delay=2.0)),
    Fault("hang", Stage.GRAPH, "an hour of silence", _slow(delay=3600.0)),
    Fault("drip", Stage.REPORT, "the body comes a byte every half second", _slow(drip=0.5)),
    Fault("drip-headers", Stage.GRAPH, "headers come a byte every half second", _slow(drip_headers=0.5)),
    Fault("endless", Stage.REPORT, "the body never ends", _slow(endless=True)),
    Fault("header-flood", Stage.GRAPH, "five thousand headers", _with_headers(*_FLOOD)),
    Fault("cookie", Stage.GRAPH, "a cookie that must go nowhere", _with_headers(("Set-Cookie", "secret=1; Path=/"))),
    Fault("gzip-broken", Stage.REPORT, "compressed, but damaged", _broken_gzip),
    Fault("gzip-bomb", Stage.REPORT, "256 MiB of zeros, compressed", _bomb),
)

REDIRECT_FAULTS = (
    Fault("redirect-loop", Stage.GRAPH, "a redirect to itself", _away(_own_address)),
    Fault("redirect-private", Stage.GRAPH, "a private address", _away(lambda _: f"https://10.0.0.1{_ELSEWHERE}")),
    Fault("redirect-loopback", Stage.GRAPH, "this machine", _away(lambda _: f"https://127.0.0.1:1{_ELSEWHERE}")),
    Fault(
        "redirect-metadata", Stage.GRAPH, "a cloud's metadata", _away(lambda _: f"https://169.254.169.254{_ELSEWHERE}")
    ),
    Fault("redirect-http", Stage.GRAPH, "the right host without TLS", _plainly),
    Fault("redirect-scheme", Stage.GRAPH, "another scheme", _away(lambda _: "file:///etc/passwd")),
    Fault(
        "redirect-host",
        Stage.GRAPH,
        "another host",
        _away(lambda _: f"https://reports.office.com.example.net{_ELSEWHERE}"),
    ),
    Fault(
        "redirect-userinfo",
        Stage.GRAPH,
        "another host behind a user name",
        _away(lambda _: f"https://reports.office.com@example.net{_ELSEWHERE}"),
    ),
    Fault("redirect-garbage", Stage.GRAPH, "no address at all", _away(lambda _: "https://[::1")),
    Fault("redirect-nowhere", Stage.GRAPH, "a redirect without an address", lambda _call, _good: Response(302)),
    Fault("download-redirect-loop", Stage.DOWNLOAD, "the download redirects to itself", _away(_own_address)),
)
