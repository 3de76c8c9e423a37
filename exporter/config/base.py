"""The base of every model and every type of setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting holds: for the reference, and for how its text in a variable is read.

    Attributes:
        name: for people: duration, text, path, …; "map" and "list" are given to variables as JSON.
        model: the keys that it may have, where it is a map that pydantic does not see as one.
    """

    name: str
    model: type[BaseModel] | None = None


class Settings(BaseModel):
    """What all blocks have in common: frozen, no unknown keys, no input in any message."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def setting(default: Any, help_: str, *, flag: bool = False, **bounds: Any) -> Any:
    """Return one setting's field; `flag` gives it a command line flag."""
    return Field(default, description=help_, json_schema_extra={"flag": flag}, **bounds)


def block(factory: type[BaseModel], help_: str) -> Any:
    """Return the field of a map of settings, which defaults to its own defaults."""
    return Field(default_factory=factory, description=help_)
