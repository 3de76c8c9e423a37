"""The HTTP client that MSAL gets: the exporter's own clients, under the poll's deadline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.auth.aadsts import is_refusal, refusal
from exporter.errors import ServerError, ThrottledError
from exporter.http import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.config import Tenant
    from exporter.http import Answer, Clients, Deadline

_LIFE = 86400.0
_OK, _BAD_REQUEST, _TOO_MANY, _SERVER = 200, 400, 429, 500
_NEEDED = ("authorization_endpoint", "token_endpoint")
_CACHED = ("issuer", *_NEEDED, "device_authorization_endpoint")
IN_BETWEEN = "if it persists, check whether a proxy or gateway answers in Microsoft's place"


class Addresses:
    """Caches for a day the endpoints of the tenants' discovery documents: one request less for each poll.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._cached: dict[str, tuple[float, str]] = {}

    def put(self, url: str, document: str) -> None:
        """Cache the discovery document at `url`."""
        self._cached[url] = (self.clock() + _LIFE, document)

    def get(self, url: str) -> str:
        """Return the cached document; empty where there is none or it is too old."""
        until, document = self._cached.get(url, (0.0, ""))
        return document if until > self.clock() else ""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as MSAL reads it."""

    status_code: int
    text: str
    headers: Mapping[str, str]


class LoginHttp:
    """The HTTP client that MSAL is given for one acquisition.

    A throttled or failing host, and answers that are not JSON, never reach MSAL: they are raised here as errors of
    `exporter.errors`.

    Args:
        addresses: where discovery documents are cached.
        tenant: whose token is requested.
        clients: send the requests.
        deadline: gives each request its deadline.
    """

    def __init__(
        self, addresses: Addresses, tenant: Tenant, clients: Clients, deadline: Callable[[], Deadline]
    ) -> None:
        self._addresses = addresses
        self._tenant = tenant
        self._clients = clients
        self._deadline = deadline

    def application_arguments(self) -> dict[str, Any]:
        """Return what every MSAL application is made with: no calls but those for this tenant, no cached refusals."""
        return {
            "authority": f"{self._tenant.cloud.authority}/{self._tenant.tenant_id}",
            "instance_discovery": False,
            "http_client": self,
            "http_cache": {},
        }

    def post(self, url: str, *, data: Any, params: Any = None, headers: Any = None, **_: Any) -> Response:
        """Call the token endpoint, or the one for device codes.

        Raises:
            ThrottledError, ServerError, CredentialsError, TenantError: what the answer means, where it is not a
                JSON object, or not one that MSAL can use.
            NetworkError: there was none.
        """
        # MSAL's assertions are bytes, which httpx would write as Python does.
        form = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in data.items()
            if value is not None
        }
        answer = self._clients.request(
            "POST", url, endpoint="token", deadline=self._deadline(), headers=headers, data=form, params=params
        )
        self._object(answer)
        return Response(answer.status, answer.text, dict(answer.headers))

    def get(self, url: str, *, headers: Any = None, **_: Any) -> Response:
        """Return the tenant's discovery document, from the cache first; raises as `post`."""
        if cached := self._addresses.get(url):
            return Response(_OK, cached, {})
        answer = self._clients.request("GET", url, endpoint="token", deadline=self._deadline(), headers=headers)
        document = self._object(answer)
        if answer.status >= _BAD_REQUEST:
            raise refusal(self._tenant, document, answer.status)
        if not all(str(document.get(name)).startswith("https://") for name in _NEEDED):
            raise self._strange("a discovery document without its endpoints")
        addresses = json.dumps({name: document[name] for name in _CACHED if name in document})
        self._addresses.put(url, addresses)
        return Response(_OK, addresses, {})

    def _object(self, answer: Answer) -> Mapping[str, Any]:
        """Return the JSON object that the login host answered."""
        raise_passing(answer, f"{self._tenant.name}: the login host", self._addresses.clock())
        try:
            document = json.loads(answer.text)
        except (ValueError, RecursionError):
            document = None
        document = document if isinstance(document, dict) else None
        if answer.status >= _BAD_REQUEST and not is_refusal(document or {}):
            raise refusal(self._tenant, {}, answer.status)
        if document is None:
            raise self._strange(f"{answer.status} with something that is not a JSON object")
        return document

    def _strange(self, what: str) -> ServerError:
        return ServerError(f"{self._tenant.name}: the login host answered {what}", hint=IN_BETWEEN)


def raise_passing(answer: Answer, who: str, now: float) -> None:
    """Raise for an answer that says nothing about the credential: throttled, or an error of the host.

    Args:
        answer: of the login host or of a managed identity's endpoint.
        who: begins the message.
        now: Unix seconds.

    Raises:
        ThrottledError: 429.
        ServerError: 5xx.
    """
    if answer.status == _TOO_MANY:
        wait = retry_after(answer.headers, now)
        raise ThrottledError(f"{who} answered 429; wait {wait:.0f} s", retry_after=wait)
    if answer.status >= _SERVER:
        raise ServerError(f"{who} answered {answer.status}")
