"""TLS of the web endpoints: contexts made from `tls_server_config`, handshakes, and the names of clients."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
import tempfile
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.config.errors import config_error
from exporter.files import MIB, read_file
from exporter.log import get_logger
from exporter.web.webconfig import CURVES, SUITES

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from exporter.errors import ConfigError
    from exporter.web.limits import Limits
    from exporter.web.webconfig import Tls

log = get_logger(__name__)

_VERSIONS: Mapping[str, ssl.TLSVersion] = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}


def server_context(tls: Tls, path: Path) -> ssl.SSLContext:
    """Return the context for `tls_server_config` of the web configuration file `path`.

    Raises:
        ConfigError: a certificate or key cannot be read, they do not belong together, or this Python cannot set
            the curve.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[tls.min_version]
    made.maximum_version = _VERSIONS[tls.max_version]
    made.set_alpn_protocols(["http/1.1"])
    made.sslobject_class = _AlertingSSLObject
    if not tls.prefer_server_cipher_suites:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    suites = [SUITES[suite] for suite in tls.cipher_suites if suite in SUITES]
    if suites:
        made.set_ciphers(":".join(suites))
    elif tls.cipher_suites:
        # Only suites of TLS 1.3 are named, so earlier versions have none.
        made.minimum_version = ssl.TLSVersion.TLSv1_3
    for curve in tls.curve_preferences[:1]:
        try:
            made.set_ecdh_curve(CURVES[curve])
        except (ssl.SSLError, ValueError):
            fix = "leave it out (OpenSSL's default is good), or use a newer Python"
            raise _error(path, "curve_preferences", f"this Python's ssl cannot set {curve}", fix) from None
    _load_identity(made, tls, path)
    if tls.verifies_clients:
        _verify_clients(made, tls, path)
    return made


class _AlertingSSLObject(ssl.SSLObject):
    """Sends the client the alert that says why its handshake fails.

    When a handshake fails, asyncio drops the alert that OpenSSL has written, and the client sees only the end of the
    connection (https://github.com/python/cpython/issues/98078). But asyncio does send it when a handshake needs to read
    more: so the first failure is reported as that, and raised when the handshake continues.
    """

    def do_handshake(self) -> None:
        """Continue the handshake with what has been received."""
        failure: ssl.SSLError | None = getattr(self, "_failure", None)
        if failure is not None:
            raise failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            self._failure = error
            _ON_FAILURE.get()(error)
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert must be sent first") from None


_ON_FAILURE: ContextVar[Callable[[ssl.SSLError], None]] = ContextVar("_ON_FAILURE")
"""Called when the handshake of the current connection fails; `shake_hands` sets it."""


async def shake_hands(
    protocol: asyncio.Protocol, sock: socket.socket, context: ssl.SSLContext, limits: Limits, client: str
) -> asyncio.Transport:
    """Do the handshake of a connection within `limits`, and return its transport; `client` is for the log.

    Raises:
        OSError: the handshake failed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def failed(error: ssl.SSLError) -> None:
        log.debug("a TLS handshake failed", client=client, reason=error.reason)
        if task is not None:
            loop.call_later(limits.linger, task.cancel)

    _ON_FAILURE.set(failed)
    times = {"ssl_handshake_timeout": limits.request, "ssl_shutdown_timeout": limits.linger}
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context, **times)
    return transport


def has_name(allowed: frozenset[str], certificate: Mapping[str, Any] | None) -> bool:
    """Return whether a client's certificate, from `getpeercert()`, has one of these names, character by character."""
    names = (certificate or {}).get("subjectAltName", ())
    return any(_written(kind, value) in allowed for kind, value in names)


def _written(kind: str, value: str) -> str | None:
    """Return a name as Go writes it; None for kinds that are not compared."""
    if kind == "IP Address":
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(value.strip())
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            return str(mapped or address)
        return None
    return value if kind in ("DNS", "email", "URI") else None


def _load_identity(made: ssl.SSLContext, tls: Tls, path: Path) -> None:
    (certificate, place), (key, place_of_key) = _read(tls, "cert", path), _read(tls, "key", path)
    try:
        with _as_file(certificate) as certfile, _as_file(key) as keyfile:
            made.load_cert_chain(certfile, keyfile, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        what = f"{place} and {place_of_key} cannot be used: {_why(error)}"
        raise _error(path, "cert", what, "use a certificate and its own key, both PEM") from None


def _verify_clients(made: ssl.SSLContext, tls: Tls, path: Path) -> None:
    # Whose names are checked must have a certificate.
    required = tls.client_auth_type == "RequireAndVerifyClientCert" or tls.client_allowed_sans is not None
    made.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # As in Go, any certificate in the bundle is trusted, self-signed or not.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not tls.client_ca and not tls.client_ca_file:
        made.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    certificates, place = _read(tls, "client_ca", path)
    try:
        with _as_file(certificates) as file:
            made.load_verify_locations(file)
    except (ssl.SSLError, OSError) as error:
        what = f"no certificate in {place}: {_why(error)}"
        raise _error(path, "client_ca", what, "name certificates in PEM") from None


def _read(tls: Tls, key: str, path: Path) -> tuple[bytes, str]:
    """Return a PEM, and where it stands."""
    name: str = getattr(tls, f"{key}_file")
    if not name:
        inline: str = getattr(tls, key)
        return inline.encode(), f"the inline {key}"
    file = path.parent / name
    try:
        return read_file(file, MIB), str(file)
    except OSError as error:
        fix = "check the path, the file and its permissions"
        raise _error(path, f"{key}_file", f"{file} cannot be read: {error.strerror}", fix) from error


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Yield the path of a file with this content: OpenSSL reads files, and a key should not be written to a disk."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
        with open(os.memfd_create("pem"), "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pem")
        path.touch(mode=0o600)
        path.write_bytes(content)
        yield str(path)


def _no_password() -> str:
    raise ValueError("the key has a password, which the web configuration cannot supply")


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "they do not belong together"
    if not isinstance(error, ssl.SSLError):
        return str(error)
    if error.library == "SSL" and reason:
        return f"OpenSSL refuses them ({reason})"  # for example a key that is too short
    return f"this is not a valid PEM file of that kind ({reason or 'unreadable'})"


def _error(path: Path, key: str, what: str, fix: str) -> ConfigError:
    return config_error(f"{path}:tls_server_config.{key}", what, fix)
