"""Answers that are slow or never end, and what sends them."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.simulator import server as shipped
from exporter.simulator.simulation import Response

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


class Handler(shipped.Handler):
    """Sends slow responses too."""

    def send(self, response: Response) -> None:
        """Send a response, for as long as the client listens and the server runs."""
        if not isinstance(response, SlowResponse):
            super().send(response)
            return
        self._wait(response.delay)
        head = self.head(response, length=not response.endless)
        if response.endless:
            head = head.removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n"
        self._write(head, response.drip_headers)
        if not response.endless:
            self._write(response.body, response.drip)
        body = response.body or b"\0"
        chunk = body * (1 + _CHUNK // len(body))
        while response.endless:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def _write(self, data: bytes, pause: float) -> None:
        if not pause:
            self.wfile.write(data)
            return
        for byte in data:
            self.wfile.write(bytes((byte,)))
            self._wait(pause)

    def _wait(self, seconds: float) -> None:
        """Wait; end the connection where the server stops meanwhile."""
        if self.server.owner.stopping.wait(seconds):
            raise ConnectionAbortedError
