"""Sign-ins by device code: the last resort for tenants where only a person's own permission can be had."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import msal
from msal_extensions import FilePersistence, PersistedTokenCache, build_encrypted_persistence

from exporter.auth.refusals import refusal
from exporter.errors import ConfigError, CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporter.tenants import Tenant


class SignIns:
    """Keeps each tenant's sign-in in a locked file of its own, readable by its owner only.

    Args:
        folder: where the files are: `storage.path`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def acquire(self, tenant: Tenant, arguments: Mapping[str, Any], *, fresh: bool) -> Mapping[str, Any]:
        """Return MSAL's answer for a token of the kept sign-in.

        Args:
            tenant: whose.
            arguments: of MSAL's application.
            fresh: fetch a new token, whatever is cached.

        Raises:
            CredentialsError: nobody has signed in yet.
        """
        application = self._application(tenant, arguments)
        accounts = application.get_accounts()
        if not accounts:
            raise CredentialsError(
                f"{tenant.name}: nobody has signed in for auth.device_code",
                hint=f"run: office365-activations-exporter login {tenant.name}",
            )
        result: Mapping[str, Any] | None = application.acquire_token_silent_with_error(
            _scopes(tenant), accounts[0], force_refresh=fresh
        )
        return result or {"error": "no_token", "error_description": "the kept sign-in gives no token; sign in anew"}

    def sign_in(
        self,
        tenant: Tenant,
        arguments: Mapping[str, Any],
        *,
        show: Callable[[str, str, float], None],
        wait: Callable[[float], None],
        clock: Callable[[], float] = time.time,
    ) -> Mapping[str, Any]:
        """Sign a person in and keep the sign-in; return MSAL's answer with the token.

        Args:
            tenant: whose.
            arguments: of MSAL's application.
            show: shown the address, the code and the moment it ends (Unix seconds), once.
            wait: called between two looks with the seconds that are left; waits.
            clock: Unix seconds.

        Raises:
            CredentialsError: the login host refused, the person declined, or the code ended unused.
        """
        application = self._application(tenant, arguments)
        flow = application.initiate_device_flow(_scopes(tenant))
        if "user_code" not in flow:
            raise refusal(tenant, flow)
        ends = float(flow.get("expires_at", clock() + 900))
        show(str(flow["verification_uri"]), str(flow["user_code"]), ends)
        while True:
            result: Mapping[str, Any] = application.acquire_token_by_device_flow(
                flow, exit_condition=lambda _flow: True
            )
            if "access_token" in result:
                return result
            if result.get("error") not in {"authorization_pending", "slow_down"}:
                raise refusal(tenant, result)
            if clock() >= ends:
                raise CredentialsError(f"{tenant.name}: the code ended before anybody used it", hint="run login again")
            wait(ends - clock())

    def protection(self, tenant: Tenant) -> str:
        """Say how the tenant's sign-in is kept: encrypted by the platform, or as a file for its owner only."""
        return (
            "encrypted"
            if self._persistence(tenant).is_encrypted
            else "not encrypted, readable by its owner only (0600)"
        )

    def _application(self, tenant: Tenant, arguments: Mapping[str, Any]) -> Any:
        cache = PersistedTokenCache(self._persistence(tenant))
        return msal.PublicClientApplication(tenant.client_id, token_cache=cache, **arguments)

    def _persistence(self, tenant: Tenant) -> Any:
        path = self._folder / f"sign-in-{tenant.cloud.name}-{tenant.tenant_id.lower()}.bin"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            fault = f"{tenant.name}: cannot keep the sign-in in {path}: {error.strerror}"
            raise ConfigError((fault,), hint="check storage.path and its permissions") from None
        try:
            return build_encrypted_persistence(str(path))
        except (ImportError, RuntimeError, OSError, ValueError):
            # Linux without a keyring: the file's mode is what protects it, as for Microsoft's own command line.
            return FilePersistence(str(path))


def _scopes(tenant: Tenant) -> list[str]:
    return [f"{tenant.cloud.graph}/Reports.Read.All"]
