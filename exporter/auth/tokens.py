"""Tokens by MSAL: one short-lived MSAL application for each acquisition.

An application that lives for one acquisition has nothing stale: no cached refusal (MSAL caches a 400 for 60 s), no
token without the roles granted since. The token and the addresses of the token endpoint are cached here, in a fraction
of the memory.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msal

from exporter.auth import identity
from exporter.auth.hints import Token, account_error, hint_for, is_personal, is_refusal, refusal
from exporter.errors import ConfigError, CredentialsError, ServerError
from exporter.http import Answer, Deadline, raise_passing
from exporter.log import get_logger, quotable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from exporter.auth.credentials import Credential, Credentials
    from exporter.auth.device import Code, SignIn
    from exporter.config import Tenant
    from exporter.http import Clients

log = get_logger(__name__)

_VISIBLE = re.compile(r"[!-~]+")
_OK, _BAD_REQUEST = 200, 400
_NEEDED = ("authorization_endpoint", "token_endpoint")
_CACHED = ("issuer", *_NEEDED, "device_authorization_endpoint")
_IN_BETWEEN = "if it persists, check whether a proxy or gateway answers in Microsoft's place"

_DAY = 86400.0
"""For how long a discovery document is cached, and a token at most."""

_RENEW_BEFORE = 300.0
"""A token is renewed this many seconds before it ends."""

_LIFETIME = 3600.0
"""Seconds that a token without a lifetime is taken to be valid."""


class TokenSource:
    """Returns tokens, cached for each tenant and credential until shortly before they expire.

    The sign-ins of delegated tenants (`device_code`) are stored in `folder`, which is None without storage.
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
        # For each authority its discovery document, and until when it is used.
        self._documents: dict[str, tuple[str, float]] = {}
        # For each tenant the last token, and the fingerprint of the credential that it was given for.
        self._held: dict[tuple[str, ...], tuple[str, Token]] = {}

    def token(self, tenant: Tenant, deadline: Deadline, *, fresh: bool = False) -> Token:
        """Return a token for the tenant's Graph.

        With `fresh` none is taken from the cache: after Graph's 401, and after a failure that needs an operator.

        Raises:
            ConfigError: a credential's file cannot be used.
            CredentialsError, TenantError: Microsoft's login refused the credential, or does not know the tenant.
            ThrottledError, ServerError, NetworkError: there was no answer to use.
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

    def sign_in(
        self,
        tenant: Tenant,
        *,
        show: Callable[[Code], None],
        wait: Callable[[float, float], None],
    ) -> tuple[Token, str]:
        """Let a person sign in as `SignIn.sign_in` does; store the sign-in, return the token and how it is protected.

        Raises:
            CredentialsError: the login host refused, the person declined, the code expired unused, or the account is a
                personal one, whose sign-in is not stored.
            ConfigError: the sign-in cannot be stored.
            ExporterError: as `token`.
        """
        # A person takes longer than a poll: each request has a deadline of its own.
        http = LoginHttp(tenant, self._clients, lambda: Deadline(tenant.poll.timeout), self._clock)
        stored = self._sign_in(tenant, http)
        with _unexpected_answers(tenant):
            answer, content = stored.sign_in(show, wait, self._clock)
        token = self._token(tenant, answer)
        if is_personal(token.claims) and (error := account_error(tenant, token.claims)):
            raise error
        return token, stored.store(content)

    def _acquire(self, tenant: Tenant, credential: Credential, deadline: Deadline, *, fresh: bool) -> Token:
        authority = _authority(tenant)
        document, until = self._documents.get(authority, ("", 0.0))
        if until <= self._clock():
            document = ""
        http = LoginHttp(tenant, self._clients, lambda: deadline, self._clock, document)
        try:
            with _unexpected_answers(tenant):
                match tenant.auth.kind:
                    case "managed_identity":
                        answer = identity.acquire(tenant, self._clients, deadline, self._clock)
                    case "device_code":
                        answer = self._sign_in(tenant, http).acquire(fresh=fresh)
                    case _:
                        application = msal.ConfidentialClientApplication(
                            tenant.client_id, client_credential=credential.value, **http.application_arguments()
                        )
                        answer = application.acquire_token_for_client([f"{tenant.cloud.graph}/.default"])
                return self._token(tenant, answer)
        finally:
            if http.proven and http.document != document:
                # That of a broken gateway leads nowhere, and is gone as soon as the gateway is fixed.
                self._documents[authority] = (http.document, self._clock() + _DAY)

    def _sign_in(self, tenant: Tenant, http: LoginHttp) -> SignIn:
        if self._folder is None:
            raise CredentialsError(
                f"{tenant.name}: auth.device_code needs storage for the sign-in",
                hint=f"set storage.path, then {hint_for(tenant, {})}",
            )
        # msal-extensions looks for a temporary folder when it is imported, and a read-only container may have none.
        from exporter.auth.device import SignIn  # noqa: PLC0415 - as said above

        return SignIn(tenant, self._folder, http.application_arguments())

    def _token(self, tenant: Tenant, answer: Mapping[str, Any]) -> Token:
        value = answer.get("access_token")
        if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
            if is_refusal(answer):
                raise refusal(tenant, answer)
            raise ServerError(f"{tenant.name}: the token endpoint's answer contains no usable token", hint=_IN_BETWEEN)
        return Token(value, self._clock() + _lifetime(tenant, answer.get("expires_in")))


class LoginHttp:
    """The HTTP client that MSAL is given for one acquisition.

    A throttled or failing host, and answers that MSAL would not understand, never reach MSAL: they are raised here as
    errors of `exporter.errors`.

    `document` is the tenant's discovery document: empty where it must be requested, and here from then on. It is
    `proven` once it led to a token or to a refusal.
    """

    def __init__(
        self,
        tenant: Tenant,
        clients: Clients,
        deadline: Callable[[], Deadline],
        clock: Callable[[], float],
        document: str = "",
    ) -> None:
        self.document = document
        self.proven = False
        self._tenant = tenant
        self._clients = clients
        self._deadline = deadline
        self._clock = clock

    def application_arguments(self) -> dict[str, Any]:
        """Return what every MSAL application is made with: no calls but those for this tenant, no cached refusals."""
        return {
            "authority": _authority(self._tenant),
            "instance_discovery": False,
            "http_client": self,
            "http_cache": {},
        }

    def post(self, url: str, *, data: Any, headers: Any = None, **_: Any) -> Answer:
        """Call the token endpoint, or the one for device codes.

        Raises:
            ThrottledError, ServerError, CredentialsError, TenantError: what the answer means, where it is not a
                JSON object, or not one that MSAL can use.
            NetworkError: there was none.
        """
        # MSAL's assertions are bytes, which httpx would write as Python does.
        form = {name: value.decode() if isinstance(value, bytes) else value for name, value in data.items()}
        answer, document = self._request("POST", url, headers=headers, data=form)
        self.proven = "access_token" in document or is_refusal(document)
        return answer

    def get(self, url: str, *, headers: Any = None, **_: Any) -> Answer:
        """Return the tenant's discovery document; raises as `post`."""
        if not self.document:
            answer, document = self._request("GET", url, headers=headers)
            if answer.status_code >= _BAD_REQUEST:
                raise refusal(self._tenant, document, answer.status_code)
            if not all(str(document.get(name)).startswith("https://") for name in _NEEDED):
                raise self._strange("a discovery document without its endpoints")
            self.document = json.dumps({name: document[name] for name in _CACHED if name in document})
        return Answer(_OK, {}, self.document.encode())

    def _request(self, method: str, url: str, **more: Any) -> tuple[Answer, Mapping[str, Any]]:
        """Return the login host's answer, and the JSON object in it; of a refusal, it says what was refused."""
        answer = self._clients.request(method, url, endpoint="token", deadline=self._deadline(), **more)
        status = answer.status_code
        raise_passing(answer, f"{self._tenant.name}: the login host", self._clock)
        try:
            document = json.loads(answer.text)
        except (ValueError, RecursionError):
            document = None
        readable = isinstance(document, dict)
        if status >= _BAD_REQUEST and not (readable and is_refusal(document)):
            raise refusal(self._tenant, {}, status)
        if not readable:
            raise self._strange(f"{status} with something that is not a JSON object")
        return answer, document

    def _strange(self, what: str) -> ServerError:
        return ServerError(f"{self._tenant.name}: the login host answered {what}", hint=_IN_BETWEEN)


def _lifetime(tenant: Tenant, expires_in: object) -> float:
    """Return a token's lifetime in seconds: an hour where it is not given, a day at most."""
    if not isinstance(expires_in, int | float):
        return _LIFETIME
    if not expires_in > 0:  # nor is NaN
        raise ServerError(
            f"{tenant.name}: the token has already expired (expires_in is {quotable(str(expires_in), 20)})",
            hint="check this machine's clock, and that no proxy or gateway answers in Microsoft's place",
        )
    return float(min(expires_in, _DAY))


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


def _authority(tenant: Tenant) -> str:
    return f"{tenant.cloud.authority}/{tenant.tenant_id}"
