"""A real server on real sockets, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import gzip as gzip_module
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exporter.config import Web
from exporter.exposition import UnknownTenantError
from exporter.web.limits import Limits
from exporter.web.server import event_loop, serve
from tests.statuses import reported
from tests.statuses import status as make_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exporter.status import Status

BODY = b"# HELP seats Seats.\n# TYPE seats gauge\nseats 1\n"


@dataclass
class Fake:
    """A source with one body, which remembers what it was asked."""

    pieces: tuple[bytes, ...] = (BODY,)
    is_ready: bool = True
    reloaded: tuple[bool, str] = (True, "reloaded (tenants: 1)")
    what: Status = field(default_factory=lambda: make_status({"contoso": reported()}))
    asked: list[tuple[bool, bool, tuple[str, ...]]] = field(default_factory=list)
    hold: threading.Event | None = None
    fail: bool = False

    def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
        """Return the body; only the tenant `contoso` is known."""
        if self.fail:
            raise ArithmeticError("the test asked for it")
        self.asked.append((openmetrics, gzip, tenants))
        for name in tenants:
            if name != "contoso":
                raise UnknownTenantError(name)
        return (gzip_module.compress(b"".join(self.pieces)),) if gzip else self.pieces

    def ready(self) -> bool:
        """Say what the test wants."""
        return self.is_ready

    def status(self, tenant: str | None = None) -> Status:
        """Return what the test wants, and wait for it if it wants that; only the tenant `contoso` is known."""
        if tenant not in {None, "contoso"}:
            raise UnknownTenantError(tenant or "")
        if self.hold is not None:
            self.hold.wait(20)
        return self.what

    def reload(self) -> tuple[bool, str]:
        """Return what the test wants."""
        return self.reloaded


@dataclass
class Running:
    """A server that runs in a thread."""

    addresses: tuple[str, ...]
    source: Fake
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    thread: threading.Thread

    @property
    def port(self) -> int:
        """The first address's port."""
        return int(self.addresses[0].rpartition(":")[2])

    @property
    def url(self) -> str:
        """The first address as a URL, without TLS."""
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> None:
        """Stop the server and wait for its end."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)
        assert not self.thread.is_alive()

    def connect(self, timeout: float = 60) -> socket.socket:
        """Return a connected socket."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)


@contextlib.contextmanager
def running(source: Fake | None = None, *, interval: float = 0.05, **settings: Any) -> Iterator[Running]:
    """Run a server with these options and limits on a free port of loopback; raise what its start raises."""
    source = source or Fake()
    limits = replace(Limits(), **{k: v for k, v in settings.items() if k in Limits.__dataclass_fields__})
    web = {k: v for k, v in settings.items() if k not in Limits.__dataclass_fields__}
    config = {"file": web.pop("config_file", None)}
    options = Web.model_validate({"listen_address": ("127.0.0.1:0",), "config": config, **web})
    begun = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        found["stop"] = asyncio.Event()
        found["loop"] = asyncio.get_running_loop()

        def started(addresses: tuple[str, ...]) -> None:
            found["addresses"] = addresses
            begun.set()

        await serve(source, options, found["stop"], started=started, limits=limits, interval=interval)

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=event_loop) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001 - it is raised where the test waits
            found["error"] = error
        finally:
            begun.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(20)
    if "error" in found:
        raise found["error"]
    server = Running(found["addresses"], source, found["loop"], found["stop"], thread)
    try:
        yield server
    finally:
        server.end()
    if "error" in found:
        raise found["error"]


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send `data` and return all that comes until the server closes."""
    with contextlib.suppress(OSError):
        sock.sendall(data)
    return drain(sock)


def drain(sock: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    got = []
    while chunk := sock.recv(262_144):
        got.append(chunk)
    return b"".join(got)


def drain_until_reset(sock: socket.socket) -> bytes:
    """Return all that comes until the server resets the connection."""
    got = []
    with contextlib.suppress(ConnectionResetError):
        while True:
            chunk = sock.recv(262_144)
            assert chunk, "the connection was ended, not reset"
            got.append(chunk)
    return b"".join(got)


def status(answer: bytes) -> int:
    """Return the status of a raw answer."""
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def trusting(authority: Any, *certificates: Any, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a client's context that trusts `authority` (trustme's), with certificates of its own."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for certificate in certificates:
        certificate.configure_cert(context)
    for name, version in versions.items():
        setattr(context, name, version)
    return context
