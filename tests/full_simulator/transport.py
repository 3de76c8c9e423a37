"""The simulation as a transport of httpx: in process, no sockets, on any clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import httpx

from exporter.simulator.state import Call
from tests.full_simulator.clouds import IMDS, real_hosts
from tests.full_simulator.slow import SlowResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.simulator.state import Response
    from tests.full_simulator.simulator import Simulator


class SimulatorTransport(httpx.BaseTransport):
    """Answers for the real hosts of all four clouds; any other host cannot be reached.

    Args:
        simulator: who answers.
        clock: the time, Unix seconds.
        sleep: lets that many seconds pass; with a virtual clock, moves it.
    """

    def __init__(
        self,
        simulator: Simulator,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._simulator = simulator
        self._clock = clock
        self._sleep = sleep
        self._hosts = real_hosts()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the simulation's answer; what happens on the wire becomes httpx's exceptions and waiting."""
        known = self._hosts.get(request.url.netloc.decode())
        address = f"{request.url.scheme}://{request.url.netloc.decode()}"
        if known is None or getattr(*known, IMDS) != address:
            self._simulator.leaks.append(f"{request.method} to {address}, which is no host of Microsoft")
            raise httpx.ConnectError(f"no such host in the simulation: {request.url.host}", request=request)
        cloud, host = known
        response = self._simulator.answer(
            Call(
                simulation=self._simulator,
                cloud=cloud,
                host=host,
                method=request.method,
                path=request.url.path,
                query=dict(parse_qsl(request.url.query.decode(), keep_blank_values=True)),
                headers=dict(request.headers),
                body=request.read(),
                now=self._clock(),
            )
        )
        return self._travel(request, response)

    def _travel(self, request: httpx.Request, response: Response) -> httpx.Response:
        if response.cut == -1:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        headers = list(response.headers)
        if isinstance(response, SlowResponse):
            self._wait(request, response.delay)
            self._sleep(response.drip_headers * sum(len(name) + len(value) + 4 for name, value in headers))
        if not (isinstance(response, SlowResponse) and response.endless):
            headers.append(("Content-Length", str(len(response.body))))
        return httpx.Response(response.status, headers=headers, stream=_Body(request, response, self._wait))

    def _wait(self, request: httpx.Request, seconds: float) -> None:
        """Let time pass, but no longer than the client is ready to wait."""
        limit = request.extensions.get("timeout", {}).get("read")
        if limit is not None and seconds > limit:
            self._sleep(limit)
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        self._sleep(seconds)


class _Body(httpx.SyncByteStream):
    """A body: at once, byte by byte, for ever, or cut."""

    def __init__(
        self, request: httpx.Request, response: Response, wait: Callable[[httpx.Request, float], None]
    ) -> None:
        self._request = request
        self._response = response
        self._wait = wait

    def __iter__(self) -> Iterator[bytes]:
        response = self._response
        body = response.body[: response.cut]
        if isinstance(response, SlowResponse) and response.drip:
            for byte in body:
                self._wait(self._request, response.drip)
                yield bytes((byte,))
        else:
            yield body
        while isinstance(response, SlowResponse) and response.endless:
            yield body or b"\0"
        if len(body) < len(response.body):
            message = "peer closed connection without sending complete message body"
            raise httpx.RemoteProtocolError(message, request=self._request)
