"""File, environment and flags → a `Config`, or an error that lists every error."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from exporter.config.errors import NOT_IN_FILE, findings, sentence
from exporter.config.models import Http, Root
from exporter.config.settings import flags as known_flags
from exporter.config.sources import (
    AUTHORITY_HOST,
    NO_FILE,
    TENANT_NAME,
    Entry,
    Places,
    azure_cloud,
    azure_given,
    azure_tenant,
    from_outside,
    rooted,
)
from exporter.config.tenants import Resolver, Tenant, overlay, validated, version_finding
from exporter.config.yamlfile import read_yaml
from exporter.errors import ConfigError
from exporter.files import read_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_TENANTS: Final = frozenset({"tenants", "tenant_files"})
_NO_TENANTS: Final = (
    "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or give --config.file a file with "
    "tenants: [{tenant_id: …, client_id: …, auth: {client_secret_file: …}}]; `demo` needs no tenant"
)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without an error.

    Attributes:
        root: everything as it is set at the top, by whichever source; `http.proxy` holds its file's content too.
        configured: every tenant, in the order of the files.
        files: the configuration file and the tenant files that were read.
        notices: sentences for the log, once: nothing is wrong, but somebody may want to know.
    """

    root: Root
    configured: tuple[Tenant, ...]
    files: tuple[Path, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """The enabled tenants."""
        return tuple(tenant for tenant in self.configured if tenant.enabled)


def load(flags: Mapping[str, object], environ: Mapping[str, str], *, need_tenants: bool = True) -> Config:
    """Load the configuration; a flag overrides a variable, a variable the file, the file the default.

    Args:
        flags: what the command line gave, by `Setting.key`; None means not given.
        environ: the environment.
        need_tenants: whether it is an error that no tenant is named.

    Returns:
        The configuration. Files of credentials are not read here: see `check_offline` of cli.check.

    Raises:
        ConfigError: something is wrong; it lists every error, one line each, never with a secret.
    """
    loading = _Loading(flags, environ)
    config = loading.config(need_tenants=need_tenants)
    if loading.errors:
        raise ConfigError(tuple(dict.fromkeys(loading.errors)))
    return config


def watched(config: Config) -> tuple[Path, ...]:
    """Return every file whose change means a reload, each once.

    The configuration file, the files that `tenant_files` matches now, and the files of secrets, certificates, the proxy
    and the private CA. A federated token is read for each use, and its file changes every hour or so. The web
    configuration is watched by the web server itself.
    """
    files: dict[Path, None] = dict.fromkeys(config.files)
    for _, _, _, paths in _tenant_files(config.root):
        files.update(dict.fromkeys(paths))
    files.update(
        dict.fromkeys(path for path in (config.root.http.proxy_file, config.root.http.ca_file) if path is not None)
    )
    for tenant in config.configured:
        files.update(dict.fromkeys(path for path in tenant.auth.files if path != tenant.auth.federated_token_file))
    return tuple(files)


def _tenant_files(root: Root) -> Iterator[tuple[str, OSError | None, bool, list[Path]]]:
    """Yield each glob of `tenant_files` with what it leads to.

    That is: why the folder that it begins in cannot be listed, if it is there and cannot; whether the glob matches
    anything; and the files that no glob before it matches, sorted.
    """
    file = root.config.file
    folder = file.parent if file is not None else Path()
    seen = set() if file is None else {os.path.realpath(file)}
    for pattern in root.tenant_files:
        unlisted = None
        try:
            os.scandir(folder / os.path.dirname(re.split(r"[*?[]", pattern, maxsplit=1)[0])).close()  # noqa: PTH120
        except (FileNotFoundError, NotADirectoryError, ValueError):
            pass
        except OSError as error:
            unlisted = error
        # Path.glob refuses absolute patterns; Path.resolve and Path.is_dir raise for links that lead nowhere.
        found = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207
        fresh = {os.path.realpath(folder / match): folder / match for match in sorted(found, reverse=True)}
        paths = sorted(path for real, path in fresh.items() if real not in seen and not os.path.isdir(real))  # noqa: PTH112
        seen.update(fresh)
        yield pattern, unlisted, bool(found), paths


class _Loading:
    """One pass over all sources; collects the errors on the way."""

    def __init__(self, flags: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._notices: list[str] = []
        self._files: list[Path] = []
        above = from_outside(flags, environ)
        self.errors: list[str] = above.errors
        # Whether some tenants are not known because of an error: then it is no error that there are none.
        self._broken = bool(_TENANTS & above.unread)
        config = above.data.get("config")
        file = config.get("file") if isinstance(config, dict) else None
        data = self._file(Path(file)) if isinstance(file, str) else {}
        self._places = Places(file if isinstance(file, str) else NO_FILE, above.origins)
        self._data = overlay(data, above.data)

    def _file(self, path: Path) -> dict[str, Any]:
        """Return what the configuration file sets."""
        data = self._mapping(path, "write lines of key: value, as docs/configuration.md shows")
        for name in sorted(NOT_IN_FILE & data.keys()):
            names = [one.flag for one in known_flags() if one.path[0] == name]
            self.errors.append(sentence(f"{path}:{name}", "cannot be set in the file", f"use {', '.join(names)}"))
        return {key: value for key, value in data.items() if value is not None and key not in NOT_IN_FILE}

    def _mapping(self, path: Path, fix: str) -> dict[str, Any]:
        self._files.append(path)
        data, errors = read_yaml(path)
        if data is not None and not isinstance(data, dict):
            errors = (*errors, sentence(str(path), "is not a map", fix))
        self.errors += errors
        self._broken |= bool(errors)
        return rooted(data, path.parent) if isinstance(data, dict) else {}

    def config(self, *, need_tenants: bool) -> Config:
        """Return the configuration; where `errors` is not empty, it must not be used."""
        root, found = validated(Root, self._data)
        self.errors += [self._places.line(finding) for finding in found]
        wrong = frozenset(Root.model_fields) & {str(finding.path[0]) for finding in found}
        self._broken |= bool(_TENANTS & wrong)
        entries = [Entry(self._places, index, raw) for index, raw in enumerate(root.tenants)]
        entries += self._file_entries(root)
        azure = azure_given(self._environ)
        if entries:
            names = [name for name in (*azure, AUTHORITY_HOST) if self._environ.get(name)]
            if names:
                self._notices.append(f"{', '.join(names)} ignored: the configuration names its own tenants")
        elif not self._broken and set(azure) - {TENANT_NAME}:  # a label alone defines no tenant
            entries = [azure_tenant(self._environ)]
            if "cloud" not in wrong and not any(path[0] == "cloud" for path in self._places.origins):
                root = self._with_azure_cloud(root)
        resolver = Resolver(root, self._places, wrong)
        resolved = [resolver.resolve(entry) for entry in entries]
        self.errors += resolver.errors
        if not entries and not self._broken:
            self._without_tenants(root, is_error=need_tenants)
        tenants = tuple(tenant for tenant in resolved if tenant is not None)
        self._notice_of([tenant for tenant in tenants if tenant.enabled])
        # The tenants as they are written hold secrets, and are of no more use.
        root = self._with_proxy(root).model_copy(update={"tenants": ()})
        return Config(root, tenants, tuple(self._files), tuple(self._notices))

    def _file_entries(self, root: Root) -> Iterator[Entry]:
        """Yield the tenants of the tenant files."""
        for pattern, unlisted, has_match, paths in _tenant_files(root):
            if unlisted is not None:
                # Its tenants must not go as if they had been removed.
                self._broken = True
                what = f"{unlisted.filename} cannot be listed: {unlisted.strerror}"
                self.errors.append(sentence(self._places.at(("tenant_files",)), what, "check the folder's permissions"))
            elif not has_match:
                self._notices.append(f"tenant_files: no file matches {pattern} yet")
            for path in paths:
                yield from self._entries_of(path)

    def _entries_of(self, path: Path) -> Iterator[Entry]:
        data = self._mapping(path, "write tenants: and the list below it")
        places = Places(str(path))
        entries = data.pop("tenants", None)
        for key in sorted(data):
            self._broken = True
            fix = "keep only tenants here; defaults belong in the configuration file"
            self.errors.append(sentence(places.at((key,)), "is not a key of a tenant file", fix))
        if entries is not None and not isinstance(entries, list):
            self._broken = True
            self.errors.append(sentence(places.at(("tenants",)), "is not a list", "put a dash before each tenant"))
            return
        for index, raw in enumerate(entries or ()):
            yield Entry(places, index, raw)

    def _with_azure_cloud(self, root: Root) -> Root:
        try:
            cloud = azure_cloud(self._environ)
        except ValueError as error:
            self.errors.append(str(error))
            return root
        if cloud is None or cloud.authority == root.cloud.authority:
            return root
        if "cloud" in root.model_fields_set:
            self._notices.append(f"{AUTHORITY_HOST} sets the cloud {cloud.name}, which overrides the file")
        return root.model_copy(update={"cloud": cloud})

    def _without_tenants(self, root: Root, *, is_error: bool) -> None:
        finding = version_finding(root.cloud, root.report)
        if finding is not None:
            self.errors.append(self._places.line(finding))
        if is_error and root.tenant_files:
            fix = "check the globs, which are relative to the folder of the configuration file"
            self.errors.append(sentence(self._places.at(("tenant_files",)), "these files contain no tenant", fix))
        elif is_error:
            self.errors.append(sentence(self._places.at(("tenants",)), "no tenant is configured", _NO_TENANTS))

    def _notice_of(self, enabled: list[Tenant]) -> None:
        """Notice what is allowed, but may not be meant."""
        rare = [one for one in enabled if one.poll.schedule is None and one.report.max_age < one.poll.interval]
        if rare:
            self._notices.append(
                f"{len(rare)} of {len(enabled)} tenants have a report.max_age shorter than poll.interval: "
                "their gauges are withdrawn between two polls"
            )
        if in_beta := sum(one.api_version == "beta" for one in enabled):
            self._notices.append(
                f"{in_beta} of {len(enabled)} tenants are read from Graph's beta, "
                "which Microsoft does not support in production and may change"
            )

    def _with_proxy(self, root: Root) -> Root:
        """Return the settings with the proxy's address from its file."""
        if root.http.proxy_file is None:
            return root
        place = self._places.at(("http", "proxy_file"))
        try:
            proxy = Http.model_validate({"proxy": read_value(root.http.proxy_file)}).proxy
        except OSError as error:
            what, fix = f"cannot be read: {error.strerror}", "check the path and its permissions"
        except ValidationError as error:
            finding = findings(error, Http)[0]
            what, fix = f"its content {finding.what}", finding.fix
        except ValueError as error:
            what, fix = f"cannot be used: {error}", "write the proxy's address into it"
        else:
            return root.model_copy(update={"http": root.http.model_copy(update={"proxy": proxy})})
        self.errors.append(sentence(place, what, fix))
        return root
