"""One authorised GET of a report: from a token to raw bytes, redirects and pages followed by hand.

Source of the rules: https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from exporter.errors import (
    CredentialsError,
    DownloadError,
    ExporterError,
    PermissionMissingError,
    RedirectError,
    ReportError,
    ServerError,
    TenantError,
    ThrottledError,
    UnsupportedError,
)
from exporter.files import MIB
from exporter.http import MAX_BODY, retry_after
from exporter.log import quotable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from exporter.config import Tenant
    from exporter.http import Answer, Clients, Deadline

_MAX_REDIRECTS = 3
_MAX_PAGES = 20
_MAX_OBJECTS = 10_000  # a row is one; of those that nobody needs, 2 MiB would take fifty times as much once parsed
_MAX_WRAPPINGS = 5
_HTTPS = 443
_OK, _BAD, _SERVER = 200, 400, 500
_PASSING = "MissingCredentials"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UnauthorizedError(CredentialsError):
    """Graph's 401: worth one new token."""


@dataclass(frozen=True, slots=True)
class RawReport:
    """A report as it came: one CSV file or JSON's pages, Graph's `request-id`, and `measured` as in `Answer`."""

    pages: tuple[bytes, ...]
    request_id: str
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Graph:
    """A tenant's Graph during one poll.

    Attributes:
        tenant: its `report` says which API version and format.
        clients: what the requests go through.
        deadline: when the poll must be over.
        clock: Unix seconds.
        spend: called before each call of Graph, pages included; what it raises ends the reading.
        parsing: held while JSON is parsed, which can take a dozen times its size.
    """

    tenant: Tenant
    clients: Clients
    deadline: Deadline
    clock: Callable[[], float]
    spend: Callable[[], None]
    parsing: AbstractContextManager[object]

    def read(self, function: str, token: str) -> RawReport:
        """Read a report, once.

        Args:
            function: the last part of the report's path, as in `getOffice365ActivationsUserCounts`.
            token: the bearer token; it goes to Graph and nowhere else.

        Raises:
            UnauthorizedError, PermissionMissingError, TenantError, UnsupportedError, ServerError: Graph refused.
            ThrottledError: 429 of Graph or of the download.
            DownloadError: 4xx of the download.
            RedirectError: a Location that may not be followed.
            NetworkError, ReportError: as `Clients.request`; pages that do not end or are too large.
        """
        url = f"{self.tenant.cloud.graph}/{self.tenant.api_version}/reports/{function}"
        if self.tenant.report.format == "json":
            url += "?$format=application/json"
        pages: list[bytes] = []
        seen: set[str] = set()
        first_id = request_id = ""
        try:
            while True:
                if url in seen or len(pages) == _MAX_PAGES:
                    raise ReportError("the report's pages do not end")
                seen.add(url)
                answer = self._call(url, token)
                request_id = answer.request_id
                first_id = first_id or request_id
                if answer.status_code in _REDIRECTS:
                    # Not documented for JSON; what it leads to is held to the same rules.
                    answer = self._download(answer)
                pages.append(answer.body)
                if sum(map(len, pages)) > MAX_BODY:
                    raise ReportError(f"the report's pages are larger than {MAX_BODY // MIB} MiB")
                url = self._next_page(answer.body) if self.tenant.report.format == "json" else ""
                if not url:
                    return RawReport(tuple(pages), first_id, answer.measured)
        except ExporterError as error:
            error.request_id = error.request_id or request_id
            raise

    def _call(self, url: str, token: str) -> Answer:
        self.spend()
        headers = {"Authorization": f"Bearer {token}", "client-request-id": str(uuid.uuid4())}
        answer = self.clients.request("GET", url, endpoint="graph", deadline=self.deadline, headers=headers)
        if answer.status_code != _OK and answer.status_code not in _REDIRECTS:
            raise _refusal(answer, self.clock())
        return answer

    def _download(self, answer: Answer) -> Answer:
        """Follow a Location by hand: no Authorization, no cookies, allowed hosts only, no connection kept."""
        url = ""
        headers = {"Connection": "close"}
        for _ in range(_MAX_REDIRECTS):
            url = _allowed(url, answer.headers.get("location", ""), self.tenant.download_hosts)
            answer = self.clients.request("GET", url, endpoint="download", deadline=self.deadline, headers=headers)
            if answer.status_code not in _REDIRECTS:
                break
        text = f"the download host answered {answer.status_code}"
        match answer.status_code:
            case 200:
                return answer
            case status if status in _REDIRECTS:
                raise RedirectError("the download redirects in a loop")
            case 429:
                raise ThrottledError(text, retry_after=retry_after(answer.headers, self.clock()))
            case status if _BAD <= status < _SERVER:
                raise DownloadError(text)
        raise ServerError(text)

    def _next_page(self, page: bytes) -> str:
        """Return the next page's address; empty after the last page, and where the page cannot be read."""
        if page.count(b"{") + page.count(b"[") > _MAX_OBJECTS:
            raise ReportError(f"a page of the report has more than {_MAX_OBJECTS} objects")
        with self.parsing:
            link = _next_link(page)
        if not link:
            return ""
        if not isinstance(link, str) or not link.startswith(self.tenant.cloud.graph + "/"):
            raise RedirectError("the report's next page is not on the tenant's Graph host")
        return link


def _next_link(body: bytes) -> object:
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        return None  # the parser says what is wrong with it
    return page.get("@odata.nextLink") if isinstance(page, dict) else None


def _allowed(base: str, location: str, hosts: tuple[str, ...]) -> str:
    """Return where `location` leads from the download address `base`, if the rules allow to follow it.

    Raises:
        RedirectError: it is not https, not an allowed host, a private address not listed exactly, or unreadable.
    """

    def no(why: str, hint: str = "") -> RedirectError:
        return RedirectError(f"Graph's redirect is not followed: {why}", hint=hint)

    try:
        parts = urlsplit(urljoin(base, location))
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port or _HTTPS
    except ValueError:
        raise no("its Location cannot be read") from None
    if parts.scheme != "https" or not host or not host.isascii() or not location.isprintable():
        raise no("its Location is not an https address")
    if parts.username is not None or parts.password is not None:
        raise no("its Location contains a user name")
    entry = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    suffixes = tuple(one for one in hosts if one.startswith("."))
    # A suffix means names. An address, which is listed with its port, has colons or ends with a number, be it hex.
    is_address = ":" in host or host.rpartition(".")[2][:1].isdigit()
    named = port == _HTTPS and host.endswith(suffixes) and not is_address
    if entry not in hosts and not named:
        raise no(
            f"host {entry} is not among http.download_hosts ({', '.join(hosts) or 'none'})",
            f"if the host is Microsoft's (or yours), add the line  - {entry}  under http.download_hosts",
        )
    return SplitResult("https", parts.netloc, parts.path, parts.query, "").geturl()


def _refusal(answer: Answer, now: float) -> ExporterError:
    """Return the error for an answer of Graph that is neither a report nor a redirect; the status decides."""
    code, message = _unwrapped(answer.body)
    said = quotable(": ".join(filter(None, (code, message))) or "without giving a reason", 300)
    text = f"Graph answered {answer.status_code}, {said}"
    kind: type[ExporterError]
    hint = ""
    match answer.status_code:
        case 429:
            wait = retry_after(answer.headers, now)
            return ThrottledError(f"{text}; wait {wait:.0f} s", retry_after=wait, request_id=answer.request_id)
        case 401:
            kind = UnauthorizedError
        case 403 if code != _PASSING:
            kind = PermissionMissingError
        case 404 if code == "UnknownTenantId":
            kind = TenantError
        case 400 if "Resource not found for the segment" in message:
            kind = UnsupportedError
        case 400 if "JSON format is not supported" in message:
            kind, hint = UnsupportedError, "set report.api_version: beta, or report.format: csv"
        case _:
            # MissingCredentials is a passing error of Microsoft's own; any other answer below 500 will come again.
            return ServerError(
                text, transient=answer.status_code >= _SERVER or code == _PASSING, request_id=answer.request_id
            )
    return kind(text, hint=hint, request_id=answer.request_id)


def _unwrapped(body: bytes) -> tuple[str, str]:
    """Return code and message of Graph's error; where the message is such an error again, the inner one's."""
    code, message = "", body[:10_000].decode("utf-8", "replace")
    for _ in range(_MAX_WRAPPINGS):
        try:
            document = json.loads(message)
        except (ValueError, RecursionError):
            break
        error = document.get("error") if isinstance(document, dict) else None
        if not isinstance(error, dict):
            break
        code, message = str(error.get("code") or code), str(error.get("message") or "")
    if message.lstrip().startswith("<"):
        message = "a page of HTML or XML"
    return code[:100], message
