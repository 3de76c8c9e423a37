"""What MSAL is given for one acquisition: an HTTP client under the poll's deadline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.auth.refusals import refusal
from exporter.errors import ServerError, ThrottledError
from exporter.http import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.http import Answer, Clients, Deadline
    from exporter.tenants import Tenant

_LIFE = 86400.0
_BAD_REQUEST, _TOO_MANY, _SERVER = 400, 429, 500


class Addresses:
    """Keeps for a day what the tenants' discovery documents say of their endpoints: one request less for each poll.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._kept: dict[str, tuple[float, str]] = {}

    def keep(self, url: str, document: str) -> None:
        """Keep the discovery document at `url`."""
        self._kept[url] = (self.clock() + _LIFE, document)

    def get(self, url: str) -> str:
        """Return the kept document; empty where there is none or it is old."""
        until, document = self._kept.get(url, (0.0, ""))
        return document if until > self.clock() else ""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer in the shape MSAL reads."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Raise for what `MsalHttp` has not raised for already."""
        if self.status_code >= _BAD_REQUEST:
            raise ServerError(f"the login host answered {self.status_code}")


class MsalHttp:
    """The HTTP client that MSAL is given for one acquisition: our clients, under the poll's deadline."""

    def __init__(self, addresses: Addresses, tenant: Tenant, clients: Clients, deadline: Deadline) -> None:
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

    def post(self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> Response:
        """Ask the token endpoint."""
        return self._judged(self._send("POST", url, params, data, headers))

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> Response:
        """Ask for a discovery document, kept ones first, or a managed identity's endpoint."""
        if "openid-configuration" not in url:
            return self._judged(self._send("GET", url, params, None, headers, direct=True))
        if body := self._addresses.get(url):
            return Response(200, body, {})
        response = self._judged(self._send("GET", url, params, None, headers))
        if response.status_code >= _BAD_REQUEST:
            raise refusal(self._tenant, _json(response.text))
        kept = ("issuer", "authorization_endpoint", "token_endpoint", "device_authorization_endpoint")
        document = _json(response.text)
        addresses = json.dumps({name: document[name] for name in kept if name in document})
        self._addresses.keep(url, addresses)
        return Response(200, addresses, {})

    def close(self) -> None:
        """Do nothing: the clients outlive the acquisition."""

    def _send(self, method: str, url: str, params: Any, data: Any, headers: Any, *, direct: bool = False) -> Answer:
        return self._clients.request(
            method,
            url,
            endpoint="token",
            deadline=self._deadline,
            headers=headers,
            data=data,
            params=params,
            direct=direct,
        )

    def _judged(self, answer: Answer) -> Response:
        name = self._tenant.name
        if answer.status == _TOO_MANY:
            raise ThrottledError(
                f"{name}: the login host answered 429",
                retry_after=retry_after(answer.headers, self._addresses.clock()),
            )
        if answer.status >= _SERVER:
            raise ServerError(f"{name}: the login host answered {answer.status}")
        return Response(answer.status, answer.text, dict(answer.headers))


def _json(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
