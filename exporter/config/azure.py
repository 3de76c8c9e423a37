"""The variables of Microsoft's SDKs (`AZURE_…`), which define one tenant where nothing else does.

Names: https://learn.microsoft.com/python/api/overview/azure/identity-readme#environment-variables; AKS workload
identity injects the same: https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exporter.config.addresses import split_url
from exporter.config.clouds import CLOUDS, Cloud, by_authority
from exporter.config.errors import sentence
from exporter.config.sources import TENANT_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTHORITY_HOST: Final = "AZURE_AUTHORITY_HOST"
_CHAIN: Final = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"
# Variable → its key in a tenant.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "AZURE_TENANT_ID": ("tenant_id",),
    "AZURE_CLIENT_ID": ("client_id",),
    "AZURE_CLIENT_SECRET": ("auth", "client_secret"),
    "AZURE_CLIENT_SECRET_FILE": ("auth", "client_secret_file"),
    "AZURE_CLIENT_CERTIFICATE_PATH": ("auth", "certificate_file"),
    "AZURE_CLIENT_CERTIFICATE_PASSWORD": ("auth", "certificate_password"),
    "AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE": ("auth", "certificate_password_file"),
    _CHAIN: ("auth", "send_certificate_chain"),
    "AZURE_FEDERATED_TOKEN_FILE": ("auth", "federated_token_file"),
    TENANT_NAME: ("name",),
}


def variables() -> tuple[tuple[str, str], ...]:
    """Return each variable with the key of a tenant that it sets."""
    return tuple((name, ".".join(path)) for name, path in _KEYS.items())


def given(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that would define a tenant and are set; an empty one counts as unset."""
    names = [name for name in _KEYS if environ.get(name)]
    # Microsoft's SDKs read it only where they have a certificate.
    if "AZURE_CLIENT_CERTIFICATE_PATH" not in names and _CHAIN in names:
        names.remove(_CHAIN)
    return tuple(names)


def defines_tenant(environ: Mapping[str, str]) -> bool:
    """Return whether the variables try to define a tenant: a label alone does not."""
    return any(name != TENANT_NAME for name in given(environ))


def tenant(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the tenant that the variables define, as an entry of `tenants`."""
    entry: dict[str, Any] = {}
    for name in given(environ):
        *blocks, key = _KEYS[name]
        inner = entry.setdefault(blocks[0], {}) if blocks else entry
        # As Microsoft's SDKs read it: whatever is not true is false.
        inner[key] = environ[name].lower() in {"true", "1"} if key == "send_certificate_chain" else environ[name]
    return entry


def origins(environ: Mapping[str, str]) -> dict[tuple[str | int, ...], str]:
    """Return the variable that each key of that entry comes from, or should come from."""
    found: dict[tuple[str | int, ...], str] = {("tenants", 0, *path): name for name, path in _KEYS.items()}
    secret = next((name for name in given(environ) if _KEYS[name][0] == "auth"), "AZURE_CLIENT_SECRET")
    return {("tenants", 0): "AZURE_TENANT_ID", ("tenants", 0, "auth"): secret, **found}


def missing(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what to say where a key of that entry is missing, and how to fix it."""
    fixes = {
        "tenant_id": ("AZURE_TENANT_ID", "set it to the tenant's UUID, or one of its domains"),
        "client_id": ("AZURE_CLIENT_ID", "set it to the app registration's application (client) ID"),
        "auth": (
            "AZURE_CLIENT_SECRET",
            "set it to the client secret, or set AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE",
        ),
    }
    return {key: ("is empty" if name in environ else "is not set", fix) for key, (name, fix) in fixes.items()}


def cloud(environ: Mapping[str, str]) -> Cloud | None:
    """Return the cloud that AZURE_AUTHORITY_HOST names, with or without scheme and slash; None where it is unset.

    Raises:
        ValueError: it names none that is known; the message is the error's line.
    """
    value = environ.get(AUTHORITY_HOST, "").strip()
    if not value:
        return None
    parts = split_url(value if "://" in value else f"https://{value}")
    is_bare = parts is not None and parts.scheme == "https" and parts.path in {"", "/"} and parts.port in {None, 443}
    found = by_authority(parts.hostname or "") if parts is not None and is_bare else None
    if found is None:
        hosts = ", ".join(dict.fromkeys(one.authority.removeprefix("https://") for one in CLOUDS.values()))
        fix = f"use one of {hosts}, or set OFFICE365_EXPORTER_CLOUD"
        raise ValueError(sentence(AUTHORITY_HOST, "is not the login of a known cloud", fix))
    return found
