"""HTTP clients: proxies, limits on size and time, one request at a time; and what went wrong on the network.

Each worker thread has clients of its own: httpx's pool shared by all is quadratic in its connections.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib import request as urllib_request
from urllib.parse import urlsplit

import httpx

from exporter import __version__
from exporter.errors import ExporterError, NetworkError, ReportError, ServerError, ThrottledError
from exporter.files import MIB
from exporter.http.deadline import Backend, PollClock, tls_context
from exporter.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpcore

    from exporter.http.deadline import Deadline

log = get_logger(__name__)

MAX_BODY = 2 * MIB
"""The largest answer read, in decompressed bytes: a report is smaller than 100 KB."""

_HEADERS = {"User-Agent": f"office365-activations-exporter/{__version__}", "Accept": "*/*", "Accept-Encoding": "gzip"}
_OK, _TOO_MANY, _SERVER = 200, 429, 500
_DEFAULT_WAIT = 300.0
_LONGEST_WAIT = 86400.0

_FIREWALL = "check the path to the host (firewall, proxy); raise poll.timeout if the host is just slow"
_PROXY = "check http.proxy (or HTTPS_PROXY): host, port, and whether it allows this host"
_PROXY_PASSWORD = "check user and password in http.proxy (or HTTPS_PROXY)"  # noqa: S105 - advice, no password
_UNTRUSTED = "if your own proxy or gateway signs it, add its CA to http.ca_file"
# OpenSSL's numbers: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_CERTIFICATE_HINTS = {
    9: "check this machine's clock",
    10: "check this machine's clock; if it is right, whoever runs the host must renew its certificate",
    62: "another host answers in its place: check DNS, the proxy and, for a custom cloud, its addresses",
    64: "another host answers in its place: check DNS, the proxy and, for a custom cloud, its addresses",
}
_CUT = ("Server disconnected", "peer closed connection")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole and decompressed; headers and body may hold secrets, so they are not shown.

    MSAL reads status, headers (found by their names in any case) and text by these names. `measured` says whether the
    answer itself said where its body ends, by Content-Length or chunks: a gzip member may not be the last one.
    """

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    measured: bool = True

    @property
    def text(self) -> str:
        """The body as text: what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")

    @property
    def request_id(self) -> str:
        """Graph's `request-id`; empty where there is none."""
        value = self.headers.get("request-id", "")
        return value[:64] if value.isprintable() else ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy of every host that `no_proxy` does not name, as NO_PROXY would; its `url` may hold a password."""

    url: str = field(default="", repr=False)
    no_proxy: str = ""

    def covers(self, host: str) -> bool:
        """Say whether `host` (with or without its port) is reached through the proxy."""
        # The standard library's own reading of NO_PROXY; typeshed does not know it.
        bypass = urllib_request.proxy_bypass_environment  # type: ignore[attr-defined]
        return bool(self.url) and not bypass(host, {"no": self.no_proxy})

    @property
    def host(self) -> str:
        """Host and port, fit for a message; empty for no proxy."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Return how many seconds a throttled answer asks to wait: 300 where it does not say, a day at most.

    Source: https://learn.microsoft.com/graph/throttling; RFC 9110, section 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    seconds = _DEFAULT_WAIT
    if value.isascii() and value.isdigit():
        seconds = float(value)
    elif value:
        with contextlib.suppress(ValueError, OverflowError):
            date = parsedate_to_datetime(value)
            # A date without a zone (asctime's form, which RFC 9110 still allows) is in UTC, not in this machine's zone.
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def raise_passing(answer: Answer, who: str, clock: Callable[[], float]) -> None:
    """Raise for an answer that says nothing about a credential; `who` begins the message.

    Raises:
        ThrottledError: 429.
        ServerError: 5xx.
    """
    if answer.status_code == _TOO_MANY:
        wait = retry_after(answer.headers, clock())
        raise ThrottledError(f"{who} answered 429; wait {wait:.0f} s", retry_after=wait)
    if answer.status_code >= _SERVER:
        raise ServerError(f"{who} answered {answer.status_code}")


class Clients:
    """What a poll sends its requests with.

    Args:
        tls: the context for https.
        proxy: the proxy, and who goes without it.
        transport: stands in for the network, in tests and in simulations.
        count: called for every request: endpoint (token, graph or download), and the status or `error`.
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
        self._clock = PollClock()
        self._local = threading.local()
        self._opened: list[httpx.BaseTransport] = []
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
        """Send one request, `data` as a form and `params` as its query, and read its whole answer; follow nothing.

        The endpoint (token, graph or download) is for the counter and for error messages. `direct` goes past any
        proxy, as a managed identity's endpoint on this very machine wants it.

        Raises:
            NetworkError: DNS, connect, TLS, proxy, timeout, a cut or malformed answer.
            ReportError: the answer is larger than `MAX_BODY`.
            ServerError: the token endpoint's is; or it is compressed in a way that was not asked for.
        """
        proxied = False
        try:
            if (left := deadline.remaining()) <= 0:
                raise httpx.ReadTimeout("the answer before this request took all the time")
            target = httpx.URL(url)
            proxied = not direct and self._proxy.covers(target.netloc.decode("ascii"))
            self._clock.deadline = deadline
            request = httpx.Request(
                method,
                target,
                headers={**_HEADERS, **(headers or {})},
                data=data,
                params=params,
                extensions={"timeout": httpx.Timeout(left).as_dict()},
            )
            answer = _exchange(self._line(proxied=proxied), request, endpoint)
        except ExporterError:
            self._count(endpoint, "error")
            raise
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            self._count(endpoint, "error")
            proxy = self._proxy.host if proxied else ""
            raise _network_error(error, endpoint, url, proxy=proxy, seconds=deadline.seconds) from None
        self._count(endpoint, str(answer.status_code))
        log.debug("answer", endpoint=endpoint, host=target.host, status=answer.status_code, bytes=len(answer.body))
        return answer

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, []
            self._local = threading.local()
        for line in opened:
            line.close()

    def _line(self, *, proxied: bool) -> httpx.BaseTransport:
        """Return this thread's connections: those through the proxy, or those past it."""
        name = "proxied" if proxied else "direct"
        line: httpx.BaseTransport | None = self._transport or getattr(self._local, name, None)
        if line is None:
            with self._lock:
                self._tls = self._tls or tls_context()
                line = self._open(self._tls, proxied=proxied)
                self._opened.append(line)
            setattr(self._local, name, line)
        return line

    def _open(self, tls: ssl.SSLContext, *, proxied: bool) -> httpx.BaseTransport:
        proxy = None
        if proxied:
            # A proxy with TLS of its own is held to the same trust as any host.
            url = httpx.URL(self._proxy.url)
            proxy = httpx.Proxy(url, ssl_context=tls if url.scheme == "https" else None)
        limits = httpx.Limits(max_connections=8, keepalive_expiry=60)
        transport = httpx.HTTPTransport(verify=tls, proxy=proxy, limits=limits, trust_env=False)
        # httpx has no argument for httpcore's network backend, the only place where a server that drips its headers
        # byte by byte can be held to the deadline.
        transport._pool._network_backend = Backend(self._clock)  # noqa: SLF001 - see above
        return transport


def _exchange(line: httpx.BaseTransport, request: httpx.Request, endpoint: str) -> Answer:
    """Send and read, below httpx's client: that would keep cookies and follow redirects.

    Only of a 200 is the body needed: of any other answer the status decides, also where the rest of it cannot be read.
    """
    response = line.handle_request(request)
    headers = response.headers
    answer = Answer(response.status_code, headers, b"", "content-length" in headers or "transfer-encoding" in headers)
    try:
        body = _body(response, endpoint)
        if _with_surplus(line):
            raise httpx.RemoteProtocolError("unexpected bytes follow the answer")
        return replace(answer, body=body)
    except (ExporterError, httpx.HTTPError) as error:
        if answer.status_code != _OK:
            return answer
        if isinstance(error, ExporterError) and endpoint == "graph":
            error.request_id = answer.request_id
        raise
    finally:
        surplus = _with_surplus(line)  # behind an answer that could not be read, too
        response.close()
        for connection in surplus:
            connection.close()


def _body(response: httpx.Response, endpoint: str) -> bytes:
    """Return the whole body, decompressed no further than the limit allows.

    Raises:
        httpx.DecodingError: it is not gzip where gzip was promised, or its end is missing.
        ReportError, ServerError: it is too large, or compressed in a way that was not asked for.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", ""}:
        what = f"the {endpoint} host's answer is compressed in a way that was not requested"
        raise ServerError(f"{what} (Content-Encoding)")
    body = bytearray()
    member: zlib._Decompress | None = None
    for chunk in cast("httpx.SyncByteStream", response.stream):
        data = chunk
        while data:  # a gzip file is a row of members (RFC 1952, section 2.2)
            if encoding.endswith("gzip"):
                member = member or zlib.decompressobj(wbits=31)
                try:
                    body += member.decompress(data, MAX_BODY + 1 - len(body))
                except zlib.error:
                    raise httpx.DecodingError("the answer's gzip is broken") from None
                data = member.unused_data
                member = None if member.eof else member
            else:
                body += data
                data = b""
            if len(body) > MAX_BODY:
                too_large = ServerError if endpoint == "token" else ReportError
                limit = f"{MAX_BODY // MIB} MiB"
                raise too_large(f"the {endpoint} host's answer is larger than {limit} decompressed")
    if member is not None:
        raise httpx.DecodingError("the answer's gzip ends too early")
    return bytes(body)


def _with_surplus(line: httpx.BaseTransport) -> list[httpcore.ConnectionInterface]:
    """Return the connections that hold bytes behind their answer: on a kept one they would become the next answer.

    Bytes that arrive later are noticed by httpcore: it uses no connection that is readable before its request.
    """
    found = []
    # Nothing public leads to h11's buffer.
    for connection in line._pool.connections if isinstance(line, httpx.HTTPTransport) else ():  # noqa: SLF001
        inner: Any = connection
        while (deeper := getattr(inner, "_connection", None)) is not None:
            inner = deeper
        state = getattr(inner, "_h11_state", None)
        if state is not None and state.trailing_data[0]:
            found.append(connection)
    return found


def _network_error(error: Exception, endpoint: str, url: str, *, proxy: str, seconds: float) -> NetworkError:
    """Return the error that says what happened on the way, and what to check.

    The address may hold a signature, so only its host is ever shown. `proxy` is the proxy's host and port, if there was
    one, and `seconds` how long the whole poll may take.
    """
    cause: BaseException = error
    # httpcore hides the error of the TLS library as if it were of no interest.
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    what, hint = f"the connection broke: {str(cause) or type(error).__name__}", ""
    match error:
        case httpx.TimeoutException():
            what, hint = f"no complete answer within {seconds:g} s", _FIREWALL
        case httpx.ProxyError():
            what, hint = f"the proxy refused: {error}", _PROXY_PASSWORD if str(error).startswith("407") else _PROXY
        case _ if isinstance(cause, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted: {cause.verify_message}"
            hint = _CERTIFICATE_HINTS.get(cause.verify_code, _UNTRUSTED)
        case httpx.ConnectError():
            what, hint = f"cannot connect: {cause}", _PROXY if proxy else ""
        case httpx.DecodingError():
            what = str(error)
        case httpx.ProtocolError() if not str(error).startswith(_CUT):
            # The library quotes the line that it could not read: it may be a preauthenticated Location.
            what = "its answer is not valid HTTP"
    try:
        host = httpx.URL(url).netloc.decode("ascii") or "(no host)"
    except httpx.InvalidURL:
        host = "(unreadable address)"
    through = f" through the proxy {proxy}" if proxy else ""
    return NetworkError(f"{endpoint} host {host}{through}: {what}", hint=hint)
