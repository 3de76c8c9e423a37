"""No host, however it behaves, keeps a poll longer than its timeout."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import pytest

from exporter.errors import NetworkError
from exporter.http import Clients, Deadline
from exporter.http.deadline import Backend, PollClock
from tests.http.leaks import said
from tests.http.servers import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def drip(connection: socket.socket) -> None:
    """Send one header byte after the other, for ever."""
    connection.recv(65536)
    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(ord("x"))):
        connection.sendall(bytes((byte,)))
        time.sleep(0.02)


def silence(connection: socket.socket) -> None:
    """Say nothing until the client goes."""
    while connection.recv(65536):
        pass


def drip_body(connection: socket.socket) -> None:
    """Send a body byte by byte, for ever."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in itertools.count():
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize("habit", [drip, drip_body, silence])
def test_a_slow_host_is_left_at_the_deadline(habit: Callable[[socket.socket], None]) -> None:
    """A host that drips its headers or its body, or is silent, ends in the failure that names the setting."""
    clients = Clients()
    with serving(habit) as port, pytest.raises(NetworkError) as caught:
        clients.request("GET", f"http://localhost:{port}/", endpoint="graph", deadline=Deadline(0.2))
    clients.close()
    assert said(caught.value) == (
        f"graph host localhost:{port}: no complete answer within 0.2 s\n"
        "check the path to the host (firewall, proxy); raise poll.timeout if the host is just slow"
    )


def test_after_the_deadline_nothing_is_sent() -> None:
    """After the deadline no request begins, not even where the connection is there already."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    clients = Clients(transport=httpx.MockTransport(answer))
    with pytest.raises(NetworkError, match="no complete answer within 0 s"):
        clients.request("GET", "https://graph.example/", endpoint="graph", deadline=Deadline(0))
    assert not sent


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Listen on 127.0.0.2 with a full queue: the kernel drops what comes, as a firewall does; give the port."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - socket's own signature
            filler.connect_ex(address)
        yield address[1]


def resolving_to(*addresses: str) -> Callable[..., list[Any]]:
    """Return a name server that knows one answer."""
    return lambda _host, port, **_: [(0, 0, 0, "", (address, port)) for address in addresses]


@pytest.mark.parametrize("dead", ["127.0.0.2", "127.0.0.3"], ids=["swallows", "refuses"])
def test_an_address_that_does_not_answer_leaves_time_for_the_next(dead: str) -> None:
    """Of several addresses, one that swallows or refuses connections costs its share of the time only."""
    clock = PollClock()
    clock.deadline = Deadline(1.0)
    with black_hole() as port, socket.create_server(("127.0.0.1", port)):
        stream = Backend(clock, resolving_to(dead, "127.0.0.1")).connect_tcp("many.example", port)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        stream.close()


def test_many_dead_addresses_do_not_outlive_the_deadline() -> None:
    """All addresses together have the time of one."""
    clock = PollClock()
    clock.deadline = Deadline(0.3)
    with black_hole() as port, pytest.raises((httpcore.ConnectTimeout, httpcore.ReadTimeout)):
        Backend(clock, resolving_to(*["127.0.0.2"] * 5)).connect_tcp("many.example", port)


def test_a_host_without_an_address_is_a_network_failure() -> None:
    """A name that nobody knows, or that is no name, is said to be the trouble."""
    for host in ("nowhere.invalid", f"{'x' * 64}.example", "a..b"):
        with pytest.raises(NetworkError) as caught:
            Clients().request("GET", f"https://{host}/?sig=hush", endpoint="graph", deadline=Deadline(5))
        assert f"graph host {host}: " in said(caught.value)


def test_a_resolver_that_finds_nothing_is_an_error() -> None:
    """An empty answer of the name server is an error like any other."""
    clock = PollClock()
    clock.deadline = Deadline(1)
    with pytest.raises(httpcore.ConnectError, match=r"many\.example has no address"):
        Backend(clock, resolving_to()).connect_tcp("many.example", 443)
