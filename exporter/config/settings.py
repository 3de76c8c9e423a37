"""The one table of settings, derived from the models: path, variable, flag, kind, default and help.

Variables, flags, the search for unknown variables and docs/configuration.md are all made from it.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from exporter.config.errors import NOT_IN_FILE, model_in
from exporter.config.models import Root
from exporter.config.types import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

PREFIX: Final = "OFFICE365_EXPORTER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        path: its keys from the top.
        kind: what it holds, for people: duration, text, path, …; "map" and "list" are given to variables as JSON.
        item: what a list holds; empty for everything else.
        default: as pydantic holds it; undefined for a block made of defaults.
        help: one line.
        flag: the command line flag that sets it; empty where there is none.
        model: the model of its own keys, where it is a block.
    """

    path: tuple[str, ...]
    kind: str
    item: str
    default: Any
    help: str
    flag: str
    model: type[BaseModel] | None

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def in_file(self) -> bool:
        return self.path[0] not in NOT_IN_FILE

    @property
    def variable(self) -> str:
        return PREFIX + "__".join(self.path).upper()


@cache
def settings(model: type[BaseModel] = Root) -> tuple[Setting, ...]:
    """Return every setting of a model, blocks before their keys, in the order of the models."""
    return tuple(_walk(model, ()))


def flags() -> tuple[Setting, ...]:
    """Return the settings that have a command line flag."""
    return tuple(one for one in settings() if one.flag)


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        kind, item, inner = _kind(field)
        extra = field.json_schema_extra
        flag = "--" + ".".join(here).replace("_", "-") if isinstance(extra, dict) and extra.get("flag") else ""
        yield Setting(here, kind, item, field.get_default(), field.description or "", flag, inner)
        if inner is not None:
            yield from _walk(inner, here)


def _kind(field: FieldInfo) -> tuple[str, str, type[BaseModel] | None]:
    """Return what a field holds, what the items of its list are, and the model of its keys if it has some."""
    for mark in reversed(field.metadata):
        if isinstance(mark, Kind):
            return mark.name, "", mark.model
    return (*_kind_of(field.annotation), model_in(field))


def _kind_of(annotation: Any) -> tuple[str, str]:
    """Return what an annotation holds, and what the items of its list are."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        marks = [mark.name for mark in args[1:] if isinstance(mark, Kind)]
        return (marks[-1], "") if marks else _kind_of(args[0])
    if origin in {Union, types.UnionType}:
        return _kind_of(args[0])
    if origin is Literal:
        return "one of " + ", ".join(args), ""
    if origin is tuple:
        return "list", _kind_of(args[0])[0]
    return "map", ""
