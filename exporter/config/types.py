"""Types of settings: the base of every block, and each kind of key with its check and its printed form."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    model_validator,
)

from exporter.config.errors import rule

if TYPE_CHECKING:
    from collections.abc import Callable

_UUID_FIX: Final = "write it as 00000000-0000-0000-0000-000000000000"
# Where Microsoft puts personal accounts; they have no such report.
# https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
PERSONAL_TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+")
PROXY_FORM: Final = "write it as http://user:password@proxy.example.com:3128, with the password percent-encoded"
_SUFFIX: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\.{_LABEL})+")
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# sun_path of unix(7), less the byte that ends it.
_LONGEST_SOCKET: Final = 107
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
SECRET: Final = "<secret>"  # noqa: S105 - what is printed in a secret's place
# Two ways to say one thing. A block takes one of them, and a layer on top that sets one silences the other below it;
# the first may be a default, so that the second is what holds where both have a value.
RIVALS: Final = (
    ("interval", "schedule"),
    ("proxy", "proxy_file"),
    ("certificate_password", "certificate_password_file"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting holds, for the reference and for how its text in a variable is read; see `Setting.kind`."""

    name: str
    model: type[BaseModel] | None = None
    """The keys that it may have, where it is a map that pydantic does not see as one."""


class Settings(BaseModel):
    """What all blocks have in common: frozen, no unknown keys, no input in any message."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="after")
    def _one_of_rivals(self) -> Self:
        for pair in RIVALS:
            if all(key in self.model_fields_set and getattr(self, key) is not None for key in pair):
                raise rule(f"sets both {pair[0]} and {pair[1]}", "keep one of them", *pair)
        return self


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


def must(holds: Callable[[Any], object], what: str, fix: str) -> AfterValidator:
    """Return a check; `what` is wrong with a value for which `holds` says no."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise rule(what, fix)
        return value

    return AfterValidator(check)


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


def _tenant_id(value: str) -> str:
    lower = value.lower()
    if lower == PERSONAL_TENANT:
        raise rule("is the tenant of personal Microsoft accounts", "use the tenant of a work or school organisation")
    if _UUID.fullmatch(lower) or _DOMAIN.fullmatch(lower):
        return lower
    raise rule("is neither a UUID nor a domain", f"{_UUID_FIX} or as contoso.onmicrosoft.com")


def _print_path(path: Path) -> str:
    # Printed for a file that may stand elsewhere, where a relative path would mean another file.
    return str(path.absolute())


def _print_proxy(url: SecretStr) -> str:
    text = url.get_secret_value()
    parts = urlsplit(text)
    if parts.password is None:
        return text
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:{SECRET}@{host}").geturl()


def split_url(value: str) -> SplitResult | None:
    """Return the parts of a URL that names a host and, if any, a port that exists; None for everything else."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    bad = any(character.isspace() or ord(character) < 32 for character in value)
    return parts if parts.hostname and not bad and is_text(value) else None


def _https(value: str) -> str:
    parts = split_url(value)
    if parts is None or parts.scheme != "https":
        raise rule("is not an https address", "write it as https://login.example.com")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise rule("contains more than scheme, host, port and path", "write it as https://login.example.com")
    return value.rstrip("/")


def is_proxy(url: str) -> bool:
    """Say whether a URL is a proxy's address and no more: its host would end at a `/`, `?` or `#` in the password."""
    parts = split_url(url)
    if parts is None or parts.scheme not in {"http", "https"} or parts.port == 0:
        return False
    return parts.path in {"", "/"} and not parts.query and not parts.fragment


def _external_url(value: str) -> str:
    parts = split_url(value)
    if parts is None or parts.scheme not in {"http", "https"} or "@" in parts.netloc or parts.query or parts.fragment:
        raise rule("is not a web address", "write it as https://example.com/path")
    if not unquote(parts.path).isprintable():
        raise rule("contains a control character", "write it as https://example.com/path")
    return value.rstrip("/")


def _route_prefix(value: str) -> str:
    trimmed = "/" + value.strip("/") if value.strip("/") else ""
    if trimmed and not _PREFIX.fullmatch(trimmed):
        raise rule("is not a URL path", "write it as /path")
    return trimmed


def _telemetry_path(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise rule("is not a URL path", "write it as /metrics")
    if unquote(value).startswith(("/-/", "/api/")):
        raise rule("is a path of another endpoint", "choose one outside /-/ and /api/")
    return value


def split_host(value: str) -> tuple[str, str] | None:
    """Return host and port of `host:port`, `[::1]:port` or `:port`, without the brackets; None for everything else."""
    host, colon, port = value.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    if not colon or not is_port:
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1].partition("%")[0])) and host[1:-1], port
        except ValueError:
            return None
    return (host, port) if not host or _HOST.fullmatch(host.lower()) else None


def _listen_address(value: str) -> str:
    if value.startswith("unix:"):
        path = value.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path or not is_text(path):
            raise rule("is not an absolute path of a Unix socket", "write it as unix:/run/x.sock")
        if len(path.encode()) > _LONGEST_SOCKET:
            raise rule(f"is longer than the {_LONGEST_SOCKET} bytes of a Unix socket's path", "choose a shorter one")
    elif split_host(value) is None:
        raise rule(
            "is not an address to listen on", "write it as :9365, 127.0.0.1:9365, [::1]:9365 or unix:/run/x.sock"
        )
    return value


def _download_host(value: str) -> str:
    lower = value.lower()
    if _SUFFIX.fullmatch(lower):
        return lower
    parts = split_host(lower)
    if parts is None or not parts[0] or parts[1] == "0":
        raise rule(
            "is neither a suffix nor host:port", "write .office.com for every host below it, or files.example.com:443"
        )
    return lower


Utf8 = Annotated[
    str,
    Field(strict=True),
    must(
        is_text,
        "contains half a character (a lone surrogate), which is not valid in UTF-8",
        "write the whole character",
    ),
]
Text = Annotated[Utf8, must(str.strip, "is empty", "write something, or leave the key out"), Kind("text")]
Name = Annotated[
    Text, must(lambda value: not _CONTROL.search(value), "contains a control character", "use printable characters")
]
Flag = Annotated[bool, Field(strict=True), Kind("true or false")]
Count = Annotated[int, Field(strict=True), Kind("number")]
Ratio = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False), Kind("number, or null")]
Price = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), Kind("number")]
Currency = Annotated[
    Text,
    must(_CURRENCY.fullmatch, "is not an ISO 4217 code", "write three capital letters, such as EUR"),
    Kind("currency"),
]
Day = Annotated[date, PlainValidator(_date), PlainSerializer(date.isoformat), Kind("date")]
FilePath = Annotated[Path, PlainValidator(_path), PlainSerializer(_print_path), Kind("path")]
Secret = Annotated[SecretStr, AfterValidator(_secret), PlainSerializer(lambda _: SECRET), Kind("secret")]
Uuid = Annotated[Text, AfterValidator(str.lower), must(_UUID.fullmatch, "is not a UUID", _UUID_FIX), Kind("UUID")]
TenantId = Annotated[Text, AfterValidator(_tenant_id), Kind("UUID or domain")]
HttpsAddress = Annotated[Text, AfterValidator(_https), Kind("https address")]
ProxyAddress = Annotated[
    Secret,
    must(lambda value: is_proxy(value.get_secret_value()), "is not the address of a proxy", PROXY_FORM),
    PlainSerializer(_print_proxy),
    Kind("secret"),
]
ExternalUrl = Annotated[Text, AfterValidator(_external_url), Kind("web address")]
RoutePrefix = Annotated[str, Field(strict=True), AfterValidator(_route_prefix), Kind("path of a URL")]
TelemetryPath = Annotated[Text, AfterValidator(_telemetry_path), Kind("path of a URL")]
ListenAddress = Annotated[Text, AfterValidator(_listen_address), Kind("text")]
DownloadHost = Annotated[Text, AfterValidator(_download_host), Kind("text")]
