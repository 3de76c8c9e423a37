"""The endpoints: from a request to its response, by path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, urlsplit

from exporter.exposition import UnknownTenantError
from exporter.web import negotiation
from exporter.web.http import Request, Response, text
from exporter.web.limits import Places
from exporter.web.worker import BusyError, Worker

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from exporter.config import Web
    from exporter.status import Status
    from exporter.web.basic_auth import Passwords
    from exporter.web.limits import Limits

_READ = ("GET", "HEAD")
_RELOAD = ("POST", "PUT")
_COMPRESS_FROM = 1024
_FULL = text(503, "too many requests are under way: try again later", ("Retry-After", "1"))

_MOST_PARAMETERS = 250
"""Of a query: more of them would take the event loop a while to read."""


class Source(Protocol):
    """What a web server asks the exporter for."""

    def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
        """Return the metrics, in pieces that make up the body; called on the event loop, so quick.

        Args:
            openmetrics: OpenMetrics 1.0.0 instead of text 0.0.4.
            gzip: the pieces make up one gzip member.
            tenants: only these tenants' series, in any order; all of them if empty.

        Raises:
            UnknownTenantError: one of `tenants` is not configured.
        """
        ...

    def ready(self) -> bool:
        """Say whether configuration, storage and the first rendering are done; called on the event loop."""
        ...

    def status(self, tenant: str | None = None) -> Status:
        """Return what page and API show: of one tenant with its history, or of all; called in a thread.

        Raises:
            UnknownTenantError: `tenant` is not configured.
        """
        ...

    def reload(self) -> tuple[bool, str]:
        """Read the configuration again and say whether it is in force now, and a sentence for people.

        Called in a thread, never twice at once; it may block.
        """
        ...


class _Route(NamedTuple):
    """An endpoint: what answers it, by which methods, and whether it needs no password."""

    answer: Callable[[Request], Response | Awaitable[Response]]
    methods: tuple[str, ...] = _READ
    open: bool = False


@dataclass(frozen=True, slots=True)
class Security:
    """How connections and requests are guarded; all of it left out: not at all.

    Attributes:
        context: TLS for new connections; None for plain HTTP.
        allowed_sans: the names of which a client's certificate must carry one; None where any will do.
        headers: set on every response.
        users: bcrypt hashes by user name; empty where no password is asked for.
    """

    context: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)


class Site:
    """The endpoints of contract.

    Args:
        source: what they tell of.
        web: their paths, and whether `/-/reload` may be used.
        limits: how many scrapes at once.

    Attributes:
        security: what connections and requests have to obey at present.
    """

    def __init__(self, source: Source, web: Web, limits: Limits) -> None:
        self.security = Security()
        self._source = source
        self._lifecycle = web.enable_lifecycle
        self._external_url = web.external_url
        self._telemetry = web.telemetry_path
        self._prefix = web.prefix
        self._places = Places(limits.scrapes, limits.grace)
        self._routes = self._paths()
        self._readers = Worker("web-status", limit=8)
        self._reloader = Worker("web-reload", limit=4)
        self._passwords: Passwords | None = None

    def obey(self, security: Security) -> None:
        """Demand what the web configuration asks for, from the next request on."""
        self.security = security
        if not security.users:
            return
        if self._passwords is None:
            from exporter.web.basic_auth import Passwords  # noqa: PLC0415 - bcrypt only where passwords are

            self._passwords = Passwords(security.users)
        else:
            self._passwords.use(security.users)

    def end(self) -> None:
        """End the threads, each after the work that is under way."""
        self._readers.end()
        self._reloader.end()
        if self._passwords is not None:
            self._passwords.end()

    def _paths(self) -> dict[str, _Route]:
        prefix = self._prefix
        routes = {
            f"{prefix}/": _Route(self._page),
            f"{prefix}/api/v1/status": _Route(self._status),
            f"{prefix}/-/healthy": _Route(self._healthy, open=True),
            f"{prefix}/-/ready": _Route(self._ready, open=True),
            f"{prefix}/-/reload": _Route(self._reload, _RELOAD),
            prefix + self._telemetry: _Route(self._metrics),
        }
        if prefix:
            # Relative, so that they hold behind a proxy that adds a prefix of its own.
            routes[prefix] = _Route(lambda _: _redirect(prefix.rpartition("/")[2] + "/"))
            routes["/"] = _Route(lambda _: _redirect(prefix[1:] + "/"))
        return routes

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `request`, at once where that can be done on the event loop."""
        security = self.security
        route = self._routes.get(request.path)
        if self._passwords is not None and security.users and not (route is not None and route.open):
            return self._check(self._passwords, request, route, security)
        return self._dressed(self._answer(request, route), security)

    def _answer(self, request: Request, route: _Route | None) -> Response | Awaitable[Response]:
        if route is None:
            return text(404, f"not found; the metrics are at {self._prefix}{self._telemetry}")
        if request.method not in route.methods:
            allowed = ", ".join(route.methods)
            return text(405, f"only {' and '.join(route.methods)} can be used here", ("Allow", allowed))
        return route.answer(request)

    def _dressed(self, answer: Response | Awaitable[Response], security: Security) -> Response | Awaitable[Response]:
        if isinstance(answer, Response):
            return answer.with_headers(security.headers)
        return _dress_later(answer, security)

    # Passwords.

    def _check(
        self, passwords: Passwords, request: Request, route: _Route | None, security: Security
    ) -> Response | Awaitable[Response]:
        right = passwords.check(request.headers.get("authorization"))
        if right is None:
            return _dress_later(self._compute(passwords, request, route), security)
        return self._dressed(self._answer(request, route) if right else _unauthorized(), security)

    async def _compute(self, passwords: Passwords, request: Request, route: _Route | None) -> Response:
        """Answer a request whose password was not seen before."""
        try:
            right = await passwords.compute(request.headers.get("authorization"), request.client.share)
        except BusyError:
            return text(429, "too many password checks are waiting: try again later", ("Retry-After", "5"))
        answer = self._answer(request, route) if right else _unauthorized()
        return answer if isinstance(answer, Response) else await answer

    # The endpoints.

    def _metrics(self, request: Request) -> Response:
        if not self._source.ready():  # an empty page would end every series
            return text(503, "not ready yet: the first rendering is not done", ("Retry-After", "1"))
        leave = self._enter(request)
        if leave is None:
            return _FULL
        openmetrics, content_type = negotiation.format_for(request.headers.get("accept"))
        gzip = negotiation.wants_gzip(request.headers.get("accept-encoding"))
        try:
            tenants = _tenants(request.query)
        except ValueError:
            leave()
            return text(400, f"a query has at most {_MOST_PARAMETERS} parameters")
        try:
            body = self._source.scrape(openmetrics=openmetrics, gzip=gzip, tenants=tenants)
        except UnknownTenantError as error:
            leave()
            return text(404, str(error)[:300])
        except BaseException:
            leave()
            raise
        headers = (("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding"))
        return Response(200, (*headers, ("Content-Encoding", "gzip")) if gzip else headers, body, leave)

    def _enter(self, request: Request) -> Callable[[], None] | None:
        return self._places.enter(request.client.share, request.client.cut)

    def _healthy(self, _request: Request) -> Response:
        return text(200, "healthy: the process works")

    def _ready(self, _request: Request) -> Response:
        if self._source.ready():
            return text(200, "ready: the metrics can be scraped")
        return text(503, "not ready yet: configuration, storage or the first rendering is not done")

    async def _reload(self, request: Request) -> Response:
        if not self._lifecycle:
            return text(403, "reloading over HTTP is not enabled: start with --web.enable-lifecycle")
        if self._is_foreign(request):
            return text(403, "a page of another origin may not ask for a reload")
        try:
            ok, sentence = await self._reloader.do(self._source.reload)
        except BusyError:
            return text(429, "too many reloads are waiting", ("Retry-After", "5"))
        return text(200 if ok else 500, sentence)

    def _is_foreign(self, request: Request) -> bool:
        """Say whether a browser sent this for a page that is not this server's."""
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return True
        origin = request.headers.get("origin")
        return origin is not None and origin.partition("://")[2].lower() not in self._hosts(request)

    def _hosts(self, request: Request) -> tuple[str, ...]:
        external = urlsplit(self._external_url).netloc if self._external_url else ""
        return tuple(host.lower() for host in (request.headers.get("host", ""), external) if host)

    async def _page(self, request: Request) -> Response:
        from exporter.web import page  # noqa: PLC0415 - rarely opened

        view = page.View.parse(request.query)
        html = ("Content-Type", "text/html; charset=utf-8")
        return await self._read(
            request,
            lambda: page.render(self._source.status(view.tenant), view, self._telemetry),
            (html, *page.security_headers()),
        )

    async def _status(self, request: Request) -> Response:
        tenant = next(iter(_tenants(request.query)), None)
        kind = ("Content-Type", "application/json")
        return await self._read(
            request,
            lambda: self._source.status(tenant).as_json(),
            (kind, ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")),
        )

    async def _read(
        self, request: Request, write: Callable[[], bytes], headers: tuple[tuple[str, str], ...]
    ) -> Response:
        """Answer with what `write` writes, in a thread: at thousands of tenants it takes its time."""
        leave = self._enter(request)
        if leave is None:
            return _FULL
        wanted = negotiation.wants_gzip(request.headers.get("accept-encoding"))
        try:
            body, packed = await self._readers.do(lambda: _pack(write(), wanted=wanted))
        except BusyError:
            leave()
            return _FULL
        except UnknownTenantError as error:
            leave()
            return text(404, str(error)[:300])
        except BaseException:
            leave()
            raise
        encoding = (("Content-Encoding", "gzip"),) if packed else ()
        return Response(200, (*headers, ("Vary", "Accept-Encoding"), *encoding), (body,), leave)


async def _dress_later(answer: Awaitable[Response], security: Security) -> Response:
    return (await answer).with_headers(security.headers)


def _pack(body: bytes, *, wanted: bool) -> tuple[bytes, bool]:
    if not wanted or len(body) < _COMPRESS_FROM:
        return body, False
    import gzip  # noqa: PLC0415 - a scrape does without it

    return gzip.compress(body, compresslevel=1, mtime=0), True


def _tenants(query: str) -> tuple[str, ...]:
    """Return the tenants that a query names.

    Raises:
        ValueError: it has too many parameters.
    """
    if not query:
        return ()
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    return tuple(value for key, value in pairs if key == "tenant")


def _redirect(where: str) -> Response:
    return text(302, f"see {where}", ("Location", quote(where)))


def _unauthorized() -> Response:
    challenge = 'Basic realm="office365-activations-exporter", charset="UTF-8"'
    return text(401, "user and password are needed", ("WWW-Authenticate", challenge))
