"""TLS, and the deadline of a poll, applied to every single operation on its sockets."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import httpcore

from exporter.errors import ConfigError
from exporter.files import MIB, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


class Deadline:
    """The moment a whole poll must be over, some seconds from now."""

    __slots__ = ("_at", "_monotonic", "seconds")

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._monotonic = monotonic
        self._at = monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left; zero or less when it is over."""
        return self._at - self._monotonic()


class PollClock(threading.local):
    """The deadline of the poll that each thread is busy with."""

    def __init__(self) -> None:
        self.deadline = Deadline(0)

    def limit(self, timeout: float | None) -> float:
        """Return the timeout of one socket operation.

        Raises:
            httpcore.ReadTimeout: the deadline has passed.
        """
        left = self.deadline.remaining()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(timeout, left)


class StrictSocket(ssl.SSLSocket):
    """TLS that takes no cut for an end, and whose every reading ends with the deadline of the poll that uses it."""

    clock: PollClock | None = None

    # An end without TLS's close_notify may be a cut (RFC 8446, section 6.1).
    suppress_ragged_eofs = property(lambda _self: False, lambda _self, _wanted: None)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        # httpcore's TLS in the TLS of a proxy reads as often as a record or a handshake needs, under one timeout each.
        if self.clock is not None:
            self.settimeout(self.clock.limit(None))
        return super().recv(buflen, flags)


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a verifying context: the system's trust store, and `ca_file` added to it.

    Building one takes some 25 ms: build it once and share it.

    Raises:
        ConfigError: `ca_file` cannot be read, is not a regular file, is too large or contains no certificate.
    """
    context = ssl.create_default_context()
    context.sslsocket_class = StrictSocket
    # Python 3.11.2 and its like, Debian's for one, set this by default: OpenSSL would hide the cut from the socket too.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    # The same on every Python, whose own flags differ since 3.13: a company's issuing CA is enough without its root,
    # and a CA without what RFC 5280 asks for (an Authority Key Identifier) is trusted, as by curl.
    context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_STRICT) | ssl.VERIFY_X509_PARTIAL_CHAIN
    if ca_file is None:
        return context
    try:
        # Next to the certificates a bundle has their names, in whatever encoding.
        context.load_verify_locations(cadata=read_file(ca_file, MIB).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        why = "it contains no readable certificate"
    except OSError as error:
        why = error.strerror or "it cannot be read"
    else:
        return context
    raise ConfigError((f"http.ca_file: {ca_file}: {why}; use a PEM file of CA certificates",))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, clock: PollClock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.limit(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.limit(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._clock.limit(timeout))
        stream.get_extra_info("socket").clock = self._clock
        return _Stream(stream, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Backend(httpcore.SyncBackend):
    """Opens connections whose every operation ends with the deadline of the poll that uses them.

    No deadline can interrupt a name server's silence.
    """

    def __init__(self, clock: PollClock, resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo) -> None:
        self._clock = clock
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers.

        Each address gets its share of the time that is left: one that swallows everything (a firewall, a broken IPv6)
        leaves time for the others, and all of them together do not outlive the deadline.
        """
        addresses = self._addresses(host, port)
        for left in range(len(addresses), 0, -1):
            share = self._clock.limit(timeout) / left
            try:
                stream = super().connect_tcp(addresses[-left], port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
            else:
                return _Stream(stream, self._clock)
        raise httpcore.ConnectError(f"{host} has no address")

    def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
