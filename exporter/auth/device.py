"""Sign-in by device code, a last resort: the stored sign-in and its renewal.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
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

from exporter.auth.aadsts import hint_for, refusal
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
    """What a person is shown.

    Attributes:
        address: the page to open.
        text: the code to enter there.
        ends: when it ends, Unix seconds.
    """

    address: str
    text: str
    ends: float


@dataclass(frozen=True, slots=True)
class SignIn:
    """A person's sign-in, not stored yet.

    Attributes:
        answer: MSAL's, with the token.
        content: what is to be stored.
    """

    answer: Mapping[str, Any] = field(repr=False)
    content: str = field(repr=False)


class SignIns:
    """Stores each tenant's sign-in in a locked file of its own, for its owner only.

    Args:
        folder: where the files are: `storage.path`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def acquire(self, tenant: Tenant, arguments: Mapping[str, Any], *, fresh: bool) -> Mapping[str, Any]:
        """Return MSAL's answer for a token of the stored sign-in.

        Args:
            tenant: whose.
            arguments: of MSAL's application.
            fresh: fetch a new token, whatever is cached.

        Raises:
            CredentialsError: no sign-in is stored, or it cannot be read.
            ConfigError: the file cannot be used.
            ExporterError: as the HTTP client of `arguments`.
        """
        persistence = self._persistence(tenant)
        if not _has_sign_in(tenant, persistence):
            raise CredentialsError(
                f"{tenant.name}: no sign-in is stored for auth.device_code", hint=hint_for(tenant, {})
            )
        application = _application(tenant, arguments, PersistedTokenCache(persistence))
        try:
            accounts = application.get_accounts()
            result: Mapping[str, Any] | None = accounts and application.acquire_token_silent_with_error(
                _scopes(tenant), accounts[0], force_refresh=fresh
            )
        except (OSError, LockError) as error:
            raise _file_error(tenant, Path(persistence.get_location()), error) from None
        # MSAL forgets a sign-in that was refused for good, and then returns nothing.
        return result or {"error_description": "the stored sign-in is no longer valid"}

    def sign_in(
        self,
        tenant: Tenant,
        arguments: Mapping[str, Any],
        *,
        show: Callable[[Code], None],
        wait: Callable[[float, float], None],
        clock: Callable[[], float],
    ) -> SignIn:
        """Let a person sign in.

        Args:
            tenant: whose.
            arguments: of MSAL's application.
            show: shown the code, once.
            wait: called between two checks with the seconds to wait and the seconds that are left; waits.
            clock: Unix seconds.

        Raises:
            CredentialsError: the login host refused, the person declined, or the code expired unused.
            ExporterError: as the HTTP client of `arguments`; once there is a code, transient errors are waited out.
        """
        cache = msal.SerializableTokenCache()
        application = _application(tenant, arguments, cache)
        flow: Mapping[str, Any] = application.initiate_device_flow(_scopes(tenant))
        if "user_code" not in flow:
            raise refusal(tenant, flow)
        address, text = (quotable(str(flow[name]), 200) for name in ("verification_uri", "user_code"))
        code = Code(address, text, clock() + _seconds(flow["expires_in"]))
        show(code)
        pause = max(_seconds(flow.get("interval", 0)), 1.0)
        while "access_token" not in (result := _check(tenant, application, flow)):
            if (left := code.ends - clock()) <= 0:
                raise refusal(tenant, _ENDED)
            pause += _SLOWER if result.get("error") == _SLOW_DOWN else 0.0
            wait(min(pause, left), left)
        return SignIn(result, cache.serialize())

    def store(self, tenant: Tenant, sign_in: SignIn) -> str:
        """Store a sign-in in place of the tenant's former one; return how it is protected.

        Raises:
            ConfigError: the file cannot be written.
        """
        persistence = self._persistence(tenant)
        path = Path(persistence.get_location())
        try:
            with CrossPlatLock(f"{path}.lockfile"):
                persistence.save(sign_in.content)
        except (OSError, LockError) as error:
            raise _file_error(tenant, path, error) from None
        if persistence.is_encrypted:
            return "encrypted by this platform's key store"
        return f"in {path}, not encrypted, readable by its owner only (0600)"

    def _persistence(self, tenant: Tenant) -> Any:
        """Return where the tenant's sign-in is stored, as well protected as this platform can.

        Raises:
            ConfigError: the folder cannot be made.
        """
        host = re.sub(r"[^\w.-]", "_", urlsplit(tenant.cloud.authority).netloc)
        path = self._folder / f"sign-in-{host}-{tenant.tenant_id}.bin"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _file_error(tenant, path, error) from None
        try:
            return build_encrypted_persistence(str(path))
        except (ImportError, RuntimeError, OSError, ValueError):
            # Linux without a key store: the file's mode is what protects it, as for Microsoft's own command line.
            return _OwnersFile(str(path))


def _seconds(value: Any) -> float:
    """Return a number of seconds of the login host, a day at most.

    Raises:
        ValueError, TypeError: it is not one.
    """
    seconds = min(float(value), _LONGEST_WAIT)
    if not seconds >= 0:
        raise ValueError("not a number of seconds")
    return seconds


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


def _check(tenant: Tenant, application: Any, flow: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return MSAL's answer: the token, or that there is none yet, also after a transient error."""
    try:
        # By `exit_condition` MSAL does not wait by itself; with an interval of 0 it would not call it.
        result: Mapping[str, Any] = application.acquire_token_by_device_flow(
            dict(flow, interval=1), exit_condition=lambda _flow: True
        )
    except ExporterError as error:
        if not error.transient:
            raise
        return {"error": _PENDING}
    if "access_token" in result or result.get("error") in {_PENDING, _SLOW_DOWN}:
        return result
    raise refusal(tenant, result)


def _application(tenant: Tenant, arguments: Mapping[str, Any], cache: Any) -> Any:
    return msal.PublicClientApplication(tenant.client_id, token_cache=cache, **arguments)


def _scopes(tenant: Tenant) -> list[str]:
    permissions = dict.fromkeys(REPORTS[name].permission for name in tenant.reports)
    return [f"{tenant.cloud.graph}/{permission}" for permission in permissions]


def _has_sign_in(tenant: Tenant, persistence: Any) -> bool:
    """Return whether a sign-in is stored.

    Raises:
        CredentialsError: it cannot be read.
        ConfigError: the file cannot be opened.
    """
    path = Path(persistence.get_location())
    cache = msal.SerializableTokenCache()
    try:
        cache.deserialize(persistence.load())
        return any(cache.search(cache.CredentialType.ACCOUNT))
    except PersistenceNotFound:
        return False
    except OSError as error:
        raise _file_error(tenant, path, error) from None
    except (ValueError, TypeError, AttributeError):
        what = f"{tenant.name}: {path} does not contain a readable sign-in"
        raise CredentialsError(what, hint=hint_for(tenant, {})) from None


def _file_error(tenant: Tenant, path: Path, error: Exception) -> ConfigError:
    if isinstance(error, LockError):
        why, fix = "another process holds its lock", f"if none does, a crash left it behind: remove {path}.lockfile"
    else:
        why = str(getattr(error, "strerror", None) or type(error).__name__)
        fix = "check storage.path: the exporter and `login` must run as the same user, with write access there"
    return ConfigError((f"{tenant.name}: the sign-in's file {path}: {why}; {fix}",), hint=fix)
