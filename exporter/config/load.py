"""File, environment and flags → a `Config`, or an error that lists every error."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from exporter.config import azure
from exporter.config.errors import NOT_IN_FILE, findings, sentence
from exporter.config.models import Http, Root
from exporter.config.resolve import Entry, Resolver, Top, overlay, validated, version_finding
from exporter.config.result import Config, Tenant
from exporter.config.settings import settings
from exporter.config.sources import Places, from_environment, from_flags, rooted
from exporter.config.yamlfile import read_yaml
from exporter.errors import ConfigError
from exporter.files import read_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TENANTS: Final = frozenset({"tenants", "tenant_files"})
_NO_FILE: Final = "configuration"
_NO_TENANTS: Final = (
    "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or give --config.file a file with "
    "tenants: [{tenant_id: …, client_id: …, auth: {client_secret_file: …}}]; `demo` needs no tenant"
)


def load(flags: Mapping[str, object], environ: Mapping[str, str], *, need_tenants: bool = True) -> Config:
    """Load the configuration; a flag overrides a variable, a variable the file, the file the default.

    Args:
        flags: what the command line gave, by `Setting.key`; None means not given.
        environ: the environment.
        need_tenants: whether it is an error that no tenant is named.

    Returns:
        The configuration. Files of credentials are not read here: see `microsoft.check_files`.

    Raises:
        ConfigError: something is wrong; it lists every error, one line each, never with a secret.
    """
    loading = _Loading(flags, environ)
    config = loading.config(need_tenants=need_tenants)
    if loading.errors:
        raise ConfigError(tuple(dict.fromkeys(loading.errors)))
    return config


def tenant_files(config_file: Path | None, patterns: tuple[str, ...]) -> Iterator[tuple[str, bool, list[Path]]]:
    """Yield each glob, whether it matches anything, and the files that no glob before it matches, sorted."""
    folder = config_file.parent if config_file is not None else Path()
    seen: set[str] = set() if config_file is None else {os.path.realpath(config_file)}
    for pattern in patterns:
        # Path.glob refuses absolute patterns; Path.resolve and Path.is_dir raise for links that lead nowhere.
        found = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207
        fresh = {os.path.realpath(folder / match): folder / match for match in sorted(found, reverse=True)}
        paths = sorted(path for real, path in fresh.items() if real not in seen and not os.path.isdir(real))  # noqa: PTH112
        seen.update(fresh)
        yield pattern, bool(found), paths


def _unlisted(config_file: Path | None, pattern: str) -> tuple[Path, OSError] | None:
    """Return the folder that a glob begins in, and why it cannot be listed; None where it can, or is not there."""
    parent = config_file.parent if config_file is not None else Path()
    folder = parent / os.path.dirname(re.split(r"[*?[]", pattern, maxsplit=1)[0])  # noqa: PTH120
    try:
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        return folder, error
    return None


def watched(config: Config) -> tuple[Path, ...]:
    """Return every file whose change means a reload, each once.

    The configuration file, the files that `tenant_files` matches now, and the files of secrets, certificates, the proxy
    and the private CA. A federated token is read for each use, and its file changes every hour or so. The web
    configuration is watched by the web server itself.
    """
    files: dict[Path, None] = dict.fromkeys(config.files)
    for _, _, paths in tenant_files(config.config_file, config.root.tenant_files):
        files.update(dict.fromkeys(paths))
    for path in (config.http.proxy_file, config.http.ca_file):
        if path is not None:
            files[path] = None
    for tenant in config.configured:
        files.update(dict.fromkeys(path for path in tenant.auth.files if path != tenant.auth.federated_token_file))
    return tuple(files)


class _Loading:
    """One pass over all sources; collects the errors on the way."""

    def __init__(self, flags: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._notices: list[str] = []
        self._files: list[Path] = []
        by_flag, by_variable = from_flags(flags), from_environment(environ)
        self.errors: list[str] = [*by_flag.errors, *by_variable.errors]
        origins = by_variable.origins | by_flag.origins
        above = overlay(by_variable.data, by_flag.data)
        config = above.get("config")
        file = config.get("file") if isinstance(config, dict) else None
        # Whether some tenants are not known because of an error: then it is no error that there are none.
        self._broken = bool(_TENANTS & (by_flag.unread | by_variable.unread))
        data = self._file(Path(file)) if isinstance(file, str) else {}
        self._places = Places(file if isinstance(file, str) else _NO_FILE, origins)
        self._data = overlay(data, above)

    def _file(self, path: Path) -> dict[str, Any]:
        """Return what the configuration file sets."""
        self._files.append(path)
        data = self._mapping(path, "write lines of key: value, as docs/configuration.md shows")
        for name in sorted(NOT_IN_FILE & data.keys()):
            names = [one.flag for one in settings() if one.path[0] == name and one.has_flag]
            self.errors.append(sentence(f"{path}:{name}", "cannot be set in the file", f"use {', '.join(names)}"))
        data = {key: value for key, value in data.items() if value is not None and key not in NOT_IN_FILE}
        if isinstance(data.get("tenants"), list):
            data["tenants"] = self._rooted(data["tenants"], path)
        return rooted(data, path.parent)

    def _mapping(self, path: Path, fix: str) -> dict[str, Any]:
        document = read_yaml(path)
        self.errors += document.errors
        self._broken |= bool(document.errors)
        if isinstance(document.data, dict):
            return document.data
        if document.data is not None:
            self._broken = True
            self.errors.append(sentence(str(path), "is not a map", fix))
        return {}

    @staticmethod
    def _rooted(entries: list[Any], path: Path) -> list[Any]:
        return [rooted(entry, path.parent) if isinstance(entry, dict) else entry for entry in entries]

    def config(self, *, need_tenants: bool) -> Config:
        """Return the configuration; where `errors` is not empty, it must not be used."""
        top = self._top()
        own = (Entry(self._places, index, raw) for index, raw in enumerate(top.root.tenants))
        entries = [*own, *self._file_entries(top)]
        if entries:
            self._ignore_azure()
        else:
            top, entries = self._azure(top)
        resolver = Resolver(top)
        resolved = [resolver.resolve(entry) for entry in entries]
        self.errors += resolver.errors
        if not entries and not self._broken:
            self._without_tenants(top, is_error=need_tenants)
        tenants = tuple(tenant for tenant in resolved if tenant is not None)
        self._warn_of_beta(tenants)
        # The tenants as they are written hold secrets, and are of no more use.
        root = self._with_proxy(top.root).model_copy(update={"tenants": ()})
        return Config(root, tenants, tuple(self._files), tuple(self._notices))

    def _without_tenants(self, top: Top, *, is_error: bool) -> None:
        finding = version_finding(top.root.cloud, top.root.report)
        if finding is not None:
            self.errors.append(self._places.line(finding))
        if is_error and top.root.tenant_files:
            fix = "check the globs, which are relative to the folder of the configuration file"
            self.errors.append(sentence(self._places.at(("tenant_files",)), "these files contain no tenant", fix))
        elif is_error:
            self.errors.append(sentence(self._places.at(("tenants",)), "no tenant is configured", _NO_TENANTS))

    def _top(self) -> Top:
        """Return the settings at the top; a wrong key holds its default from here on."""
        root, found = validated(Root, self._data)
        self.errors += [self._places.line(finding) for finding in found]
        wrong = frozenset(str(finding.path[0]) for finding in found)
        self._broken |= bool(_TENANTS & wrong)
        data = {key: value for key, value in self._data.items() if key not in wrong}
        return Top(root, data, self._places, wrong)

    def _file_entries(self, top: Top) -> Iterator[Entry]:
        """Yield the tenants of the tenant files."""
        for pattern, has_match, paths in tenant_files(top.root.config.file, top.root.tenant_files):
            unlisted = _unlisted(top.root.config.file, pattern)
            if unlisted is not None:
                # Its tenants must not go as if they had been removed.
                self._broken = True
                folder, error = unlisted
                what = f"{folder} cannot be listed: {error.strerror}"
                self.errors.append(sentence(self._places.at(("tenant_files",)), what, "check the folder's permissions"))
            elif not has_match:
                self._notices.append(f"tenant_files: no file matches {pattern} yet")
            for path in paths:
                self._files.append(path)
                yield from self._entries_of(path)

    def _entries_of(self, path: Path) -> Iterator[Entry]:
        data = self._mapping(path, "write tenants: and the list below it")
        places = Places(str(path))
        for key in sorted(data.keys() - {"tenants"}):
            self._broken = True
            fix = "keep only tenants here; defaults belong in the configuration file"
            self.errors.append(sentence(places.at((key,)), "is not a key of a tenant file", fix))
        entries = data.get("tenants")
        if entries is None:
            return
        if not isinstance(entries, list):
            self._broken = True
            self.errors.append(sentence(places.at(("tenants",)), "is not a list", "put a dash before each tenant"))
            return
        for index, raw in enumerate(self._rooted(entries, path)):
            yield Entry(places, index, raw)

    def _ignore_azure(self) -> None:
        names = [name for name in (*azure.given(self._environ), azure.AUTHORITY_HOST) if self._environ.get(name)]
        if names:
            self._notices.append(f"{', '.join(names)} ignored: the configuration names its own tenants")

    def _azure(self, top: Top) -> tuple[Top, list[Entry]]:
        """Return the tenant of Microsoft's own variables, if they name one, and the top with its cloud."""
        if self._broken or not azure.defines_tenant(self._environ):
            return top, []
        places = Places(_NO_FILE, azure.origins(self._environ), azure.missing(self._environ))
        return self._azure_cloud(top), [Entry(places, 0, azure.tenant(self._environ))]

    def _azure_cloud(self, top: Top) -> Top:
        """Return the top with the cloud of AZURE_AUTHORITY_HOST, unless a variable of the exporter names one."""
        if "cloud" in top.wrong or any(path[0] == "cloud" for path in self._places.origins):
            return top
        try:
            cloud = azure.cloud(self._environ)
        except ValueError as error:
            self.errors.append(str(error))
            return top
        if cloud is None or cloud.authority == top.root.cloud.authority:
            return top
        if "cloud" in top.data:
            self._notices.append(f"{azure.AUTHORITY_HOST} sets the cloud {cloud.name}, which overrides the file")
        return replace(top, root=top.root.model_copy(update={"cloud": cloud}))

    def _warn_of_beta(self, tenants: tuple[Tenant, ...]) -> None:
        versions = Counter(one.report.api_version for one in tenants if one.enabled)
        if versions["beta"]:
            self._notices.append(
                f"{versions['beta']} of {versions.total()} tenants are read from Graph's beta, "
                "which Microsoft does not support in production and may change"
            )

    def _with_proxy(self, root: Root) -> Root:
        """Return the settings with the proxy's address from its file."""
        path = root.http.proxy_file
        if path is None:
            return root
        place = self._places.at(("http", "proxy_file"))
        try:
            address = read_value(path)
        except OSError as error:
            what, fix = f"cannot be read: {error.strerror}", "check the path and its permissions"
            self.errors.append(sentence(place, what, fix))
            return root
        except ValueError as error:
            self.errors.append(sentence(place, f"cannot be used: {error}", "write the proxy's address into it"))
            return root
        try:
            proxy = Http.model_validate({"proxy": address}).proxy
        except ValidationError as error:
            finding = findings(error, Http)[0]
            self.errors.append(sentence(place, f"its content {finding.what}", finding.fix))
            return root
        return root.model_copy(update={"http": root.http.model_copy(update={"proxy": proxy})})
