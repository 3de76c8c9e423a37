"""One YAML file → plain data, by a safe loader that refuses duplicate keys, deep nesting and alias bombs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.composer import Composer

from exporter.config.errors import findings, key_path, sentence
from exporter.errors import ConfigError
from exporter.files import MIB, read_file

if TYPE_CHECKING:
    from pathlib import Path

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES: Final = 64 * MIB
_MAX_DEPTH: Final = 32
_MAX_VALUES: Final = 10_000_000
_TAG: Final = "tag:yaml.org,2002:"
_BOM: Final = "\ufeff"
_QUOTED: Final = re.compile(r"'[^'<>]{2,}'|\"[^\"]{2,}\"")


class Document(NamedTuple):
    """What a file holds, and what is wrong with it, one line each; `data` is None where it could not be read at all."""

    data: Any
    errors: tuple[str, ...]


def read_yaml(path: Path, *, limit: int = MAX_BYTES, only_text: bool = False) -> Document:
    """Read one YAML (or JSON) file; that it cannot be read is one of the errors, which never hold a value.

    Args:
        path: the file.
        limit: the most bytes that it may hold.
        only_text: every plain value remains text, as where Go reads one into a string; nothing remains None.
    """
    try:
        text = read_file(path, limit).decode()
    except OSError as error:
        what, fix = f"cannot be read: {error.strerror}", "check the path, the file and its permissions"
        return Document(None, (sentence(str(path), what, fix),))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Document(None, (sentence(f"{path}:{line}", "is not UTF-8", "save the file as UTF-8"),))
    return parse_yaml(text, str(path), only_text=only_text)


def parse_file(model: type[Model], path: Path, *, limit: int, only_text: bool = False) -> Model:
    """Return what one YAML file holds, as a model; an empty file has the model's defaults.

    Raises:
        ConfigError: it cannot be read or is not what the model says; all errors are listed, never with a value.
    """
    data, errors = read_yaml(path, limit=limit, only_text=only_text)
    if data is not None and not isinstance(data, dict):
        errors = (*errors, sentence(str(path), "is not a map", "write lines of key: value"))
    try:
        result = model.model_validate(data if isinstance(data, dict) else {})
    except ValidationError as error:
        found = findings(error, model)
        raise ConfigError(
            (*errors, *(sentence(f"{path}:{key_path((*one.path, *one.keys[:1]))}", one.what, one.fix) for one in found))
        ) from None
    if errors:
        raise ConfigError(errors)
    return result


def parse_yaml(text: str, where: str, *, only_text: bool = False) -> Document:
    """Read one YAML text; `where` is its name in the errors."""
    data = None
    loader = _Loader(text.removeprefix(_BOM), where, only_text=only_text)
    try:
        data = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        written = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
        loader.errors.append(sentence(place, *_explain(error, written)))
    except yaml.YAMLError:
        what = "contains a character that YAML does not allow"
        loader.errors.append(sentence(where, what, "save it as plain UTF-8 text"))
    finally:
        loader.dispose()
    return Document(data, tuple(loader.errors))


def _explain(error: yaml.MarkedYAMLError, line: str) -> tuple[str, str]:
    """Return PyYAML's complaint about a line, without the words of the text that it may quote, and the fix."""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab indents this line", "indent with spaces"
    if isinstance(error, _RefusedError):
        return str(error.problem), str(error.note)
    problem = error.problem or "a syntax error"
    if "expected a single document" in (error.context or ""):
        return "contains more than one document", "keep what is before the second ---"
    if "could not determine a constructor" in problem:
        return "has a YAML tag, which is not supported here", "remove the word with the exclamation mark"
    return f"is not YAML: {_QUOTED.sub('…', problem)}", "correct the indentation, quotes or brackets just before it"


class _RefusedError(yaml.MarkedYAMLError):
    """Something that YAML allows and this loader does not."""

    def __init__(self, what: str, fix: str, mark: Any) -> None:
        super().__init__(problem=what, problem_mark=mark, note=fix)


# The C parser is faster, but its composer has no place for a bound; some builds of PyYAML lack it.
_BASES: Any = (Composer, yaml.CSafeLoader) if yaml.__with_libyaml__ else (yaml.SafeLoader,)


class _Loader(*_BASES):  # type: ignore[misc]  # what it is made of depends on the build
    """The safe loader, with a path for every node and bounds; see `read_yaml`."""

    def __init__(self, text: str, where: str, *, only_text: bool) -> None:
        _BASES[-1].__init__(self, text)
        self.anchors: dict[str, yaml.Node] = {}
        self.errors: list[str] = []
        self._where = where
        self._only_text = only_text
        self._path: list[str | int] = []
        self._values = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Compose a node within the bounds; `index` is its place in a list, or its key's node."""
        event = self.peek_event()
        if len(self._path) > _MAX_DEPTH:
            what = f"is nested more than {_MAX_DEPTH} levels deep"
            raise _RefusedError(what, "no key needs more than a few", event.start_mark)
        before = self._values
        self._values += 1
        if parent is not None:
            self._path.append(str(index.value) if isinstance(index, yaml.Node) else "?" if index is None else index)
        node: yaml.Node = super().compose_node(parent, index)
        if parent is not None:
            self._path.pop()
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                what = "refers to an anchor that contains it"
                raise _RefusedError(what, "define the &anchor before it", event.start_mark)
            self._values += self._sizes[node]
        elif event.anchor is not None:
            self._sizes[node] = self._values - before
        if self._values > _MAX_VALUES:
            what = f"expands to more than {_MAX_VALUES:,} values"
            raise _RefusedError(what, "use fewer anchors, or more files", event.start_mark)
        return node

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Compose a map, all of whose keys are text and stand once."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        kept = []
        for key, value in node.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _RefusedError("a key is not text", "write it as one word", key.start_mark)
            if key.tag not in {f"{_TAG}str", f"{_TAG}merge"}:
                self._error("?", "a key is not text", "put the key in quotes")
            elif key.value in first and key.tag == f"{_TAG}str":
                what = f"the key appears twice, in lines {first[key.value]} and {at}"
                self._error(key.value, what, "keep one of the two")
            else:
                first[key.value] = at
                kept.append((key, value))
        node.value = kept
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Construct a value; one that does not exist, such as 2027-02-31, is an error."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, OverflowError, TypeError, AttributeError):
            fix = "correct it, or put it in quotes if it is text"
            raise _RefusedError("is not a valid number or date", fix, node.start_mark) from None

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        """Return the tag of a value without one."""
        tag = str(super().resolve(kind, value, implicit))
        plain = self._only_text and kind is yaml.ScalarNode and tag not in {f"{_TAG}null", f"{_TAG}merge"}
        # A lone = has a type of its own in YAML 1.1, which nobody means.
        return f"{_TAG}str" if plain or tag == f"{_TAG}value" else tag

    def _error(self, key: str, what: str, fix: str) -> None:
        self.errors.append(sentence(f"{self._where}:{key_path([*self._path, key])}", what, fix))
