"""The endpoints: from a request to its response, by path."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from exporter.exposition import UnknownTenantError
from exporter.web import negotiation
from exporter.web.http import FULL, Request, Response, text
from exporter.web.worker import BusyError, Worker

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from exporter.config import Web
    from exporter.status import Status
    from exporter.web.basic_auth import Passwords

_READ = ("GET", "HEAD")
_RELOAD = ("POST", "PUT")
_GZIP = 31
"""zlib's number for gzip with the largest window."""

_MOST_PARAMETERS = 250
"""Of a query: parsing more of them would hold up the event loop."""

_LONG_QUERY = text(400, f"a query has at most {_MOST_PARAMETERS} parameters")
_UNAUTHORIZED = text(
    401,
    "user name and password are required",
    {"WWW-Authenticate": 'Basic realm="office365-activations-exporter", charset="UTF-8"'},
)


class Source(Protocol):
    """What the endpoints show and do; a tenant that is not configured is an UnknownTenantError."""

    def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
        """Return the metrics of some tenants (all if empty), in pieces of one body; on the event loop, so be quick."""
        ...

    def ready(self) -> bool:
        """Return whether configuration, storage and the first rendering are done; runs on the event loop."""
        ...

    def status(self, tenant: str | None = None) -> Status:
        """Return the status of one tenant with its history, or of all; runs in a thread."""
        ...

    def reload(self) -> tuple[bool, str]:
        """Read the configuration again; return whether it is in force, and a sentence about it; runs in a thread."""
        ...


class _Route(NamedTuple):
    """An endpoint; an `open` one needs no password."""

    answer: Callable[[Request], Awaitable[Response]]
    methods: tuple[str, ...] = _READ
    open: bool = False


@dataclass(frozen=True, slots=True)
class Security:
    """How connections and requests are protected; by default not at all.

    Attributes:
        context: TLS for new connections; None for plain HTTP.
        allowed_sans: a client's certificate must have one of these names; None if any certificate will do.
        headers: set on every response.
        users: bcrypt hashes by user name; empty if no password is needed.
    """

    context: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)


class Site:
    """All endpoints; `security` is what connections and requests must comply with at present."""

    def __init__(self, source: Source, web: Web) -> None:
        self.security = Security()
        self._source = source
        self._lifecycle = web.enable_lifecycle
        self._external_host = urlsplit(web.external_url).netloc.lower() if web.external_url else ""
        self._telemetry = web.telemetry_path
        prefix = web.prefix
        self._metrics_at = quote(prefix) + web.telemetry_path
        self._readers = Worker("web-status", limit=8)
        self._reloader = Worker("web-reload", limit=4)
        self._passwords: Passwords | None = None
        self._routes = {
            f"{prefix}/": _Route(self._page),
            f"{prefix}/api/v1/status": _Route(self._status),
            f"{prefix}/-/healthy": _Route(self._healthy, open=True),
            f"{prefix}/-/ready": _Route(self._ready, open=True),
            f"{prefix}/-/reload": _Route(self._reload, _RELOAD),
            prefix + unquote(self._telemetry): _Route(self._metrics),
        }
        if prefix:
            # Relative, so that they also work behind a proxy that adds a prefix.
            self._routes[prefix] = _redirect(prefix.rpartition("/")[2] + "/")
            self._routes["/"] = _redirect(prefix[1:] + "/")

    def apply(self, security: Security) -> None:
        """Apply the web configuration from the next request on."""
        self.security = security
        if not security.users:
            return
        if self._passwords is None:
            from exporter.web.basic_auth import Passwords  # noqa: PLC0415 - bcrypt only where passwords are

            self._passwords = Passwords(security.users)
        else:
            self._passwords.use(security.users)

    def end(self) -> None:
        """End the threads, each after its current job."""
        self._readers.end()
        self._reloader.end()
        if self._passwords is not None:
            self._passwords.end()

    async def handle(self, request: Request, client: str) -> Response:
        """Return the response to a request; `client` is what its use is counted under."""
        route = self._routes.get(request.path)
        if self._passwords is not None and (route is None or not route.open):
            try:
                right = await self._passwords.check(request.headers.get("authorization"), client)
            except BusyError:
                return text(429, "too many password checks are waiting: try again later", {"Retry-After": "5"})
            if not right:
                return _UNAUTHORIZED
        return await self._answer(request, route)

    async def _answer(self, request: Request, route: _Route | None) -> Response:
        if route is None:
            return text(404, f"not found; the metrics are at {self._metrics_at}")
        if request.method not in route.methods:
            allowed = ", ".join(route.methods)
            return text(405, f"only {' and '.join(route.methods)} can be used here", {"Allow": allowed})
        if request.query.count("&") >= _MOST_PARAMETERS:
            return _LONG_QUERY
        try:
            return await route.answer(request)
        except UnknownTenantError as error:
            return text(404, str(error)[:300])

    async def _metrics(self, request: Request) -> Response:
        if not self._source.ready():  # an empty page would end every series
            return text(503, "not ready yet: the first rendering is not done", {"Retry-After": "1"})
        tenants = _tenants(request.query)
        openmetrics, content_type = negotiation.format_for(request.headers.get("accept"))
        gzip = negotiation.wants_gzip(request.headers.get("accept-encoding"))
        body = self._source.scrape(openmetrics=openmetrics, gzip=gzip, tenants=tenants)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        return Response(200, {**headers, "Content-Encoding": "gzip"} if gzip else headers, body, counted=True)

    async def _healthy(self, _request: Request) -> Response:
        return text(200, "healthy: the process works")

    async def _ready(self, _request: Request) -> Response:
        if self._source.ready():
            return text(200, "ready: the metrics can be scraped")
        return text(503, "not ready yet: configuration, storage or the first rendering is not done")

    async def _reload(self, request: Request) -> Response:
        if not self._lifecycle:
            return text(403, "reloading over HTTP is not enabled: start with --web.enable-lifecycle")
        if self._is_cross_origin(request):
            return text(403, "a page from another origin may not request a reload")
        try:
            ok, sentence = await self._reloader.do(self._source.reload)
        except BusyError:
            return text(429, "too many reloads are waiting", {"Retry-After": "5"})
        return text(200 if ok else 500, sentence)

    def _is_cross_origin(self, request: Request) -> bool:
        """Return whether a browser sent this for another site's page."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:  # the browser's own judgement, which no proxy's Host can mislead
            return site not in ("none", "same-origin")
        origin = request.headers.get("origin")
        if origin is None:
            return False
        host = origin.partition("://")[2].lower()
        return not host or host not in (request.headers.get("host", "").lower(), self._external_host)

    async def _page(self, request: Request) -> Response:
        from exporter.web import page  # noqa: PLC0415 - rarely opened

        view = page.View.parse(request.query)
        return await self._write(
            request, page.headers(), lambda: page.render(self._source.status(view.tenant), view, self._telemetry)
        )

    async def _status(self, request: Request) -> Response:
        tenant = next(iter(_tenants(request.query)), None)
        headers = {
            "Content-Type": "application/json",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        return await self._write(request, headers, lambda: self._source.status(tenant).as_json())

    async def _write(self, request: Request, headers: Mapping[str, str], write: Callable[[], bytes]) -> Response:
        """Return what `write` writes in a thread, since with thousands of tenants it takes a while."""
        gzip = negotiation.wants_gzip(request.headers.get("accept-encoding"))
        try:
            body = await self._readers.do(lambda: zlib.compress(write(), 1, wbits=_GZIP) if gzip else write())
        except BusyError:
            return FULL
        headers = {**headers, "Vary": "Accept-Encoding"}
        return Response(200, {**headers, "Content-Encoding": "gzip"} if gzip else headers, (body,), counted=True)


def _tenants(query: str) -> tuple[str, ...]:
    """Return the tenants that a query names."""
    pairs = parse_qsl(query, keep_blank_values=True) if query else ()  # a scrape has none, and parsing takes 5 µs
    return tuple(value for key, value in pairs if key == "tenant")


def _redirect(where: str) -> _Route:
    response = text(302, f"see {where}", {"Location": quote(where)})

    async def answer(_request: Request) -> Response:
        return response

    return _Route(answer)
