"""Those who ask: wrk for load, and a client of one connection for what is asked now and then."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import subprocess
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.tools import require

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
"""As Prometheus asks."""

_TIMEOUT = 300.0
_CHUNK = 1 << 20
_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", latency:percentile(50), latency:percentile(99), latency.max,
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured; seconds, and requests a second."""

    p50: float
    p99: float
    worst: float
    rate: float
    errors: int


def load(folder: Path, url: str, *, clients: int, seconds: int, gzip: bool, user: str = "") -> Load:
    """Ask again and again over kept connections (or new ones, where the server closes them).

    Args:
        folder: for wrk's script.
        url: what to ask for.
        clients: connections.
        seconds: how long.
        gzip: whether a compressed answer is accepted.
        user: `name:password` to send along.

    Raises:
        RuntimeError: wrk failed, or nothing was answered.
    """
    script = folder / "wrk.lua"
    script.write_text(_REPORT, encoding="utf-8")
    words = ["-s", str(script), "-H", f"Accept: {ACCEPT}"]
    if gzip:
        words += ["-H", "Accept-Encoding: gzip"]
    if user:
        words += ["-H", f"Authorization: {_basic(user)}"]
    output = ""
    for longer in (1, 2, 4):  # a machine busy with something else may need more time for the first answer
        timing = ["-t1", f"-c{clients}", f"-d{seconds * longer}s", f"--timeout={_TIMEOUT:g}s"]
        done = subprocess.run([str(require("wrk")), *timing, *words, url], capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", output)
        if found is not None and int(found[4]) > 0:
            p50, p99, worst, requests, duration, errors = map(int, found.groups())
            return Load(p50 / 1e6, p99 / 1e6, worst / 1e6, requests / duration * 1e6, errors)
    raise RuntimeError(f"wrk measured nothing at {url}: {output}")


def _basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


class Client:
    """One kept connection.

    Args:
        address: `host:port`.
        secure: whether to speak TLS, whatever the certificate.
        user: `name:password` to send along.
        timeout: seconds without a byte of an answer.
    """

    def __init__(self, address: str, *, secure: bool = False, user: str = "", timeout: float = _TIMEOUT) -> None:
        self._more = f"Authorization: {_basic(user)}\r\n" if user else ""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def get(self, path: str, *, gzip: bool = True) -> tuple[float, bytes]:
        """Return the seconds that the answer took, and its body as it came.

        Raises:
            OSError: no answer, or one that is not 200.
        """
        more = self._more + ("Accept-Encoding: gzip\r\n" if gzip else "")
        started = time.perf_counter()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{more}\r\n".encode())
        head, body = self._head()
        missing = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
        pieces = [body]
        while missing > 0:
            piece = self._receive()
            pieces.append(piece)
            missing -= len(piece)
        taken = time.perf_counter() - started
        if b" 200 " not in head[:16]:
            raise OSError(f"{path}: {head[:40]!r}")
        return taken, b"".join(pieces)

    def text(self, path: str = "/metrics") -> str:
        """Return the whole text."""
        body = self.get(path)[1]
        return (zlib.decompress(body, 31) if body[:2] == b"\x1f\x8b" else body).decode()

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body

    def _receive(self) -> bytes:
        data = self._socket.recv(_CHUNK)
        if not data:
            raise OSError("the connection ended")
        return data


def value(text: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    wanted = [f'{label}="{content}"' for label, content in labels.items()]
    lines = re.findall(rf"^{name}(\{{[^\n]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(number) for found, number in lines if all(one in found for one in wanted))
