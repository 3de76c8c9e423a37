"""What settings are made of: the base of every block, and the types of keys, each with its check and printed form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, SecretStr

from exporter.config.errors import rule

UUID_FIX: Final = "write it as 00000000-0000-0000-0000-000000000000"
# Where Microsoft puts personal accounts; they have no such report.
# https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
PERSONAL_TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})+")


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


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold this: JSON and YAML can carry a lone half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> str:
    if not is_text(value):
        raise rule(
            "contains half a character (a lone surrogate), which is not valid in UTF-8", "write the whole character"
        )
    if not value.strip():
        raise rule("is empty", "write something, or leave the key out")
    return value


def _name(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise rule("contains a control character", "use printable characters")
    return value


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise rule("is not a date", "write it as 2027-01-31")


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value or not is_text(value):
        raise rule("is not a file path", "write the path as text")
    if value.startswith("~"):
        raise rule("begins with ~, which only a shell replaces", "write the whole path")
    return Path(value)


def _secret(value: SecretStr) -> SecretStr:
    # As from a file: a line's end that comes with a variable, or with YAML's |, is no part of it.
    text = value.get_secret_value().strip()
    if not text or not is_text(text):
        raise rule("is empty or not text", "write the secret, or the path of its file under the key ending in _file")
    return SecretStr(text)


def _uuid(value: str) -> str:
    if not _UUID.fullmatch(value.lower()):
        raise rule("is not a UUID", UUID_FIX)
    return value.lower()


def _tenant_id(value: str) -> str:
    lower = value.lower()
    if lower == PERSONAL_TENANT:
        raise rule("is the tenant of personal Microsoft accounts", "use the tenant of a work or school organisation")
    if _UUID.fullmatch(lower) or _DOMAIN.fullmatch(lower):
        return lower
    raise rule("is neither a UUID nor a domain", f"{UUID_FIX} or as contoso.onmicrosoft.com")


def _currency(value: str) -> str:
    if not _CURRENCY.fullmatch(value):
        raise rule("is not an ISO 4217 code", "write three capital letters, such as EUR")
    return value


def _print_path(path: Path) -> str:
    # Printed for a file that may stand elsewhere, where a relative path would mean another file.
    return str(path.absolute())


Text = Annotated[str, Field(strict=True), AfterValidator(_text), Kind("text")]
Name = Annotated[Text, AfterValidator(_name)]
Flag = Annotated[bool, Field(strict=True), Kind("true or false")]
Count = Annotated[int, Field(strict=True), Kind("number")]
Ratio = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False), Kind("number, or null")]
Price = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), Kind("number")]
Currency = Annotated[Text, AfterValidator(_currency), Kind("currency")]
Day = Annotated[date, PlainValidator(_date), PlainSerializer(date.isoformat), Kind("date")]
FilePath = Annotated[Path, PlainValidator(_path), PlainSerializer(_print_path), Kind("path")]
Secret = Annotated[SecretStr, AfterValidator(_secret), Kind("secret")]
Uuid = Annotated[Text, AfterValidator(_uuid), Kind("UUID")]
TenantId = Annotated[Text, AfterValidator(_tenant_id), Kind("UUID or domain")]
