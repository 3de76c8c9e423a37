"""Secrets, certificates and token files: from a tenant's `auth` to what MSAL takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from exporter.auth.files import read_bytes, read_secret, read_text
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from exporter.auth.certificates import Certificate
    from exporter.config.tenants import Tenant


@dataclass(frozen=True, slots=True)
class CredentialExpiry:
    """When a credential ends: `kind` is certificate or secret, `at` Unix seconds."""

    client_id: str
    kind: str
    at: float


@dataclass(frozen=True, slots=True)
class Credential:
    """What MSAL is given, and a fingerprint that changes when it does.

    Attributes:
        fingerprint: tells nothing of the secret.
        value: MSAL's `client_credential`; None where the kind of `auth` needs none.
    """

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
                secret = read_secret(tenant, "client_secret", auth.client_secret, auth.client_secret_file)
                return Credential(f"secret {_digest(secret.encode())}", secret)
            case "certificate":
                certificate = self._certificate(tenant)
                return Credential(f"certificate {certificate.fingerprint}", certificate.credential)
            case "federated_token":
                # Whoever renews the file does so every hour or so: MSAL reads it again for each assertion, and the
                # trust behind it is the same, so the fingerprint is.
                path = auth.federated_token_file
                read = {"client_assertion": lambda: read_text(tenant, "federated_token_file", path)}
                return Credential(f"federated {path}", read)
            case kind:
                return Credential(kind)

    def expiries(self, tenants: Iterable[Tenant]) -> tuple[CredentialExpiry, ...]:
        """Return when the tenants' credentials end, one for each distinct one; unreadable files tell nothing."""
        # Equal values of many tenants are one object: a provider's certificate is read once.
        distinct = {(tenant.client_id, id(tenant.auth)): tenant for tenant in tenants}
        found = {expiry for tenant in distinct.values() if (expiry := self._expiry(tenant)) is not None}
        return tuple(sorted(found, key=lambda expiry: (expiry.client_id, expiry.kind, expiry.at)))

    def _expiry(self, tenant: Tenant) -> CredentialExpiry | None:
        if tenant.auth.expires is not None:
            ends = datetime.combine(tenant.auth.expires, time.min, UTC).timestamp()
            return CredentialExpiry(tenant.client_id, "secret", ends)
        if tenant.auth.kind == "certificate":
            try:
                return CredentialExpiry(tenant.client_id, "certificate", self._certificate(tenant).not_after)
            except ConfigError:
                return None  # the poll tells
        return None

    def _certificate(self, tenant: Tenant) -> Certificate:
        auth = tenant.auth
        content = read_bytes(tenant, "certificate_file", auth.certificate_file)
        key: bytes | None = None
        if auth.certificate_key_file is not None:
            key = read_bytes(tenant, "certificate_key_file", auth.certificate_key_file)
        password = b""
        if auth.certificate_password is not None or auth.certificate_password_file is not None:
            password = read_secret(
                tenant, "certificate_password", auth.certificate_password, auth.certificate_password_file
            ).encode()
        place = (auth.certificate_file, bool(auth.send_certificate_chain))
        digest = _digest(content, key or b"", password)
        held, certificate = self._certificates.get(place, ("", None))
        if certificate is None or held != digest:
            from exporter.auth.certificates import load_certificate  # noqa: PLC0415 - only certificates need it

            certificate = load_certificate(tenant, content, password, key_content=key, chain=place[1])
            self._certificates[place] = (digest, certificate)
        return certificate


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
