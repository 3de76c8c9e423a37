"""Errors of the configuration: pydantic's findings as sentences with file, key, rule and fix.

pydantic's messages and error objects hold the input, secrets included: only the location and the kind of an error are
taken from them. An error reads `file:key.path: what is wrong; how to fix it`.
"""

from __future__ import annotations

import difflib
import json
import re
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_PLAIN_KEY: Final = re.compile(r"http2|[A-Za-z_][A-Za-z_-]{0,39}")
# Maps whose keys are names of products: people need to see which one is meant, and their case does not matter.
PRODUCT_MAPS: Final = frozenset({"product_names", "product_types"})
_LONGEST_NAME: Final = 80
_RULE: Final = "rule"
# Set by flags and variables only: a file cannot say where it is, and the rest is the process's, not the reports'.
NOT_IN_FILE: Final = frozenset({"config", "web", "log"})
_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a fraction",
    date: "a date",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a map",
    type(None): "nothing",
}
# What pydantic wanted: our word for it, and what to write.
_WANTED: Final[Mapping[str, tuple[str, str]]] = {
    "string_type": ("text", "put it in quotes"),
    "int_type": ("a whole number", "write it in digits, without quotes"),
    "int_from_float": ("a whole number", "write it without a decimal point"),
    "float_type": ("a number", "write it in digits, without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", 'write it as ["one", "two"] or with a dash before each'),
    # As YAML and, in a variable, as JSON.
    "dict_type": ("a map", 'write it as {"key": "value"}'),
    "model_type": ("a map", 'write it as {"key": "value"}'),
}
_FIXED: Final[Mapping[str, tuple[str, str]]] = {
    "missing": ("is missing", "add it"),
    "too_short": ("is empty", "name at least one, or leave the key out"),
    "too_large": ("is too large", "write a smaller number"),
    "finite_number": ("is not a finite number", "write it in digits"),
}
# A bound of pydantic: its name among the error's details, what is wrong, and the fix.
_BOUNDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "greater_than": ("gt", "is not more than {}", "write more than {}"),
    "greater_than_equal": ("ge", "is less than {}", "write {} or more"),
    "less_than_equal": ("le", "is more than {}", "write {} or less"),
}


def sentence(place: str, what: str, fix: str) -> str:
    """Return one error's line."""
    return f"{place}: {what}; {fix}"


def config_error(place: str, what: str, fix: str) -> ConfigError:
    return ConfigError((sentence(place, what, fix),))


def rule(what: str, fix: str, *keys: str) -> PydanticCustomError:
    """Return the error by which a validator says that a rule is broken.

    Args:
        what: what is wrong, never with the value.
        fix: what to do about it.
        keys: the keys of the block that clash, where several do.
    """
    return PydanticCustomError(_RULE, "a rule is broken", {"what": what, "fix": fix, "keys": keys})


def key_path(path: Iterable[str | int]) -> str:
    """Return a path as people write it: `tenants[3].auth.client_secret`.

    A key that does not look like one may be a secret on the wrong side of a colon, and is shown as `?`, but for the
    names of products.
    """
    text = ""
    parent: str | int = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + _shown(step, named=parent in PRODUCT_MAPS)
        parent = step
    return text


def _shown(key: str, *, named: bool) -> str:
    if _PLAIN_KEY.fullmatch(key):
        return key
    return quoted(key) if named else "?"


def quoted(name: str) -> str:
    """Return the name of a product or tenant as one short line."""
    return json.dumps(name[:_LONGEST_NAME], ensure_ascii=not name.isprintable())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like this one, if any is."""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None


def choose(word: object, known: Sequence[str]) -> str:
    """Return the fix of a word that is not one of the known ones."""
    match = nearest(word, known) if isinstance(word, str) else None
    return f"did you mean {match}?" if match else f"write {one_of(known)}"


def one_of(words: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


class Finding(NamedTuple):
    """What is wrong at a path within some data, and how to fix it; `keys` are those below the path that clash."""

    path: tuple[str | int, ...]
    what: str
    fix: str
    keys: tuple[str, ...] = ()


def findings(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """Return what pydantic found, in our words and without any input; a misspelt key is offered the model's."""
    result: list[Finding] = []
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        if detail["type"] == "too_short" and any(path == other.path[:-1] for other in result):
            continue  # pydantic counts the good items only
        what, fix = _explain(detail, model)
        result.append(Finding(path, what, fix, detail.get("ctx", {}).get("keys", ())))
    return result


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == _RULE:
        return context["what"], context["fix"]
    if kind == "extra_forbidden":
        return "is not a known key", _unknown(detail["loc"], model)
    if kind == "float_type" and type(detail["input"]) is int:
        kind = "too_large"  # for a float
    if kind in _WANTED:
        wanted, fix = _WANTED[kind]
        return f"must be {wanted}, not {_KINDS.get(type(detail['input']), 'something else')}", fix
    if kind == "literal_error":
        known = tuple(re.findall(r"'([^']*)'", context["expected"]))
        return f"is not one of {', '.join(known)}", choose(detail["input"], known)
    if kind in _BOUNDS:
        bound, wrong, right = _BOUNDS[kind]
        return wrong.format(f"{context[bound]:g}"), right.format(f"{context[bound]:g}")
    return _FIXED.get(kind, (f"is not accepted ({kind.replace('_', ' ')})", "see docs/configuration.md"))


def _unknown(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    """Return the fix of an unknown key: one like it next to it, the same elsewhere in the model, or all next to it."""
    here = model
    for step in path[:-1]:
        field = here.model_fields.get(str(step))
        here = (field and model_in(field)) or here
    keys = [key for key in here.model_fields if len(path) > 1 or key not in NOT_IN_FILE]
    elsewhere = (known for known in _key_paths(model) if known.rpartition(".")[2] == path[-1])
    match = nearest(str(path[-1]), keys) or next(elsewhere, None)
    if match and match.partition(".")[0] in NOT_IN_FILE:
        return f"use --{match.replace('_', '-')}"
    if match:
        return f"did you mean {match}?"
    return f"remove it, or use one of {', '.join(keys)}" if keys else "remove it"


def _key_paths(model: type[BaseModel]) -> Iterator[str]:
    """Yield the dotted paths of the keys within a model's blocks."""
    for name, field in model.model_fields.items():
        if inner := model_in(field):
            yield from (f"{name}.{key}" for key in (*inner.model_fields, *_key_paths(inner)))


def model_in(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of the keys that a field may hold, if it has some."""
    marked = (getattr(mark, "model", None) for mark in field.metadata)
    return next(filter(None, marked), None) or next(_models_of(field.annotation), None)


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for arg in get_args(annotation):
        yield from _models_of(arg)
