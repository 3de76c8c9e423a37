"""A proxy as companies have them: CONNECT only, with a password or without, and with moods."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType


class ConnectProxy:
    """Tunnels between `start` and the end of the `with` block.

    Args:
        route: where a target `host:port` really is, as host and port; as it says where left out.
        password: `user:password` that it insists on; empty for none.
        refusal: status line that it answers to everybody, in place of a tunnel.
        silent: answer nothing at all.
        drip: pass on what the host says byte by byte, each in a TLS record of its own where `tls` is given.
        tls: speak TLS itself.

    Attributes:
        asked: the targets that were asked for, in order.
    """

    def __init__(
        self,
        route: Callable[[str], tuple[str, int]] | None = None,
        *,
        password: str = "",
        refusal: str = "",
        silent: bool = False,
        drip: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[str] = []
        self._route = route or _as_asked
        self._password = password
        self._refusal = refusal
        self._silent = silent
        self._piece = 1 if drip else 65536
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        opening = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Its address, with the password that it wants."""
        user = f"{self._password}@" if self._password else ""
        return f"{'https' if self._tls else 'http'}://{user}localhost:{self.port}"

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            method, target, _ = head.split(" ", 2)
            self.asked.append(target)
            if self._silent:
                await asyncio.sleep(3600)
            status = self._judged(method, head)
            writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode("ascii"))
            if status.startswith("200"):
                await self._tunnel(target, reader, writer)
            await writer.drain()

    def _judged(self, method: str, head: str) -> str:
        wanted = f"Proxy-Authorization: Basic {base64.b64encode(self._password.encode()).decode()}\r\n"
        if self._refusal:
            return self._refusal
        if method != "CONNECT":
            return "405 Method Not Allowed"
        return "200 OK" if not self._password or wanted in head else "407 Proxy Authentication Required"

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._route(target))
        with contextlib.closing(back):
            await asyncio.gather(_pour(reader, back), _pour(there, writer, self._piece))


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter, piece: int = 65536) -> None:
    while data := await source.read(piece):
        sink.write(data)
        await sink.drain()
    sink.close()


def _as_asked(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host, int(port)
