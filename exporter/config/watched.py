"""The files whose change means a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.config.load import tenant_files

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.config.result import Config


def watched(config: Config) -> tuple[Path, ...]:
    """Return every file whose change means a reload, each once.

    The configuration file, the files that `tenant_files` matches now, and the files of secrets, certificates, the proxy
    and the private CA. A federated token is read for each use, and its file changes every hour or so. The web
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
