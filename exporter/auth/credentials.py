"""Secrets, certificates and token files, read when they are needed so that a rotated one needs no restart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydantic import SecretStr

    from exporter.config import Auth
    from exporter.tenants import Tenant

MAX_FILE = 256 * 1024
"""The largest secret, certificate or token file read, in bytes."""


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
        value: MSAL's `client_credential`.
        fingerprint: a digest; tells nothing of the secret.
    """

    value: Any
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Certificate:
    credential: dict[str, Any]
    fingerprint: str
    not_after: float


class Credentials:
    """Reads credentials; keeps loaded certificates, since parsing a key costs more than a poll."""

    def __init__(self) -> None:
        self._certificates: dict[tuple[str, str], _Certificate] = {}

    def load(self, tenant: Tenant) -> Credential:
        """Return the credential of a tenant whose auth is a secret, a certificate or a federated token.

        Raises:
            ConfigError: a file is missing, unreadable, too large or not what it should be, or its password is wrong.
        """
        auth = tenant.auth
        match auth.kind:
            case "certificate":
                certificate = self._certificate(tenant)
                return Credential(certificate.credential, certificate.fingerprint)
            case "federated_token":
                assertion = _text(tenant, "federated_token_file", auth.federated_token_file)
                # The file is renewed every hour: the same trust, so the same fingerprint.
                return Credential({"client_assertion": assertion}, f"federated:{auth.federated_token_file}")
            case "client_secret":
                secret = _secret(tenant, "client_secret", auth.client_secret, auth.client_secret_file)
                return Credential(secret, "secret:" + hashlib.sha256(secret.encode()).hexdigest())
            case kind:
                raise AssertionError(kind)

    def expiries(self, tenants: Iterable[Tenant]) -> tuple[CredentialExpiry, ...]:
        """Return when the tenants' credentials end, one for each distinct one; unreadable files tell nothing."""
        found: set[CredentialExpiry] = set()
        seen: set[tuple[str, int]] = set()
        for tenant in tenants:
            if (shared := (tenant.client_id, id(tenant.auth))) in seen:
                continue
            seen.add(shared)
            if (expiry := self._expiry(tenant)) is not None:
                found.add(expiry)
        return tuple(sorted(found, key=lambda expiry: (expiry.client_id, expiry.kind, expiry.at)))

    def _expiry(self, tenant: Tenant) -> CredentialExpiry | None:
        auth: Auth = tenant.auth
        if auth.expires is not None:
            ends = datetime.combine(auth.expires, time.min, UTC).timestamp()
            return CredentialExpiry(tenant.client_id, "secret", ends)
        if auth.kind == "certificate":
            try:
                return CredentialExpiry(tenant.client_id, "certificate", self._certificate(tenant).not_after)
            except ConfigError:
                return None
        return None

    def _certificate(self, tenant: Tenant) -> _Certificate:
        auth = tenant.auth
        content = _read(tenant, "certificate_file", auth.certificate_file)
        password = b""
        if auth.certificate_password is not None or auth.certificate_password_file is not None:
            text = _secret(tenant, "certificate_password", auth.certificate_password, auth.certificate_password_file)
            password = text.encode()
        digest = hashlib.sha256(content + b"\0" + password).hexdigest()
        key = (str(auth.certificate_file), digest)
        held = self._certificates.get(key)
        if held is None:
            held = _load_certificate(tenant, content, password)
            self._certificates = {k: v for k, v in self._certificates.items() if k[0] != key[0]} | {key: held}
        return held


def _load_certificate(tenant: Tenant, content: bytes, password: bytes) -> _Certificate:
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - only certificates need it
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - the same

    key, certificate = _pem(tenant, content, password) if b"-----BEGIN" in content else _pfx(tenant, content, password)
    if not isinstance(key, RSAPrivateKey):
        raise _fault(tenant, "certificate_file", "its key is not RSA", "Microsoft's login takes RSA certificates")
    if key.public_key() != certificate.public_key():
        raise _fault(
            tenant,
            "certificate_file",
            "its key does not belong to its certificate",
            "put the pair in one file",
        )
    public = certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return _Certificate(
        {"private_key": key, "public_certificate": public},
        f"certificate:{fingerprint}",
        certificate.not_valid_after_utc.timestamp(),
    )


def _pem(tenant: Tenant, content: bytes, password: bytes) -> tuple[Any, Any]:
    from cryptography import x509  # noqa: PLC0415 - only certificates need it
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    try:
        certificate = x509.load_pem_x509_certificate(content)
    except ValueError:
        mend = "put certificate and private key, both PEM, in one file"
        raise _fault(tenant, "certificate_file", "it holds no readable certificate", mend) from None
    try:
        return load_pem_private_key(content, password or None), certificate
    except TypeError:
        what = "its private key is encrypted" if not password else "its private key is not encrypted"
        mend = "set certificate_password_file" if not password else "remove certificate_password"
        raise _fault(tenant, "certificate_file", what, mend) from None
    except ValueError:
        what = (
            "the password is wrong, or the private key unreadable" if password else "it holds no readable private key"
        )
        mend = "check certificate_password" if password else "put certificate and private key, both PEM, in one file"
        raise _fault(tenant, "certificate_file", what, mend) from None


def _pfx(tenant: Tenant, content: bytes, password: bytes) -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.serialization.pkcs12 import (  # noqa: PLC0415 - only certificates need it
        load_key_and_certificates,
    )

    try:
        key, certificate, _chain = load_key_and_certificates(content, password or None)
    except ValueError:
        what = "it is neither PEM nor a PFX that this password opens"
        mend = "check certificate_password (or its file)" if password else "set certificate_password_file"
        raise _fault(tenant, "certificate_file", what, mend) from None
    if key is None or certificate is None:
        mend = "export it anew with its private key"
        raise _fault(tenant, "certificate_file", "the PFX lacks the key or the certificate", mend)
    return key, certificate


def _secret(tenant: Tenant, name: str, value: SecretStr | None, file: Path | None) -> str:
    return value.get_secret_value() if value is not None else _text(tenant, f"{name}_file", file)


def _text(tenant: Tenant, key: str, path: Path | None) -> str:
    try:
        text = _read(tenant, key, path).decode("utf-8").strip()
    except UnicodeDecodeError:
        raise _fault(tenant, key, f"{path} is not text", "write the bare value into it, UTF-8") from None
    if not text:
        raise _fault(tenant, key, f"{path} is empty", "write the bare value into it")
    return text


def _read(tenant: Tenant, key: str, path: Path | None) -> bytes:
    if path is None:
        raise AssertionError(key)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or type(error).__name__}"
        raise _fault(tenant, key, what, "check that the file is there and that this user may read it") from None
    if len(content) > MAX_FILE:
        raise _fault(tenant, key, f"{path} is larger than {MAX_FILE // 1024} KiB", "check that it is the right file")
    return content


def _fault(tenant: Tenant, key: str, what: str, mend: str) -> ConfigError:
    return ConfigError((f"{tenant.name}: auth.{key}: {what}",), hint=mend)
