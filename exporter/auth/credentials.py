"""A tenant's `auth` → what MSAL takes: secret, certificate or token file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from exporter.errors import ConfigError
from exporter.files import MAX_SECRET, read_file, read_value
from exporter.state import midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pydantic import SecretStr

    from exporter.auth.certificates import Certificate
    from exporter.config import Tenant

Content = TypeVar("Content", str, bytes)

_READABLE = "check the path, and that the exporter can read it"
_BARE_VALUE = "write only the value into it, as UTF-8"
_BY_PLATFORM = "the platform writes it: check that the workload identity is set up for this pod or job"


@dataclass(frozen=True, slots=True, order=True)
class CredentialExpiry:
    """When a credential ends: `kind` is certificate or secret, `at` Unix seconds."""

    client_id: str
    kind: str
    at: float


@dataclass(frozen=True, slots=True)
class Credential:
    """MSAL's `client_credential` (None where `auth` needs none), and a fingerprint that changes when it does."""

    fingerprint: str
    value: Any = field(default=None, repr=False)


class Credentials:
    """Reads credentials; keeps loaded certificates, since parsing a key costs more than a poll."""

    def __init__(self) -> None:
        self._certificates: dict[tuple[Path | None, bool], tuple[str, Certificate]] = {}

    def load(self, tenant: Tenant) -> Credential:
        """Return the tenant's credential as it is at this moment.

        Raises:
            ConfigError: a file is missing, unreadable, too large or not what it should be, or its password is wrong.
        """
        auth = tenant.auth
        match auth.kind:
            case "client_secret":
                secret = _secret(tenant, "client_secret", auth.client_secret, auth.client_secret_file)
                return Credential(f"secret {_digest(secret.encode())}", secret)
            case "certificate":
                certificate = self._certificate(tenant)
                return Credential(f"certificate {certificate.fingerprint}", certificate.credential)
            case "federated_token":
                # The platform renews the file every hour or so: MSAL reads it again for each assertion, and the app
                # trusts each of its tokens alike, so the fingerprint does not change.
                path = auth.federated_token_file
                read = {"client_assertion": lambda: _read(tenant, "federated_token_file", path, read_value)}
                return Credential(f"federated {path}", read)
            case kind:
                return Credential(kind)

    def errors(self, tenants: Iterable[Tenant]) -> tuple[str, ...]:
        """Return why tenants' credentials cannot be used, one line for each distinct one that cannot."""
        found: dict[str, None] = {}
        for tenant in _distinct(tenants):
            try:
                credential = self.load(tenant)
                if tenant.auth.kind == "federated_token":
                    credential.value["client_assertion"]()
            except ConfigError as error:
                found[f"{error.message}; {error.hint}"] = None
        return tuple(found)

    def expiries(self, tenants: Iterable[Tenant]) -> tuple[CredentialExpiry, ...]:
        """Return when the tenants' credentials end, one for each distinct one; not of those that cannot be read."""
        return tuple(sorted({expiry for tenant in _distinct(tenants) if (expiry := self._expiry(tenant)) is not None}))

    def _expiry(self, tenant: Tenant) -> CredentialExpiry | None:
        if tenant.auth.expires is not None:
            return CredentialExpiry(tenant.client_id, "secret", midnight(tenant.auth.expires))
        if tenant.auth.kind == "certificate":
            try:
                return CredentialExpiry(tenant.client_id, "certificate", self._certificate(tenant).not_after)
            except ConfigError:
                return None  # the poll reports it
        return None

    def _certificate(self, tenant: Tenant) -> Certificate:
        auth = tenant.auth
        content = _read(tenant, "certificate_file", auth.certificate_file, _content)
        key: bytes | None = None
        if auth.certificate_key_file is not None:
            key = _read(tenant, "certificate_key_file", auth.certificate_key_file, _content)
        password = b""
        if auth.certificate_password is not None or auth.certificate_password_file is not None:
            password = _secret(
                tenant, "certificate_password", auth.certificate_password, auth.certificate_password_file
            ).encode()
        place = (auth.certificate_file, bool(auth.send_certificate_chain))
        digest = _digest(content, key or b"", password)
        held, certificate = self._certificates.get(place, ("", None))
        if certificate is None or held != digest:
            from exporter.auth import certificates  # noqa: PLC0415 - 30 ms that only certificates need

            try:
                certificate = certificates.load_certificate(content, password, key_content=key, chain=place[1])
            except certificates.CertificateError as error:
                raise _error(tenant, error.key, error.what, error.fix) from None
            self._certificates[place] = (digest, certificate)
        return certificate


def _distinct(tenants: Iterable[Tenant]) -> Iterable[Tenant]:
    """Return one tenant for each app and credential: equal values of many tenants are one object."""
    return {(tenant.client_id, id(tenant.auth)): tenant for tenant in tenants}.values()


def _secret(tenant: Tenant, key: str, value: SecretStr | None, file: Path | None) -> str:
    return value.get_secret_value() if value is not None else _read(tenant, f"{key}_file", file, read_value)


def _read(tenant: Tenant, key: str, path: Path | None, read: Callable[[Path], Content]) -> Content:
    if path is None:
        raise AssertionError(key)  # the configuration has made sure that there is one
    try:
        return read(path)
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or type(error).__name__}"
        raise _error(tenant, key, what, _READABLE) from None
    except ValueError as error:
        fix = _BY_PLATFORM if key == "federated_token_file" else _BARE_VALUE
        raise _error(tenant, key, f"cannot use {path}: {error}", fix) from None


def _content(path: Path) -> bytes:
    return read_file(path, MAX_SECRET)


def _error(tenant: Tenant, key: str, what: str, fix: str) -> ConfigError:
    """Return the error of a key below the tenant's `auth`."""
    return ConfigError((f"{tenant.name}: auth.{key}: {what}",), hint=fix)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
