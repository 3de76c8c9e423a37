"""One YAML text → plain data, without YAML's surprises.

Built from the parser's events rather than by PyYAML's own constructor, which keeps the last of two equal keys in
silence, follows deep nesting until the process crashes, and lets a few anchors stand for billions of values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from exporter.config.errors import key_path, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_DEPTH: Final = 32
_MAX_VALUES: Final = 10_000_000
_MERGE: Final = "tag:yaml.org,2002:merge"
_STR: Final = "tag:yaml.org,2002:str"
_SCALARS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp"))
_COLLECTIONS: Final = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
# The C parser is some twenty times as fast; a PyYAML built without it still works.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOM: Final = "\ufeff"


class Document(NamedTuple):
    """What a text holds, and what is wrong with it; `data` is None where it could not be read at all."""

    data: Any
    faults: tuple[str, ...]


class _StopError(Exception):
    """The text cannot be read on: where, what and the mend."""


def parse_yaml(text: str, where: str) -> Document:
    """Read one YAML (or JSON) text.

    Args:
        text: the text.
        where: its name in the faults.

    Returns:
        Its data as dicts with text keys, lists and scalars, and every fault found, one line each, never with a value.
    """
    loader = _LOADER(text.removeprefix(_BOM))
    builder = _Builder(loader, where)
    try:
        return Document(builder.document(), tuple(builder.faults))
    except _StopError as stop:
        return Document(None, (*builder.faults, str(stop)))
    except yaml.MarkedYAMLError as error:
        return Document(None, (*builder.faults, _syntax(error, where)))
    except yaml.YAMLError:
        fault = sentence(where, "holds a character that YAML forbids", "save it as plain UTF-8 text")
        return Document(None, (*builder.faults, fault))
    finally:
        loader.dispose()


def _syntax(error: yaml.MarkedYAMLError, where: str) -> str:
    """Return PyYAML's complaint with its place, without the words of the text that it may quote."""
    mark = error.problem_mark or error.context_mark
    place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
    problem = re.sub(r"'[^'<>]{2,}'|\"[^\"]{2,}\"", "…", error.problem or "a syntax error")
    return sentence(place, f"is not YAML: {problem}", "mend the indentation, quotes or brackets just before it")


class _Builder:
    """Builds the data of one document while the parser's events come in."""

    def __init__(self, loader: Any, where: str) -> None:
        self._loader = loader
        self._where = where
        self._next: Iterator[Any] = iter(loader.get_event, None)
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._path: list[str | int] = []
        self._values = 0
        self.faults: list[str] = []

    def document(self) -> Any:
        """Return the only document's data; None for an empty text."""
        next(self._next)  # the stream's start
        if isinstance(next(self._next), yaml.StreamEndEvent):
            return None
        data = self._value(next(self._next))
        next(self._next)  # the document's end
        if not isinstance(next(self._next), yaml.StreamEndEvent):
            raise self._stop("holds more than one document", "keep what stands before the second ---")
        return data

    def _stop(self, what: str, mend: str) -> _StopError:
        return _StopError(sentence(self._place(), what, mend))

    def _place(self) -> str:
        return f"{self._where}:{key_path(self._path)}" if self._path else self._where

    def _fault(self, what: str, mend: str) -> None:
        self.faults.append(sentence(self._place(), what, mend))

    def _value(self, event: Any) -> Any:
        self._count(1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._values
        data = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else self._collection(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (data, self._values - before + 1)
        return data

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > _MAX_VALUES:
            raise self._stop(f"stands for more than {_MAX_VALUES:,} values", "use fewer anchors, or more files")

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise self._stop("refers to an anchor that does not stand before it", "define the &anchor first")
        data, size = self._anchors[event.anchor]
        self._count(size)
        return data

    def _collection(self, event: Any) -> Any:
        if len(self._path) >= _MAX_DEPTH:
            raise self._stop(f"is nested more than {_MAX_DEPTH} levels deep", "no key needs more than a few")
        if event.tag not in _COLLECTIONS:
            raise self._stop("has a YAML tag that means nothing here", "remove the word with the exclamation mark")
        return self._sequence() if isinstance(event, yaml.SequenceStartEvent) else self._mapping()

    def _sequence(self) -> list[Any]:
        items: list[Any] = []
        self._path.append(0)
        for event in self._next:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            self._path[-1] = len(items)
            items.append(self._value(event))
        self._path.pop()
        return items

    def _mapping(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        self._path.append("?")
        for event in self._next:
            if isinstance(event, yaml.MappingEndEvent):
                break
            self._pair(event, own, merged)
        self._path.pop()
        return {**merged, **own} if merged else own

    def _pair(self, event: Any, own: dict[str, Any], merged: dict[str, Any]) -> None:
        self._path[-1] = "?"
        key = self._value(event)
        if _is_merge(event):
            self._merge(self._value(next(self._next)), merged)
            return
        if not isinstance(key, str):
            self._fault("a key is not text", "put the key in quotes")
            self._value(next(self._next))
            return
        self._path[-1] = key
        if key in own:
            line = event.start_mark.line + 1
            self._fault(f"the key stands twice, again in line {line}", "keep one of the two")
            self._value(next(self._next))
            return
        own[key] = self._value(next(self._next))

    def _merge(self, value: Any, merged: dict[str, Any]) -> None:
        """Add what `<<` names: the keys of one map or of several, the first of them winning."""
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                self._fault("<< takes a map or a list of maps", "write << with an alias of a map")
                return
            for key, inherited in source.items():
                merged.setdefault(key, inherited)

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag in {None, "!"}:
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit) if tag is None else _STR
        if tag in {_STR, _MERGE}:
            return event.value
        if tag not in _SCALARS:
            raise self._stop("has a YAML tag that means nothing here", "remove the word with the exclamation mark")
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, OverflowError, TypeError, AttributeError):
            self._fault("is no number or date that exists", "mend it, or put it in quotes if it is text")
            return None


def _is_merge(event: Any) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and (event.tag == _MERGE or (event.tag is None and event.implicit[0]))
    )
