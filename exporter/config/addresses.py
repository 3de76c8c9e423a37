"""Types of settings for addresses: https addresses, proxies, listen addresses, paths."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, SecretStr

from exporter.config.clouds import CLOUDS, CUSTOM, OTHER_NAMES, Cloud, custom
from exporter.config.errors import choose, rule
from exporter.config.fields import LABEL, Kind, Secret, Settings, Text, is_text

PROXY_FORM: Final = "write it as http://user:password@proxy.example.com:3128, with the password percent-encoded"
_SUFFIX: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\.{LABEL})+")
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})*")
# sun_path of unix(7), less the byte that ends it.
_LONGEST_SOCKET: Final = 107
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")


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


def _proxy(value: SecretStr) -> SecretStr:
    if not is_proxy(value.get_secret_value()):
        raise rule("is not the address of a proxy", PROXY_FORM)
    return value


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


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536


def split_host(value: str) -> tuple[str, str] | None:
    """Return host and port of `host:port`, `[::1]:port` or `:port`, without the brackets; None for everything else."""
    host, colon, port = value.rpartition(":")
    if not colon or not is_port(port):
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


HttpsAddress = Annotated[Text, AfterValidator(_https), Kind("https address")]
ProxyAddress = Annotated[Secret, AfterValidator(_proxy), Kind("secret")]
ExternalUrl = Annotated[Text, AfterValidator(_external_url), Kind("web address")]
RoutePrefix = Annotated[str, Field(strict=True), AfterValidator(_route_prefix), Kind("path of a URL")]
TelemetryPath = Annotated[Text, AfterValidator(_telemetry_path), Kind("path of a URL")]
ListenAddress = Annotated[Text, AfterValidator(_listen_address), Kind("text")]
DownloadHost = Annotated[Text, AfterValidator(_download_host), Kind("text")]


class CustomCloud(Settings):
    """A pair of addresses in place of a cloud's name."""

    authority: HttpsAddress = Field(description="the login's address")
    graph: HttpsAddress = Field(description="Graph's address")


def _cloud(value: object) -> Cloud:
    if isinstance(value, str) and value in CLOUDS:
        return CLOUDS[value]
    if isinstance(value, dict):
        pair = CustomCloud.model_validate(value)
        return custom(pair.authority, pair.graph)
    fix = "write global, or {authority: …, graph: …}"
    if isinstance(value, str):
        known = OTHER_NAMES.get(value.lower())
        fix = f"write {known}, the name of this login's cloud" if known else choose(value, tuple(CLOUDS))
    raise rule(f"is not one of {', '.join(CLOUDS)}, nor a pair of addresses", fix)


def print_cloud(cloud: Cloud) -> Any:
    """Return a cloud as it is written in a file: its name, or its pair of addresses."""
    return {"authority": cloud.authority, "graph": cloud.graph} if cloud.name == CUSTOM else cloud.name


CloudChoice = Annotated[Cloud, PlainValidator(_cloud), PlainSerializer(print_cloud), Kind("name or map", CustomCloud)]
