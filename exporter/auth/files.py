"""Reading the files of a credential, each time it is needed: a rotated one needs no restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.errors import ConfigError
from exporter.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from exporter.config.tenants import Tenant

MAX_FILE = 256 * 1024
"""The largest secret, certificate or token file read, in bytes."""

_EMPTY = {
    "federated_token_file": "the platform writes it: check that the workload identity is set up for this pod or job"
}


def read_secret(tenant: Tenant, key: str, value: SecretStr | None, file: Path | None) -> str:
    """Return a secret that the configuration gives as `key` or by its twin `key`_file.

    Raises:
        ConfigError: as `read_text`.
    """
    return value.get_secret_value() if value is not None else read_text(tenant, f"{key}_file", file)


def read_text(tenant: Tenant, key: str, path: Path | None) -> str:
    """Return a file's one value, without the line break that editors put behind it.

    Raises:
        ConfigError: as `read_bytes`, and where the file is empty or no text.
    """
    try:
        # With or without the mark that Windows' editors put before it.
        text = read_bytes(tenant, key, path).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise fault(tenant, key, f"{path} is not text", "write the bare value into it, as UTF-8") from None
    if not text:
        raise fault(tenant, key, f"{path} is empty", _EMPTY.get(key, "write the bare value into it"))
    return text


def read_bytes(tenant: Tenant, key: str, path: Path | None) -> bytes:
    """Return a file's content.

    Args:
        tenant: whose credential.
        key: the key below `auth` that names the file.
        path: the file; the configuration has made sure that there is one.

    Raises:
        ConfigError: the file cannot be read, is not a regular one or is too large.
    """
    if path is None:
        raise AssertionError(key)
    try:
        return read_file(path, MAX_FILE)
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or type(error).__name__}"
        raise fault(tenant, key, what, "check its path, and that the exporter may read it") from None


def fault(tenant: Tenant, key: str, what: str, mend: str) -> ConfigError:
    """Return the error that says what is wrong with a key below the tenant's `auth`, and how to mend it."""
    return ConfigError((f"{tenant.name}: auth.{key}: {what}",), hint=mend)
