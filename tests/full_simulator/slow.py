"""Answers that are slow or never end, and a connection that sends them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.simulator import server as shipped
from exporter.simulator.messages import Response

if TYPE_CHECKING:
    from exporter.simulator.messages import Origin

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class SlowResponse(Response):
    """A response that takes its time.

    Attributes:
        delay: seconds of silence before the first byte.
        drip: seconds between the single bytes of the body.
        drip_headers: seconds between the single bytes of the status line and the headers.
        endless: the body is repeated for ever.
    """

    delay: float = 0.0
    drip: float = 0.0
    drip_headers: float = 0.0
    endless: bool = False


class Connection(shipped.Connection):
    """Sends slow responses too, one after the other."""

    def __init__(self, server: shipped.SimulatorServer, origin: Origin) -> None:
        super().__init__(server, origin)
        self._waiting: list[tuple[Response, bool]] = []
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever is still being sent."""
        super().connection_lost(exc)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Wait with further chunks."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on with further chunks."""
        self._writable.set()

    def send(self, response: Response, *, keep: bool) -> None:
        """Send a response after those that are still being sent."""
        if self._task is not None:
            self._waiting.append((response, keep))
        elif isinstance(response, SlowResponse):
            self._task = asyncio.get_running_loop().create_task(self._send_slowly(response, keep=keep))
            self._task.add_done_callback(self._next)
        else:
            super().send(response, keep=keep)

    def _next(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        task.result()
        while self._waiting and self._task is None:
            response, keep = self._waiting.pop(0)
            self.send(response, keep=keep)

    async def _send_slowly(self, response: SlowResponse, *, keep: bool) -> None:
        await asyncio.sleep(self.server.latency + response.delay)
        head = self.head(response, keep=keep, length=not response.endless)
        if response.endless:
            head = head.removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n"
        await self._write_bytes(head, response.drip_headers)
        if not response.endless:
            await self._write_bytes(response.body, response.drip)
        while response.endless and not self.transport.is_closing():
            await self._write_chunk(response.body or b"\0")
        if not keep:
            self.transport.close()

    async def _write_bytes(self, data: bytes, pause: float) -> None:
        if not pause:
            self.transport.write(data)
            await self._writable.wait()
            return
        for byte in data:
            if self.transport.is_closing():
                return
            self.transport.write(bytes((byte,)))
            await asyncio.sleep(pause)

    async def _write_chunk(self, data: bytes) -> None:
        data = data * (1 + _CHUNK // len(data))
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writable.wait()
        await asyncio.sleep(0)
