"""Sign-in by device code, a last resort: the stored sign-in and its renewal.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msal
from msal_extensions import (
    CrossPlatLock,
    FilePersistence,
    LockError,
    PersistedTokenCache,
    build_encrypted_persistence,
)
from msal_extensions.persistence import PersistenceNotFound

from exporter.auth.hints import hint_for, refusal
from exporter.errors import ConfigError, CredentialsError, ExporterError
from exporter.files import MIB, read_file
from exporter.log import quotable
from exporter.reports import REPORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.config import Tenant

_PENDING = "authorization_pending"
_SLOW_DOWN = "slow_down"
_ENDED = {"error_codes": [70020], "error_description": "The code expired before it was used"}
_LONGEST_WAIT = 86400.0
_SLOWER = 5.0
"""Seconds by which the pause grows when the login host asks to slow down (RFC 8628, section 3.5)."""


@dataclass(frozen=True, slots=True)
class Code:
    """What a person is shown: the page to open, the code to enter there, and when it ends, Unix seconds."""

    address: str
    text: str
    ends: float


class SignIn:
    """A tenant's sign-in, stored in a locked file of its own in `folder`, for its owner only.

    The HTTP client among MSAL's arguments raises what the methods here do not name.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(self, tenant: Tenant, folder: Path, arguments: Mapping[str, Any]) -> None:
        self._tenant = tenant
        self._arguments = arguments
        permissions = dict.fromkeys(REPORTS[name].permission for name in tenant.reports)
        self._scopes = [f"{tenant.cloud.graph}/{permission}" for permission in permissions]
        host = re.sub(r"[^\w.-]", "_", urlsplit(tenant.cloud.authority).netloc)
        self._path = folder / f"sign-in-{host}-{tenant.tenant_id}.bin"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._file_error(error) from None
        try:
            self._persistence = build_encrypted_persistence(str(self._path))
        except (ImportError, RuntimeError, OSError, ValueError):
            # Linux without a key store: the file's mode is what protects it, as for Microsoft's own command line.
            self._persistence = _OwnersFile(str(self._path))

    def acquire(self, *, fresh: bool) -> Mapping[str, Any]:
        """Return MSAL's answer for a token of the stored sign-in; with `fresh` a new token, whatever is cached.

        Raises:
            CredentialsError: no sign-in is stored, or it cannot be read.
            ConfigError: the file cannot be used.
        """
        if not self._is_stored():
            what = f"{self._tenant.name}: no sign-in is stored for auth.device_code"
            raise CredentialsError(what, hint=hint_for(self._tenant, {}))
        application = self._application(PersistedTokenCache(self._persistence))
        try:
            accounts = application.get_accounts()
            result: Mapping[str, Any] | None = accounts and application.acquire_token_silent_with_error(
                self._scopes, accounts[0], force_refresh=fresh
            )
        except (OSError, LockError) as error:
            raise self._file_error(error) from None
        # MSAL forgets a sign-in that was refused for good, and then returns nothing.
        return result or {"error_description": "the stored sign-in is no longer valid"}

    def sign_in(
        self, show: Callable[[Code], None], wait: Callable[[float, float], None], clock: Callable[[], float]
    ) -> tuple[Mapping[str, Any], str]:
        """Let a person sign in; return MSAL's answer with the token, and what is to be stored.

        The code is shown once; transient errors are waited out. Between two checks `wait` waits: it is given the
        seconds to wait and the seconds that are left.

        Raises:
            CredentialsError: the login host refused, the person declined, or the code expired unused.
        """
        cache = msal.SerializableTokenCache()
        application = self._application(cache)
        flow: Mapping[str, Any] = application.initiate_device_flow(self._scopes)
        if "user_code" not in flow:
            raise refusal(self._tenant, flow)
        address, text = (quotable(str(flow[name]), 200) for name in ("verification_uri", "user_code"))
        code = Code(address, text, clock() + min(flow["expires_in"], _LONGEST_WAIT))
        show(code)
        pause = max(flow["interval"], 1.0)
        while "access_token" not in (answer := self._check(application, flow)):
            if (left := code.ends - clock()) <= 0:
                raise refusal(self._tenant, _ENDED)
            pause += _SLOWER if answer.get("error") == _SLOW_DOWN else 0.0
            wait(min(pause, left), left)
        return answer, cache.serialize()

    def store(self, content: str) -> str:
        """Store a sign-in in place of the tenant's former one; return how it is protected.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            with CrossPlatLock(f"{self._path}.lockfile"):
                self._persistence.save(content)
        except (OSError, LockError) as error:
            raise self._file_error(error) from None
        if self._persistence.is_encrypted:
            return "encrypted by this platform's key store"
        return f"in {self._path}, not encrypted, readable by its owner only (0600)"

    def _application(self, cache: Any) -> Any:
        return msal.PublicClientApplication(self._tenant.client_id, token_cache=cache, **self._arguments)

    def _check(self, application: Any, flow: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return MSAL's answer: the token, or that there is none yet, also after a transient error."""
        try:
            # By `exit_condition` MSAL does not wait by itself; with an interval of 0 it would not call it.
            answer: Mapping[str, Any] = application.acquire_token_by_device_flow(
                dict(flow, interval=1), exit_condition=lambda _flow: True
            )
        except ExporterError as error:
            if not error.transient:
                raise
            return {"error": _PENDING}
        if "access_token" in answer or answer.get("error") in {_PENDING, _SLOW_DOWN}:
            return answer
        raise refusal(self._tenant, answer)

    def _is_stored(self) -> bool:
        cache = msal.SerializableTokenCache()
        try:
            cache.deserialize(self._persistence.load())
            return any(cache.search(cache.CredentialType.ACCOUNT))
        except PersistenceNotFound:
            return False
        except OSError as error:
            raise self._file_error(error) from None
        except (ValueError, TypeError, AttributeError):
            what = f"{self._tenant.name}: {self._path} does not contain a readable sign-in"
            raise CredentialsError(what, hint=hint_for(self._tenant, {})) from None

    def _file_error(self, error: Exception) -> ConfigError:
        if isinstance(error, LockError):
            why = "another process holds its lock"
            fix = f"if none does, a crash left it behind: remove {self._path}.lockfile"
        else:
            why = str(getattr(error, "strerror", None) or type(error).__name__)
            fix = "check storage.path: the exporter and `login` must run as the same user, with write access there"
        return ConfigError((f"{self._tenant.name}: the sign-in's file {self._path}: {why}",), hint=fix)


class _OwnersFile(FilePersistence):  # type: ignore[misc]  # msal-extensions has no types
    """A file for its owner only, replaced whole: a full disk or a power cut leaves the former content."""

    def load(self) -> str:
        path = Path(self.get_location())
        try:
            return read_file(path, MIB).decode("utf-8")
        except FileNotFoundError as error:
            raise PersistenceNotFound(location=str(path)) from error

    def save(self, content: str) -> None:
        path = Path(self.get_location())
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
