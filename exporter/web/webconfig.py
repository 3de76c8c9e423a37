"""The web configuration file, as Prometheus' exporter-toolkit defines it.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md

What cannot be done here is refused by name, never ignored; `differences.py` says what and why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.web import tlsconfig
from exporter.web.security import Security
from exporter.web.yamlnodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from exporter.web.tlsconfig import Tls
    from exporter.web.yamlnodes import Node

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_HASH = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_BREAKS = re.compile(r"[\r\n]")
_ZERO = re.compile(r"[+-]?(?:0+|(?:0+(?:\.0*)?(?:ns|us|µs|ms|s|m|h))+)\Z")
_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """A web configuration file, read but for the certificates it names.

    Attributes:
        path: the file.
        tls: None for plain HTTP.
        headers: set on every response.
        users: bcrypt hashes by user name.
        remarks: what its writer should know, one sentence each.
    """

    path: Path
    tls: Tls | None
    headers: tuple[tuple[str, str], ...]
    users: Mapping[bytes, bytes] = field(repr=False)
    remarks: tuple[str, ...]

    def files(self) -> tuple[Path, ...]:
        """Return the files whose change matters."""
        pems = (self.tls.cert, self.tls.key, self.tls.client_ca) if self.tls else ()
        return (self.path, *(pem.file for pem in pems if pem.file is not None))


def parse(path: Path) -> WebConfig:
    """Read the file at `path`, but not yet the certificates that it names.

    Raises:
        ConfigError: it cannot be read, or breaks a rule of the toolkit or of the exporter; every error is listed.
    """
    nodes = Nodes(path)
    sections = nodes.mapping(nodes.read(), "", _SECTIONS)
    http = nodes.mapping(sections.get("http_server_config"), "http_server_config", ("http2", "headers"))
    http2 = nodes.flag(http.get("http2"), "http_server_config.http2", default=True)
    section = sections.get(tlsconfig.SECTION)
    tls = tlsconfig.parse(nodes, section, path.parent, http2=http2)
    headers = _headers(nodes, http.get("headers"))
    users = _users(nodes, sections.get("basic_auth_users"))
    _no_rate_limit(nodes, sections.get("rate_limit"))
    nodes.check()
    remarks = _remarks(tls, written=not nodes.is_null(section), http2=http2 and "http2" in http)
    return WebConfig(path, tls, headers, users, remarks)


def load(config: WebConfig) -> Security:
    """Return what `config` comes to, its certificates read.

    Raises:
        ConfigError: a certificate or key cannot be read or used.
    """
    if config.tls is None:
        return Security(headers=config.headers, users=config.users)
    from exporter.web import tls  # noqa: PLC0415 - only where TLS is

    context = tls.context(config.tls, config.path)
    return Security(context, config.tls.client_allowed_sans, config.headers, config.users)


def check(path: Path) -> None:
    """Check the web configuration file at `path` as a start would.

    Raises:
        ConfigError: it cannot be used.
    """
    load(parse(path))


def _headers(nodes: Nodes, node: Node) -> tuple[tuple[str, str], ...]:
    section = "http_server_config.headers"
    headers = []
    for name, value in nodes.mapping(node, section, tuple(_HEADERS)).items():
        where = f"{section}.{name}"
        # As Go does: a value folded over several lines becomes one.
        text = _LINE_BREAKS.sub(" ", nodes.text(value, where)).strip()
        allowed = _HEADERS[name]
        if allowed and text not in allowed:
            nodes.error(where, f"must be {' or '.join(allowed)}")
        elif _CONTROL.search(text):
            nodes.error(where, "holds a control character; remove it")
        elif text:
            headers.append((name, text))
    return tuple(headers)


def _users(nodes: Nodes, node: Node) -> dict[bytes, bytes]:
    users = {}
    for name, value in nodes.mapping(node, "basic_auth_users").items():
        where = f"basic_auth_users.{name}"
        written = nodes.text(value, where)
        if _HASH.match(written):
            users[name.encode()] = written.encode("ascii")
        else:
            nodes.error(
                where,
                "is not a bcrypt hash ($2a$, $2b$ or $2y$, cost 04 to 31, 60 characters): "
                "make one with htpasswd -nBC 10",
            )
    return users


def _no_rate_limit(nodes: Nodes, node: Node) -> None:
    keys = nodes.mapping(node, "rate_limit", ("interval", "burst"))
    burst, interval = (nodes.text(keys.get(key), f"rate_limit.{key}") for key in ("burst", "interval"))
    if not nodes.is_null(keys.get("burst")) and not _INTEGER.match(burst):
        nodes.error("rate_limit.burst", "must be a whole number")
    if not nodes.is_null(keys.get("interval")) and not _ZERO.match(interval):
        nodes.error("rate_limit.interval", "rate limits cannot be done here: remove the section")


def _remarks(tls: Tls | None, *, written: bool, http2: bool) -> tuple[str, ...]:
    remarks = []
    if tls is None and written:
        remarks.append("tls_server_config names no certificate: TLS is off, as in the exporter-toolkit")
    if tls is not None and http2:
        remarks.append("http2: true is accepted, and served as HTTP/1.1")
    if tls is not None and tls.client_auth_type == "RequestClientCert":
        remarks.append("client_auth_type RequestClientCert is accepted, and no certificate is asked for")
    return tuple(remarks)
