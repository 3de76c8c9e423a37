"""Tokens by MSAL: one short-lived MSAL application for each acquisition.

An application that lives for one acquisition has nothing stale: no cached refusal (MSAL caches a 400 for 60 s), no
token without the roles granted since. The token and the addresses of the token endpoint are cached here, in a fraction
of the memory.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msal

from exporter.auth import identity
from exporter.auth.aadsts import hint_for, is_refusal, refusal
from exporter.auth.msal_http import IN_BETWEEN, Addresses, LoginHttp
from exporter.auth.permissions import Token, account_error, advice, is_personal
from exporter.errors import ConfigError, CredentialsError, ServerError
from exporter.http import Deadline
from exporter.log import get_logger, quotable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from exporter.auth.credentials import Credential, Credentials
    from exporter.auth.device import Code, SignIns
    from exporter.config import Tenant
    from exporter.http import Clients

log = get_logger(__name__)

_VISIBLE = re.compile(r"[!-~]+")

_RENEW_BEFORE = 300.0
"""A token is renewed this many seconds before it ends."""

_LIFETIME = 3600.0
"""Seconds that a token without a lifetime is taken to be valid."""

_LONGEST_LIFETIME = 86400.0
"""A token with a longer lifetime is renewed after this many seconds."""


class TokenSource:
    """Returns tokens, cached for each tenant and credential until shortly before they expire.

    Args:
        clients: send the requests.
        credentials: reads secrets and certificates.
        clock: Unix seconds.
        folder: where the sign-ins of delegated tenants (`device_code`) are stored; None without storage.
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
        self._addresses = Addresses(clock)
        # For each tenant the last token, and the fingerprint of the credential that it was given for.
        self._held: dict[tuple[str, ...], tuple[str, Token]] = {}

    def token(self, tenant: Tenant, deadline: Deadline, *, fresh: bool = False) -> Token:
        """Return a token for the tenant's Graph.

        Args:
            tenant: whose.
            deadline: when the poll must be over.
            fresh: take none from the cache: after Graph's 401, and after a failure that needs an operator.

        Raises:
            ConfigError: a credential's file cannot be used.
            CredentialsError: Microsoft's login refused the credential.
            TenantError: there is no such tenant.
            ThrottledError: 429 of the token endpoint.
            ServerError: 5xx of the token endpoint, or an answer that is not a token.
            NetworkError: the token endpoint cannot be reached.
        """
        key = _key(tenant)
        fingerprint, held = self._held.get(key, ("", None))
        if fresh or (held is not None and held.expires_at - _RENEW_BEFORE <= self._clock()):
            held = None
        try:
            credential = self._credentials.load(tenant)
        except ConfigError as error:
            if held is None:
                raise
            # The file may be in the middle of a replacement: the last token is as valid as before.
            log.warning("a credential cannot be read; its last token is used until it expires", error=str(error))
            return held
        if held is not None and fingerprint == credential.fingerprint:
            return held
        token = self._acquire(tenant, credential, deadline, fresh=fresh)
        self._held[key] = (credential.fingerprint, token)
        return token

    def held(self, tenant: Tenant) -> Token | None:
        """Return the tenant's last token, if there is one, without requesting another."""
        return self._held.get(_key(tenant), ("", None))[1]

    def advice(self, tenant: Tenant, permission: str) -> str:
        """Return why Graph refused the tenant's last token, as far as it shows, and the fix; empty if nothing.

        Args:
            tenant: whose token it was.
            permission: what the report needs.
        """
        return advice(tenant, permission, self.held(tenant))

    def sign_in(
        self,
        tenant: Tenant,
        *,
        show: Callable[[Code], None],
        wait: Callable[[float, float], None],
    ) -> tuple[Token, str]:
        """Let a person sign in for a tenant of `device_code`, and store the sign-in.

        Args:
            tenant: whose.
            show: shown the code, once.
            wait: called between two checks with the seconds to wait and the seconds that are left; waits.

        Returns:
            The token, and how the sign-in is protected.

        Raises:
            CredentialsError: the login host refused, the person declined, the code expired unused, or the account is a
                personal one, whose sign-in is not stored.
            ConfigError: the sign-in cannot be stored.
            ExporterError: as `token`.
        """
        sign_ins = self._sign_ins(tenant)
        # A person takes longer than a poll: each request has a deadline of its own.
        http = LoginHttp(self._addresses, tenant, self._clients, lambda: Deadline(tenant.poll.timeout))
        with _unexpected_answers(tenant):
            signed_in = sign_ins.sign_in(tenant, http.application_arguments(), show=show, wait=wait, clock=self._clock)
        token = self._token(tenant, signed_in.answer)
        if is_personal(token.claims) and (error := account_error(tenant, token.claims)):
            raise error
        return token, sign_ins.store(tenant, signed_in)

    def _acquire(self, tenant: Tenant, credential: Credential, deadline: Deadline, *, fresh: bool) -> Token:
        http = LoginHttp(self._addresses, tenant, self._clients, lambda: deadline)
        with _unexpected_answers(tenant):
            match tenant.auth.kind:
                case "managed_identity":
                    endpoint = identity.IdentityHttp(tenant, self._clients, deadline, self._clock)
                    answer = identity.acquire(tenant, endpoint)
                case "device_code":
                    answer = self._sign_ins(tenant).acquire(tenant, http.application_arguments(), fresh=fresh)
                case _:
                    application = msal.ConfidentialClientApplication(
                        tenant.client_id, client_credential=credential.value, **http.application_arguments()
                    )
                    answer = application.acquire_token_for_client([f"{tenant.cloud.graph}/.default"])
            return self._token(tenant, answer)

    def _sign_ins(self, tenant: Tenant) -> SignIns:
        if self._folder is None:
            raise CredentialsError(
                f"{tenant.name}: auth.device_code needs storage for the sign-in",
                hint=f"set storage.path, then {hint_for(tenant, {})}",
            )
        # msal-extensions looks for a temporary folder when it is imported, and a read-only container may have none.
        from exporter.auth.device import SignIns  # noqa: PLC0415 - as said above

        return SignIns(self._folder)

    def _token(self, tenant: Tenant, answer: Mapping[str, Any]) -> Token:
        value = answer.get("access_token")
        if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
            if is_refusal(answer):
                raise refusal(tenant, answer)
            raise ServerError(f"{tenant.name}: the token endpoint's answer contains no usable token", hint=IN_BETWEEN)
        return Token(value, self._clock() + _lifetime(tenant, answer.get("expires_in")))


def _lifetime(tenant: Tenant, expires_in: object) -> float:
    """Return a token's lifetime in seconds: an hour where it is not given, a day at most."""
    if not isinstance(expires_in, int | float):
        return _LIFETIME
    if not expires_in > 0:  # nor is NaN
        raise ServerError(
            f"{tenant.name}: the token has already expired (expires_in is {quotable(str(expires_in), 20)})",
            hint="check this machine's clock, and that no proxy or gateway answers in Microsoft's place",
        )
    return float(min(expires_in, _LONGEST_LIFETIME))


@contextmanager
def _unexpected_answers(tenant: Tenant) -> Iterator[None]:
    """Raise a ServerError in place of what MSAL raises about an answer that it did not expect.

    It reads answers without checking them: a lifetime that is not a number, an address that is not one.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        log.debug("MSAL could not read an answer", tenant=tenant.name, error=type(error).__name__)
        raise ServerError(f"{tenant.name}: the login host's answer is not a valid OAuth answer") from None


def _key(tenant: Tenant) -> tuple[str, ...]:
    return (tenant.cloud.authority, tenant.cloud.graph, tenant.tenant_id, tenant.client_id)
