"""Reads YAML node by node, as strictly as Go's yaml.v2 does.

The exporter-toolkit reads its file with Go's yaml.v2: unknown and repeated keys are errors, but any plain value will do
where a text is expected (`X-XSS-Protection: 1`).
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, TypeAlias

import yaml

from exporter.errors import ConfigError
from exporter.files import MIB, read_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

Node: TypeAlias = yaml.Node | None

_NULL = "tag:yaml.org,2002:null"
_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class Nodes:
    """The nodes of one file, and the errors found in it.

    Args:
        path: the file's, for the errors.

    Attributes:
        errors: one line each: `file:key.path: what is wrong; how to fix it`.
    """

    def __init__(self, path: Path) -> None:
        self.errors: list[str] = []
        self._path = path

    def read(self) -> Node:
        """Return the file's root; None if it is empty.

        Raises:
            ConfigError: the file cannot be read, is too large or is not YAML of one document.
        """
        try:
            content = read_file(self._path, MIB)
        except OSError as error:
            raise ConfigError((f"{self._path}: cannot be read: {error.strerror}",)) from error
        try:
            return yaml.compose(content, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise ConfigError((f"{self._path}: is not YAML: {_where(error)}",)) from None
        except (RecursionError, ValueError, OverflowError):
            raise ConfigError((f"{self._path}: is not YAML of a sensible shape",)) from None

    def error(self, where: str, sentence: str) -> None:
        """Note an error at the key path `where`."""
        self.errors.append(f"{self._path}:{where}: {sentence}" if where else f"{self._path}: {sentence}")

    @staticmethod
    def is_null(node: Node) -> bool:
        """Say whether a value is left out, or written down as none."""
        return node is None or node.tag == _NULL

    def mapping(self, node: Node, where: str, known: Collection[str] | None = None) -> dict[str, yaml.Node]:
        """Return a mapping's values by key; only `known` keys where that is given, and none twice."""
        if self.is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.error(where, "must be a mapping of keys to values")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key, where)
            path = f"{where}.{name}" if where else name
            if known is not None and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                self.error(path, "is not known" + (f"; did you mean {near[0]}?" if near else f"; {_one_of(known)}"))
            elif name in found:
                self.error(path, "is here twice; remove one")
            else:
                found[name] = value
        return found

    def text(self, node: Node, where: str) -> str:
        """Return a text; empty if it is left out."""
        if self.is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.error(where, "must be a text")
            return ""
        value = str(node.value)
        if _SURROGATE.search(value):
            self.error(where, "holds half a character (a lone surrogate)")
            return ""
        return value

    def texts(self, node: Node, where: str) -> tuple[str, ...] | None:
        """Return a list of texts; None if it is left out."""
        if self.is_null(node):
            return None
        if not isinstance(node, yaml.SequenceNode):
            self.error(where, "must be a list")
            return None
        return tuple(self.text(item, f"{where}[{index}]") for index, item in enumerate(node.value))

    def flag(self, node: Node, where: str, *, default: bool) -> bool:
        """Return a truth value."""
        if self.is_null(node):
            return default
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _TRUE | _FALSE:
            return node.value in _TRUE
        self.error(where, "must be true or false")
        return default

    def check(self) -> None:
        """Raise what was found.

        Raises:
            ConfigError: there are errors.
        """
        if self.errors:
            raise ConfigError(tuple(self.errors))


def _one_of(known: Collection[str]) -> str:
    return "known are " + ", ".join(known)


def _where(error: yaml.YAMLError) -> str:
    """Return what YAML says of an error, without the line's content, which may be a secret."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    problem = _QUOTED.sub("…", str(problem))
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else problem
