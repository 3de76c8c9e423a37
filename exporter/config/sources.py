"""The sources of settings: file, tenant files, environment and flags, and where each value came from."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from exporter.config.errors import NOT_IN_FILE, Finding, key_path, nearest, sentence
from exporter.config.settings import PREFIX, Setting, settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TENANT_NAME: Final = f"{PREFIX}TENANT_NAME"
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
                return label + _rest(label, here[length:])
        return f"{self.file}:{key_path(here)}" if here else self.file

    def line(self, finding: Finding, label: str = "") -> str:
        """Return a finding's line: keys that clash are called as the variables or flags that set them.

        Args:
            finding: what is wrong, where.
            label: whose tenant it is.
        """
        what, fix, names = finding.what, finding.fix, []
        for key in finding.keys:
            if name := self.origins.get((*finding.path, key)):
                names.append(name)
                what, fix = (re.sub(rf"\b{key}\b", name, text) for text in (what, fix))
        place = ", ".join(names) or self.at(finding.path)
        return sentence(place, f"{what} (tenant {label})" if label else what, fix)


def _rest(label: str, path: tuple[str | int, ...]) -> str:
    """Return what follows the name of a variable or flag; a flag that stands once needs no number."""
    if not path or (path == (0,) and label.startswith("--")):
        return ""
    text = key_path(path)
    return text if text.startswith("[") else f".{text}"


@dataclass(slots=True)
class Layer:
    """What one source sets.

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


def rooted(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the data of a file, or one entry of its tenants, with paths relative to its folder, as in Prometheus."""
    result = dict(data)
    for name, key in _path_keys():
        inner = result.get(name)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and inner[key][:1] not in {"", "~"}:
            # The text remains text until it is checked.
            result[name] = inner | {key: os.path.join(folder, inner[key])}  # noqa: PTH118
    return result


@cache
def _path_keys() -> tuple[tuple[str, str], ...]:
    """Return the keys of a file that hold paths, each in its block."""
    paths = (one.path for one in settings() if one.kind == "path" and one.path[0] not in NOT_IN_FILE)
    return tuple((block, key) for block, key in paths)


def from_environment(environ: Mapping[str, str]) -> Layer:
    """Return what the variables under our prefix set; an empty variable counts as unset."""
    layer = Layer()
    known = {one.variable: one for one in settings()}
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    # A block's JSON comes before its single keys, which lie on top of it.
    for name in sorted(given, key=lambda name: (name.count("__"), name)):
        if name in known:
            _put(layer, known[name], given[name], name)
        elif name != TENANT_NAME and not _is_service_link(name, environ):
            layer.errors.append(_unknown_variable(name, known))
    return layer


def _unknown_variable(name: str, known: Mapping[str, Setting]) -> str:
    # Without the prefix, which would make all of them alike.
    match = nearest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in (*known, TENANT_NAME)])
    fix = f"did you mean {PREFIX}{match}?" if match else "remove it; docs/configuration.md lists the known ones"
    return sentence(name, "is not a known variable", fix)


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes set this for a Service whose name begins like our prefix.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    match = _SERVICE_LINK.fullmatch(name)
    return match is not None and f"{match[1]}_SERVICE_HOST" in environ


def from_flags(flags: Mapping[str, object]) -> Layer:
    """Return what the command line sets; a flag that was not given is None or missing.

    Raises:
        KeyError: no flag has this path.
    """
    layer = Layer()
    known = {one.key: one for one in settings() if one.has_flag}
    for path, value in flags.items():
        one = known[path]
        if isinstance(value, str):
            _put(layer, one, value, one.flag)
        elif isinstance(value, (list, tuple)):
            if value:
                layer.put(one.path, list(value), one.flag)
        elif value is not None:
            layer.put(one.path, value, one.flag)
    return layer


def _put(layer: Layer, one: Setting, text: str, label: str) -> None:
    """Set a key from the text of a variable or flag."""
    try:
        layer.put(one.path, _value(one, text), label)
    except _JsonError as error:
        layer.unread.add(one.path[0])
        layer.errors.append(sentence(label, f"is not JSON: {error}", f"write it as {error.example}"))


class _JsonError(Exception):
    """This text should be JSON; `example` shows how it could look."""

    def __init__(self, what: str, example: str) -> None:
        super().__init__(what)
        self.example = example


def _value(one: Setting, text: str) -> Any:
    """Return the value that a text stands for; where it is not what it should be, the model says so later."""
    if one.kind == "list" and one.item and not text.lstrip().startswith("["):
        return [text]  # one item may stand as it is
    if one.kind == "list":
        return _json(text, '["one", "two"]' if one.item else '[{"tenant_id": "contoso.com"}]')
    if one.kind == "map" or (one.model is not None and text.lstrip().startswith("{")):
        return _json(text, '{"key": "value"}')
    if one.kind == "true or false":
        return _BOOLEANS.get(text.lower(), text)
    if one.kind.startswith("number"):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _json(text: str, example: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise _JsonError(f"{error.msg}, at character {error.pos + 1}", example) from None
    except (ValueError, RecursionError):
        raise _JsonError("a key appears twice, or it is nested too deep", example) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key appears twice")
    return result
