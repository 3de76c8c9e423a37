"""`healthcheck`: requests `/-/healthy` of the exporter with these flags and variables."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from exporter.cli.common import variables_of
from exporter.config import load
from exporter.config.errors import config_error
from exporter.config.types import split_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli import Arguments

_TIMEOUT = 3.0
_LOOPBACK = {"": None, "::": None, "0.0.0.0": "127.0.0.1"}  # noqa: S104 - not bound
"""How an exporter that listens everywhere is reached; None: by IPv6 or IPv4."""


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Ask once; return 0 if the exporter is healthy."""
    # Only what `--web.…` sets: a configuration file that is wrong at this moment says nothing about the process.
    flags = {path: value for path, value in arguments.flags.items() if path.startswith("web.")}
    web = load(flags, variables_of(environ, "web"), need_tenants=False).root.web
    written = web.listen_address[0]
    tcp = split_host(written)
    if tcp is not None and not int(tcp[1]):
        raise config_error("--web.listen-address", f"{written!r} lets the system choose the port", "name the port")
    try:
        status = _ask(written, quote(f"{web.prefix}/-/healthy"), may_be_tls=web.config.file is not None)
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"not healthy: {written} does not answer: {str(error) or type(error).__name__}\n")
        return 1
    if status not in (None, http.client.OK):
        sys.stderr.write(f"not healthy: {written} answers {web.prefix}/-/healthy with {status}\n")
        return 1
    sys.stdout.write(
        "healthy\n" if status else "healthy: it requires a client certificate, which this check does not have\n"
    )
    return 0


def _ask(written: str, path: str, *, may_be_tls: bool) -> int | None:
    """Return the status, or None where a handshake was refused by the server's own word."""
    if may_be_tls:
        try:
            return _ask_encrypted(written, path)
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):
                return None
            if error.reason not in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
                raise
    return _get(written, path)


def _ask_encrypted(written: str, path: str) -> int:
    # Any certificate is accepted: it has the name that others use, not that of this machine.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return _get(written, path, context)
    except (ssl.SSLEOFError, ConnectionError):
        # In TLS 1.3 a missing client certificate is refused after the handshake, and the alert can be lost.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return _get(written, path, context)


def _connect(written: str) -> socket.socket:
    tcp = split_host(written)
    if tcp is None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_TIMEOUT)
        connection.connect(written.removeprefix("unix:"))
        return connection
    return socket.create_connection((_LOOPBACK.get(tcp[0], tcp[0]), int(tcp[1])), _TIMEOUT)


def _get(written: str, path: str, context: ssl.SSLContext | None = None) -> int:
    with contextlib.closing(http.client.HTTPConnection("localhost")) as client:
        client.sock = _connect(written)
        if context is not None:
            client.sock = context.wrap_socket(client.sock)
        client.request("GET", path, headers={"Connection": "close"})
        return client.getresponse().status
