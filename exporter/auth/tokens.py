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

from exporter.auth.application import Addresses, MsalHttp
from exporter.auth.credentials import Credential
from exporter.auth.refusals import refusal
from exporter.errors import CredentialsError, ExporterError, ServerError
from exporter.http import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporter.auth.credentials import Credentials
    from exporter.auth.device import SignIns
    from exporter.http import Clients
    from exporter.tenants import Tenant

_EARLY = 300.0
"""A token is renewed this many seconds before it ends."""

_SIGN_IN = 1800.0
"""The longest a sign-in by device code may take, seconds; the code itself ends sooner."""


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
        self._addresses = Addresses(clock)
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
        token = self._acquire(
            tenant, credential, MsalHttp(self._addresses, tenant, self._clients, deadline), fresh=fresh
        )
        with self._lock:
            # A rotated credential leaves its old token behind: one tenant, one token.
            for old in [old for old in self._tokens if old[:-1] == key[:-1]] if held is None else ():
                del self._tokens[old]
            self._tokens[key] = token
        return token

    def sign_in(
        self,
        tenant: Tenant,
        *,
        show: Callable[[str, str, float], None],
        wait: Callable[[float], None],
    ) -> Token:
        """Have a person sign in for a tenant of `device_code`, and keep the sign-in.

        Args:
            tenant: whose.
            show: shown the address, the code and the moment it ends (Unix seconds), once.
            wait: called between two looks with the seconds that are left; waits.

        Raises:
            CredentialsError: the login host refused, the person declined, or the code ended unused.
            ConfigError: the sign-in cannot be kept.
        """
        http = MsalHttp(self._addresses, tenant, self._clients, Deadline(_SIGN_IN))
        result = self._sign_ins(tenant).sign_in(
            tenant, http.application_arguments(), show=show, wait=wait, clock=self._clock
        )
        return self._token(tenant, result)

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

    def _acquire(self, tenant: Tenant, credential: Credential, http: MsalHttp, *, fresh: bool) -> Token:
        try:
            match tenant.auth.kind:
                case "managed_identity":
                    return self._token(tenant, _managed_identity(tenant, http))
                case "device_code":
                    return self._token(
                        tenant, self._sign_ins(tenant).acquire(tenant, http.application_arguments(), fresh=fresh)
                    )
            application = msal.ConfidentialClientApplication(
                tenant.client_id, client_credential=credential.value, **http.application_arguments()
            )
            return self._token(tenant, application.acquire_token_for_client([f"{tenant.cloud.graph}/.default"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # MSAL reads answers without checking them: a page of HTML, a document without its addresses.
            raise ServerError(f"{tenant.name}: the login host's answer is not what OAuth prescribes") from None

    def _sign_ins(self, tenant: Tenant) -> SignIns:
        if self._folder is None:
            raise CredentialsError(
                f"{tenant.name}: auth.device_code needs a place to keep the sign-in",
                hint=f"set storage.path, then run: office365-activations-exporter login {tenant.name}",
            )
        from exporter.auth.device import SignIns  # noqa: PLC0415 - few tenants need msal-extensions

        return SignIns(self._folder)

    def _token(self, tenant: Tenant, result: Mapping[str, Any]) -> Token:
        value = result.get("access_token")
        if isinstance(value, str) and value.isascii() and value.isprintable():
            lifetime = result.get("expires_in", 3600)
            return Token(value, self._clock() + (float(lifetime) if isinstance(lifetime, int | float) else 3600.0))
        raise refusal(tenant, result)


def _key(tenant: Tenant, credential: Credential) -> tuple[str, ...]:
    cloud = tenant.cloud
    return (cloud.authority, cloud.graph, tenant.tenant_id, tenant.client_id, credential.fingerprint)


def _managed_identity(tenant: Tenant, http: MsalHttp) -> Mapping[str, Any]:
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
