"""The files that a configuration depends on: which they are, and whether they can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from exporter.config.errors import sentence
from exporter.config.load import tenant_files
from exporter.files import MIB, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from exporter.config.credential import Auth
    from exporter.config.result import Config


_LARGEST: Final = 16 * MIB


class HasAuth(Protocol):
    """A tenant: its name and its credential."""

    @property
    def name(self) -> str:
        """The label `tenant`."""

    @property
    def auth(self) -> Auth:
        """The credential."""


def watched(config: Config) -> tuple[Path, ...]:
    """Return every file whose change means a reload, each once.

    The configuration file, the files that `tenant_files` matches now, and the files of secrets, certificates, the proxy
    and the private CA. A federated token is read again for each use, and its file changes every hour or so. The web
    configuration is watched by the web server itself.
    """
    files: dict[Path, None] = dict.fromkeys(config.files)
    for _, paths in tenant_files(config.config_file, config.root.tenant_files):
        files.update(dict.fromkeys(paths))
    for path in (config.http.proxy_file, config.http.ca_file):
        if path is not None:
            files[path] = None
    for tenant in config.configured:
        files.update(dict.fromkeys(path for path in tenant.auth.files if path != tenant.auth.federated_token_file))
    return tuple(files)


def file_errors(tenants: Iterable[HasAuth], *, ca_file: Path | None = None) -> tuple[str, ...]:
    """Return what is wrong with the files that the tenants' credentials are read from, one line a file.

    Only that they exist, are readable and not empty is checked, not their content.

    Args:
        tenants: the tenants, resolved or as entries.
        ca_file: the private CA's file, if there is one.
    """
    users: dict[Path, str] = {} if ca_file is None else {ca_file: "http.ca_file"}
    for tenant in tenants:
        for path in tenant.auth.files:
            users.setdefault(path, f"tenant {tenant.name}")
    return tuple(
        sentence(str(path), f"{what} ({user})", "check the path and its permissions")
        for path, user in users.items()
        if (what := _error(path))
    )


def _error(path: Path) -> str:
    """Return what keeps a file from being read; empty where nothing does."""
    try:
        return "" if read_file(path, _LARGEST) else "is empty"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
