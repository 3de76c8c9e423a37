"""HTTP clients: TLS, proxies, limits on size and time, one request at a time.

Each worker thread has clients of its own: httpx's pool shared by all is quadratic in its connections.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib import request as urllib_request

import httpcore
import httpx

from exporter import __version__
from exporter.errors import NetworkError, ReportError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

MAX_BODY = 16 * 1024 * 1024
"""The largest answer read, in decompressed bytes."""

_CHUNK = 64 * 1024
_DEFAULT_WAIT = 300.0
_LONGEST_WAIT = 86400.0


class Deadline:
    """The moment a whole poll must be over.

    Args:
        seconds: from now.
        monotonic: the clock, in seconds.
    """

    __slots__ = ("_at", "_monotonic", "seconds")

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._monotonic = monotonic
        self._at = monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left; zero or less when it is over."""
        return self._at - self._monotonic()


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole and decompressed."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, for error messages: what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy for every host that `no_proxy` does not name.

    Attributes:
        url: with user and password, if it needs them; empty for no proxy.
        no_proxy: hosts and domain suffixes reached directly, comma-separated, as in the variable NO_PROXY.
    """

    url: str = ""
    no_proxy: str = ""

    def covers(self, host: str) -> bool:
        """Say whether `host` (with or without its port) is reached through the proxy."""
        return bool(self.url) and not _bypasses_proxy(host, self.no_proxy)


def proxy_from(configured: str | None, environ: Mapping[str, str]) -> Proxy:
    """Return the proxy of the configuration, else of HTTPS_PROXY or ALL_PROXY; NO_PROXY counts for both."""

    def variable(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    return Proxy(configured or variable("HTTPS_PROXY") or variable("ALL_PROXY"), variable("NO_PROXY"))


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a verifying context: the system's trust store, and `ca_file` added to it.

    Building one takes some 25 ms: build it once and share it.

    Raises:
        OSError: `ca_file` cannot be read or holds no certificate (`ssl.SSLError`).
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Return how many seconds a throttled answer asks to wait: 300 where it does not say, a day at most.

    Args:
        headers: of the answer; names in any case for `httpx.Headers`.
        now: Unix seconds, for the form that is a date.

    Source: https://learn.microsoft.com/graph/throttling; RFC 9110, section 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    seconds = _DEFAULT_WAIT
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    elif value:
        with contextlib.suppress(ValueError, OverflowError):
            seconds = parsedate_to_datetime(value).timestamp() - now
    return min(max(seconds, 0.0), _LONGEST_WAIT)


class Clients:
    """What a poll sends its requests with.

    Args:
        tls: the context for https.
        proxy: the proxy, and who goes without it.
        transport: stands in for the network, in tests and in simulations.
        count: told of every request: endpoint (token, graph or download), and the status or `error`.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        transport: httpx.BaseTransport | None = None,
        count: Callable[[str, str], None] = lambda _endpoint, _code: None,
    ) -> None:
        self._tls = tls
        self._proxy = proxy or Proxy()
        self._transport = transport
        self._count = count
        self._local = threading.local()
        self._opened: list[httpx.Client] = []
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        endpoint: str,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        direct: bool = False,
    ) -> Answer:
        """Send one request and read its whole answer; follow nothing.

        Args:
            method: GET or POST.
            url: where to.
            endpoint: token, graph or download: for the counter and for error messages.
            deadline: when to give up, whatever has arrived by then.
            headers: besides User-Agent, Accept-Encoding and Accept.
            data: a form.
            params: a query.
            direct: past any proxy, as a managed identity's endpoint on this very machine wants it.

        Raises:
            NetworkError: DNS, connect, TLS, proxy, timeout, a cut or malformed answer.
            ReportError: the answer is larger than `MAX_BODY`.
            ServerError: the answer is compressed in a way that was not asked for.
        """
        try:
            target = httpx.URL(url)
            client, clock = self._client(target, direct=direct)
            clock.deadline = deadline
            request = client.build_request(method, target, headers=headers, data=data, params=params)
            answer = self._exchange(client, request, deadline)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            self._count(endpoint, "error")
            raise _network_error(error, url, endpoint, deadline) from None
        self._count(endpoint, str(answer.status))
        return answer

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            opened, self._opened = self._opened, []
        for client in opened:
            client.close()

    def _exchange(self, client: httpx.Client, request: httpx.Request, deadline: Deadline) -> Answer:
        request.extensions["timeout"] = httpx.Timeout(max(deadline.remaining(), 0.001)).as_dict()
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            body = b"".join(_decompressed(response.iter_raw(_CHUNK), response.headers, deadline))
        finally:
            response.close()
        return Answer(response.status_code, response.headers, body)

    def _client(self, url: httpx.URL, *, direct: bool) -> tuple[httpx.Client, _PollClock]:
        direct = direct or not self._proxy.covers(url.netloc.decode("ascii"))
        name = "direct" if direct else "proxied"
        made: tuple[httpx.Client, _PollClock] | None = getattr(self._local, name, None)
        if made is None or made[0].is_closed:
            made = self._open(None if direct else self._proxy.url)
            setattr(self._local, name, made)
        return made

    def _open(self, proxy: str | None) -> tuple[httpx.Client, _PollClock]:
        clock = _PollClock()
        transport = self._transport
        if transport is None:
            if self._tls is None:
                self._tls = tls_context()
            transport = httpx.HTTPTransport(
                verify=self._tls,
                proxy=proxy,
                limits=httpx.Limits(max_connections=8, keepalive_expiry=60),
                trust_env=False,
            )
            # httpx has no argument for httpcore's network backend, the only place where a server that drips its
            # headers byte by byte can be held to the deadline.
            transport._pool._network_backend = _Backend(clock)  # noqa: SLF001 - see above
        client = httpx.Client(
            transport=transport,
            trust_env=False,  # no .netrc, no SSLKEYLOGFILE, no proxies but those chosen above
            headers={
                "User-Agent": f"office365-activations-exporter/{__version__}",
                "Accept-Encoding": "gzip",
            },
        )
        with self._lock:
            self._opened.append(client)
        return client, clock


class _PollClock:
    """The deadline of the poll that uses a client at the moment."""

    __slots__ = ("deadline",)

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


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, clock: _PollClock) -> None:
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
        return _Stream(stream, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def __init__(self, clock: _PollClock) -> None:
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        limit = self._clock.limit(timeout)
        return _Stream(super().connect_tcp(host, port, limit, local_address, socket_options), self._clock)


def _decompressed(chunks: Iterator[bytes], headers: httpx.Headers, deadline: Deadline) -> Iterator[bytes]:
    """Yield the body's pieces, decompressed no further than the limit allows."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", ""}:
        raise ServerError("the answer is compressed in a way that was not asked for (Content-Encoding)")
    inflate = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    total = 0
    for chunk in chunks:
        piece = chunk
        if inflate is not None:
            try:
                piece = inflate.decompress(chunk, MAX_BODY + 1 - total)
            except zlib.error:
                raise httpx.DecodingError("the answer's gzip is broken") from None
        total += len(piece)
        if total > MAX_BODY:
            raise ReportError(f"the answer is larger than {MAX_BODY // 1024 // 1024} MiB decompressed")
        if deadline.remaining() <= 0:
            raise httpx.ReadTimeout("deadline")
        yield piece
    if inflate is not None and total and not inflate.eof:
        raise httpx.DecodingError("the answer's gzip ends too early")


def _network_error(error: Exception, url: str, endpoint: str, deadline: Deadline) -> NetworkError:
    """Say in a person's words what happened on the way to the host; the URL itself may hold a signature."""
    try:
        host = httpx.URL(url).netloc.decode("ascii") or "(no host)"
    except httpx.InvalidURL:
        host = "(unreadable address)"
    cause = _root(error)
    hint = ""
    match error:
        case httpx.TimeoutException():
            what = f"no complete answer within the {deadline.seconds:g} s of poll.timeout"
            hint = "check the way to the host (firewall, proxy); raise poll.timeout if the host is only slow"
        case httpx.ProxyError():
            what = f"the proxy refused: {error}"
            hint = "check http.proxy (or HTTPS_PROXY): host, port, user and password"
        case _ if isinstance(cause, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted: {cause.verify_message}"
            hint = "if a proxy or gateway of yours signs it, name its CA in http.ca_file"
        case httpx.ConnectError():
            what = f"cannot connect: {cause}"
        case _:
            what = f"the connection broke: {str(cause) or type(error).__name__}"
    return NetworkError(f"{endpoint} host {host}: {what}", hint=hint)


def _bypasses_proxy(host: str, no_proxy: str) -> bool:
    # The standard library's own reading of NO_PROXY; typeshed does not know it.
    return bool(urllib_request.proxy_bypass_environment(host, {"no": no_proxy}))  # type: ignore[attr-defined]


def _root(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
