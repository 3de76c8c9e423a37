"""Tokens by MSAL: one short-lived MSAL application for each acquisition.

An application that lives for one acquisition keeps nothing that could be stale: no cached refusal (MSAL holds a 400
for 60 s), no token without the roles granted since. What is worth keeping, the token and the addresses of the token
endpoint, is kept here, in a fraction of the memory.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msal

from exporter.auth.credentials import Credential
from exporter.auth.refusals import refusal
from exporter.errors import CredentialsError, ExporterError, ServerError, ThrottledError
from exporter.http import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporter.auth.credentials import Credentials
    from exporter.http import Answer, Clients, Deadline
    from exporter.tenants import Tenant

_EARLY = 300.0
"""A token is renewed this many seconds before it ends."""

_DISCOVERY_LIFE = 86400.0
"""How long the addresses of a tenant's token endpoint are kept, seconds."""

_BAD_REQUEST, _TOO_MANY, _SERVER = 400, 429, 500


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and what it says of itself. The signature is Graph's to check: these claims are hints.

    Attributes:
        value: the secret itself.
        expires_at: Unix seconds.
    """

    value: str
    expires_at: float

    def __repr__(self) -> str:
        return "Token(…)"

    @property
    def claims(self) -> Mapping[str, Any]:
        """The payload of the JSON web token; empty where it cannot be read."""
        try:
            payload = self.value.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (IndexError, ValueError, binascii.Error):
            return {}
        return claims if isinstance(claims, dict) else {}

    @property
    def permissions(self) -> tuple[str, ...] | None:
        """Application roles or delegated scopes; None where the token cannot be read."""
        claims = self.claims
        if not claims:
            return None
        roles = claims.get("roles")
        scopes = claims.get("scp")
        granted = [str(role) for role in roles] if isinstance(roles, list) else []
        return tuple(granted + (scopes.split() if isinstance(scopes, str) else []))


class TokenSource:
    """Gives tokens, cached for each tenant and credential until they are about to end.

    Args:
        clients: what the requests go through.
        credentials: reads secrets and certificates.
        clock: Unix seconds.
        folder: where the sign-ins of delegated tenants (`device_code`) are kept; None where there is no storage.
    """

    def __init__(
        self,
        clients: Clients,
        credentials: Credentials,
        *,
        clock: Callable[[], float],
        folder: Path | None = None,
    ) -> None:
        self._clients = clients
        self._credentials = credentials
        self._clock = clock
        self._folder = folder
        self._tokens: dict[tuple[str, ...], Token] = {}
        self._addresses: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def token(self, tenant: Tenant, deadline: Deadline, *, fresh: bool = False) -> Token:
        """Return a token for the tenant's Graph.

        Args:
            tenant: whose.
            deadline: when the poll must be over.
            fresh: take none from the cache: after Graph's 401, and after a refusal that people mend.

        Raises:
            ConfigError: a credential's file cannot be used.
            CredentialsError: Microsoft's login refused the credential.
            TenantError: there is no such tenant.
            ThrottledError: 429 of the token endpoint.
            ServerError: 5xx of the token endpoint, or an answer that is no token.
            NetworkError: the token endpoint cannot be reached.
        """
        credential = self._credential(tenant)
        key = _key(tenant, credential)
        held = self._tokens.get(key)
        if held is not None and not fresh and held.expires_at - _EARLY > self._clock():
            return held
        token = self._acquire(tenant, credential, _MsalHttp(self, tenant, self._clients, deadline), fresh=fresh)
        with self._lock:
            # A rotated credential leaves its old token behind: one tenant, one token.
            for old in [old for old in self._tokens if old[:-1] == key[:-1]] if held is None else ():
                del self._tokens[old]
            self._tokens[key] = token
        return token

    def held(self, tenant: Tenant) -> Token | None:
        """Return the tenant's token if one was given, without asking for another."""
        try:
            return self._tokens.get(_key(tenant, self._credential(tenant)))
        except ExporterError:
            return None

    def _credential(self, tenant: Tenant) -> Credential:
        if tenant.auth.kind in {"managed_identity", "device_code"}:
            return Credential(None, tenant.auth.kind)
        return self._credentials.load(tenant)

    def _acquire(self, tenant: Tenant, credential: Credential, http: _MsalHttp, *, fresh: bool) -> Token:
        try:
            match tenant.auth.kind:
                case "managed_identity":
                    return self._token(tenant, _managed_identity(tenant, http))
                case "device_code":
                    return self._token(tenant, self._delegated(tenant, http, fresh=fresh))
            application = msal.ConfidentialClientApplication(
                tenant.client_id, client_credential=credential.value, **http.application_arguments()
            )
            return self._token(tenant, application.acquire_token_for_client([f"{tenant.cloud.graph}/.default"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # MSAL reads answers without checking them: a page of HTML, a document without its addresses.
            raise ServerError(f"{tenant.name}: the login host's answer is not what OAuth prescribes") from None

    def _delegated(self, tenant: Tenant, http: _MsalHttp, *, fresh: bool) -> Mapping[str, Any]:
        if self._folder is None:
            raise CredentialsError(
                f"{tenant.name}: auth.device_code needs a place to keep the sign-in",
                hint=f"set storage.path, then run: office365-activations-exporter login {tenant.name}",
            )
        from exporter.auth.device import SignIns  # noqa: PLC0415 - few tenants need msal-extensions

        return SignIns(self._folder).acquire(tenant, http.application_arguments(), fresh=fresh)

    def _token(self, tenant: Tenant, result: Mapping[str, Any]) -> Token:
        value = result.get("access_token")
        if isinstance(value, str) and value.isascii() and value.isprintable():
            lifetime = result.get("expires_in", 3600)
            return Token(value, self._clock() + (float(lifetime) if isinstance(lifetime, int | float) else 3600.0))
        raise refusal(tenant, result)

    def now(self) -> float:
        """Return the time, Unix seconds."""
        return self._clock()

    def remember_addresses(self, url: str, body: str) -> None:
        """Keep what a tenant's discovery document says of its endpoints, for a day."""
        self._addresses[url] = (self._clock() + _DISCOVERY_LIFE, body)

    def addresses(self, url: str) -> str:
        """Return the kept discovery document at `url`; empty where there is none or it is old."""
        until, body = self._addresses.get(url, (0.0, ""))
        return body if until > self._clock() else ""


def _key(tenant: Tenant, credential: Credential) -> tuple[str, ...]:
    cloud = tenant.cloud
    return (cloud.authority, cloud.graph, tenant.tenant_id, tenant.client_id, credential.fingerprint)


def _managed_identity(tenant: Tenant, http: _MsalHttp) -> Mapping[str, Any]:
    chosen = tenant.auth.managed_identity
    client_id = chosen.client_id if chosen else None
    identity = (
        msal.UserAssignedManagedIdentity(client_id=client_id) if client_id else msal.SystemAssignedManagedIdentity()
    )
    client = msal.ManagedIdentityClient(identity, http_client=http, http_cache={})
    try:
        result: Mapping[str, Any] = client.acquire_token_for_client(resource=tenant.cloud.graph)
    except msal.ManagedIdentityError as error:
        raise CredentialsError(
            f"{tenant.name}: the managed identity gave no token: {error}",
            hint="check that this machine or app has the identity, and auth.managed_identity.client_id",
        ) from None
    return result


@dataclass(frozen=True, slots=True)
class _Response:
    """An answer in the shape MSAL reads."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Raise for what `_MsalHttp` has not raised for already."""
        if self.status_code >= _BAD_REQUEST:
            raise ServerError(f"the login host answered {self.status_code}")


class _MsalHttp:
    """The HTTP client that MSAL is given for one acquisition: our clients, under the poll's deadline."""

    def __init__(self, source: TokenSource, tenant: Tenant, clients: Clients, deadline: Deadline) -> None:
        self._source = source
        self._tenant = tenant
        self._clients = clients
        self._deadline = deadline

    def application_arguments(self) -> dict[str, Any]:
        return {
            "authority": f"{self._tenant.cloud.authority}/{self._tenant.tenant_id}",
            "instance_discovery": False,
            "http_client": self,
            "http_cache": {},
        }

    def post(self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> _Response:
        return self._judged(self._send("POST", url, params, data, headers))

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> _Response:
        if "openid-configuration" not in url:
            return self._judged(self._send("GET", url, params, None, headers, direct=True))
        if body := self._source.addresses(url):
            return _Response(200, body, {})
        response = self._judged(self._send("GET", url, params, None, headers))
        if response.status_code >= _BAD_REQUEST:
            raise refusal(self._tenant, _json(response.text))
        kept = ("issuer", "authorization_endpoint", "token_endpoint", "device_authorization_endpoint")
        document = _json(response.text)
        addresses = json.dumps({name: document[name] for name in kept if name in document})
        self._source.remember_addresses(url, addresses)
        return _Response(200, addresses, {})

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

    def _judged(self, answer: Answer) -> _Response:
        name = self._tenant.name
        if answer.status == _TOO_MANY:
            raise ThrottledError(
                f"{name}: the login host answered 429",
                retry_after=retry_after(answer.headers, self._source.now()),
            )
        if answer.status >= _SERVER:
            raise ServerError(f"{name}: the login host answered {answer.status}")
        return _Response(answer.status, answer.text, dict(answer.headers))


def _json(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
