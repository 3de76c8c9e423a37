"""Variables, also those of Microsoft's SDKs, and flags → settings; and what the place of each setting is called."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from exporter.config.clouds import CLOUDS, Cloud
from exporter.config.errors import Finding, key_path, nearest, sentence
from exporter.config.settings import PREFIX, Setting, flags, settings
from exporter.config.types import split_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TENANT_NAME: Final = f"{PREFIX}TENANT_NAME"
NO_FILE: Final = "configuration"
"""What stands before the key in an error where nothing else does."""
AUTHORITY_HOST: Final = "AZURE_AUTHORITY_HOST"
_CHAIN: Final = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"
AZURE_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
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
"""The variables that define one tenant where nothing else does, each with the tenant's key that it sets.

https://learn.microsoft.com/python/api/overview/azure/identity-readme#environment-variables; AKS workload identity
injects the same: https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html
"""
_MISSING: Final = {
    "tenant_id": ("AZURE_TENANT_ID", "set it to the tenant's UUID, or one of its domains"),
    "client_id": ("AZURE_CLIENT_ID", "set it to the app registration's application (client) ID"),
    "auth": (
        "AZURE_CLIENT_SECRET",
        "set it to the client secret, or set AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE",
    ),
}
_BOOLEANS: Final = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
_SERVICE_LINK: Final = re.compile(r"(.+?)_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_\w+)?)")


@dataclass(frozen=True, slots=True)
class Places:
    """What the place of a key is called.

    Attributes:
        file: the file that everything comes from which has no other origin.
        origins: key path → the variable or flag that set it.
        missing: key of a tenant → what to say where it is missing, and how to fix it.
    """

    file: str
    origins: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    missing: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def at(self, path: Sequence[str | int]) -> str:
        """Return the place of a key: `file:key.path`, or the variable or flag that set it or what it stands in."""
        here = tuple(path)
        for length in range(len(here), 0, -1) if self.origins else ():
            label = self.origins.get(here[:length])
            if label:
                rest = here[length:]
                if not rest or (rest == (0,) and label.startswith("--")):
                    return label  # a flag that stands once needs no number
                return f"{label}{'' if isinstance(rest[0], int) else '.'}{key_path(rest)}"
        return f"{self.file}:{key_path(here)}" if here else self.file

    def line(self, finding: Finding, label: str = "") -> str:
        """Return a finding's line, with a tenant's label; keys that clash are called as the variables that set them."""
        what, fix, names = finding.what, finding.fix, []
        for key in finding.keys:
            if name := self.origins.get((*finding.path, key)):
                names.append(name)
                what, fix = (re.sub(rf"\b{key}\b", name, text) for text in (what, fix))
        place = ", ".join(names) or self.at(finding.path)
        return sentence(place, f"{what} (tenant {label})" if label else what, fix)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tenant as it is written, and where; `label` names it in errors."""

    places: Places
    index: int
    raw: Any
    label: str = ""

    def place(self, *keys: str) -> str:
        return self.places.at(("tenants", self.index, *keys))

    def line(self, finding: Finding) -> str:
        return self.places.line(finding._replace(path=("tenants", self.index, *finding.path)), self.label)


@dataclass(slots=True)
class Layer:
    """What variables and flags set.

    Attributes:
        data: the settings, nested as in the file.
        origins: where each of them comes from.
        unread: the keys at the top of which something could not be read.
        errors: what is wrong, one line each.
    """

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def put(self, path: tuple[str, ...], value: Any, label: str) -> None:
        data = self.data
        for step in path[:-1]:
            inner = data.get(step)
            if not isinstance(inner, dict):
                inner = data[step] = {}
            data = inner
        data[path[-1]] = value
        self.origins[path] = label

    def put_text(self, one: Setting, text: str, label: str) -> None:
        """Set a key from the text of a variable or flag; where it is not what it should be, the model says so later."""
        value: Any = text
        if one.kind == "list" and one.item and not text.lstrip().startswith("["):
            value = [text]  # one item may stand as it is
        elif one.kind in {"list", "map"} or (one.model is not None and text.lstrip().startswith("{")):
            try:
                value = json.loads(text, object_pairs_hook=_without_duplicates)
            except (ValueError, RecursionError) as error:
                what = "a key appears twice, or it is nested too deep"
                if isinstance(error, json.JSONDecodeError):
                    what = f"{error.msg}, at character {error.pos + 1}"
                example = '{"key": "value"}'
                if one.kind == "list":
                    example = '["one", "two"]' if one.item else '[{"tenant_id": "contoso.com"}]'
                self.unread.add(one.path[0])
                self.errors.append(sentence(label, f"is not JSON: {what}", f"write it as {example}"))
                return
        elif one.kind == "true or false":
            value = _BOOLEANS.get(text.lower(), text)
        elif one.kind.startswith("number"):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(text)
        self.put(one.path, value, label)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key appears twice")
    return result


def rooted(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the data of a file, its tenants included, with paths relative to its folder, as in Prometheus."""
    result = dict(data)
    if isinstance(entries := result.get("tenants"), list):
        result["tenants"] = [rooted(entry, folder) if isinstance(entry, dict) else entry for entry in entries]
    for name, key in _path_keys():
        inner = result.get(name)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and inner[key][:1] not in {"", "~"}:
            # The text remains text until it is checked.
            result[name] = inner | {key: os.path.join(folder, inner[key])}  # noqa: PTH118
    return result


@cache
def _path_keys() -> tuple[tuple[str, str], ...]:
    """Return the keys of a file that hold paths, each in its block."""
    paths = (one.path for one in settings() if one.kind == "path" and one.in_file)
    return tuple((block, key) for block, key in paths)


def from_outside(flags_given: Mapping[str, object], environ: Mapping[str, str]) -> Layer:
    """Return what the variables under our prefix set, and the flags on top of them.

    An empty variable counts as unset; a flag that was not given is None, an empty list, or missing.

    Raises:
        KeyError: no flag has this path.
    """
    layer = Layer()
    known = {one.variable: one for one in settings()}
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    # A block's JSON comes before its single keys, which lie on top of it.
    for name in sorted(given, key=lambda name: (name.count("__"), name)):
        if name in known:
            layer.put_text(known[name], given[name], name)
        elif name != TENANT_NAME and not _is_service_link(name, environ):
            # Without the prefix, which would make all of them alike.
            match = nearest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in (*known, TENANT_NAME)])
            fix = f"did you mean {PREFIX}{match}?" if match else "remove it; docs/configuration.md lists the known ones"
            layer.errors.append(sentence(name, "is not a known variable", fix))
    by_key = {one.key: one for one in flags()}
    for key, value in flags_given.items():
        one = by_key[key]
        if isinstance(value, str):
            layer.put_text(one, value, one.flag)
        elif value is not None and value != []:
            layer.put(one.path, value, one.flag)
    return layer


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes set this for a Service whose name begins like our prefix.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    match = _SERVICE_LINK.fullmatch(name)
    return match is not None and f"{match[1]}_SERVICE_HOST" in environ


def azure_given(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that would define a tenant and are set; an empty one counts as unset."""
    names = [name for name in AZURE_VARIABLES if environ.get(name)]
    # Microsoft's SDKs read it only where they have a certificate.
    if "AZURE_CLIENT_CERTIFICATE_PATH" not in names and _CHAIN in names:
        names.remove(_CHAIN)
    return tuple(names)


def azure_tenant(environ: Mapping[str, str]) -> Entry:
    """Return the tenant that the variables define; what is wrong or missing is called by the variables' names."""
    layer = Layer()
    given = azure_given(environ)
    for name in given:
        # As Microsoft's SDKs read it: whatever is not true is false.
        value = environ[name].lower() in {"true", "1"} if name == _CHAIN else environ[name]
        layer.put(AZURE_VARIABLES[name], value, name)
    secret = next((name for name in given if AZURE_VARIABLES[name][0] == "auth"), "AZURE_CLIENT_SECRET")
    paths: dict[tuple[str, ...], str] = {(): "AZURE_TENANT_ID", ("auth",): secret}
    paths |= {path: name for name, path in AZURE_VARIABLES.items()}
    missing = {key: ("is empty" if name in environ else "is not set", fix) for key, (name, fix) in _MISSING.items()}
    return Entry(Places(NO_FILE, {("tenants", 0, *path): name for path, name in paths.items()}, missing), 0, layer.data)


def azure_cloud(environ: Mapping[str, str]) -> Cloud | None:
    """Return the cloud that AZURE_AUTHORITY_HOST names, with or without scheme and slash; None where it is unset.

    It never means usgov-dod, whose login is that of usgov.

    Raises:
        ValueError: it names none that is known; the message is the error's line.
    """
    value = environ.get(AUTHORITY_HOST, "").strip()
    if not value:
        return None
    parts = split_url(value if "://" in value else f"https://{value}")
    if parts is not None and parts.scheme == "https" and parts.path in {"", "/"} and parts.port in {None, 443}:
        for cloud in CLOUDS.values():
            if cloud.authority == f"https://{parts.hostname}":
                return cloud
    hosts = ", ".join(dict.fromkeys(cloud.authority.removeprefix("https://") for cloud in CLOUDS.values()))
    fix = f"use one of {hosts}, or set OFFICE365_EXPORTER_CLOUD"
    raise ValueError(sentence(AUTHORITY_HOST, "is not the login of a known cloud", fix))
