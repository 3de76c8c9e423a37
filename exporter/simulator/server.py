"""The simulation as a server: HTTP/1.1 over real TLS on loopback, a port for each of Microsoft's hosts."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from exporter.simulator.state import Call, Cloud

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from exporter.simulator.simulator import Simulator
    from exporter.simulator.state import Response

_ADDRESS = "127.0.0.1"
_POLL = 0.02
"""Seconds after which a port notices that it is to be closed."""

_AUTHORITY = "Simulation of Microsoft: authority"
_LIFETIME, _SKEW = timedelta(days=7), timedelta(hours=1)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after the other, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # that of a request line that is none: the 400 has a status line then
    disable_nagle_algorithm = True
    server: Port

    def do_GET(self) -> None:
        """Answer a request, whatever its method."""
        path, _, query = self.path.partition("?")
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        cloud, host = self.place(headers.get("host", ""))
        call = Call(
            simulation=owner.simulator,
            cloud=cloud,
            host=host,
            method=self.command,
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=headers,
            body=self.rfile.read(int(headers.get("content-length", "0"))),
            now=owner.now(),
        )
        self.send(owner.simulator.answer(call))

    do_POST = do_GET  # noqa: N815 - the name that http.server wants

    def place(self, _name: str) -> tuple[Cloud, str]:
        """Return the cloud and its host that answer a request with that Host header."""
        return self.server.owner.cloud, self.server.host

    def send(self, response: Response) -> None:
        if response.cut is not None:
            self.close_connection = True
        if response.cut != -1:
            self.wfile.write(self.head(response) + response.body[: response.cut])

    def head(self, response: Response, *, length: bool = True) -> bytes:
        """Return status line and headers, the length among them if `length`."""
        status = HTTPStatus(response.status)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in response.headers)]
        if length and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            lines.append(f"Content-Length: {len(response.body)}")
        if self.close_connection:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Port(ThreadingTCPServer):
    """The port of one of Microsoft's hosts; not an `HTTPServer`, which asks DNS for this machine's name.

    Args:
        owner: whose it is.
        host: which host.
        number: of the port; 0: any that is free.
        context: for TLS; None: there is none.
    """

    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = False  # `server_close()` waits for their end

    def __init__(self, owner: SimulatorServer, host: str, number: int, context: ssl.SSLContext | None) -> None:
        self.owner = owner
        self.host = host
        self._context = context
        self._connections: set[socket.socket] = set()
        super().__init__((_ADDRESS, number), owner.handler)
        self.number = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL,), name=f"simulator {host}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port, and end all connections."""
        if self._thread.is_alive():
            self.shutdown()
        self.end_connections()
        self.server_close()

    def end_connections(self) -> None:
        for connection in tuple(self._connections):
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue  # the client was faster

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return the next connection, whose handshake is left to its thread."""
        connection, client = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.add(connection)
        return connection, client

    def close_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about a client that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class SimulatorServer:
    """Serves a simulation between `start()` and `stop()`, or as a context manager.

    Args:
        simulator: which answers.
        clock: the time, Unix seconds.

    Attributes:
        simulator: which answers.
        cloud: the addresses, once started.
        ports: what it listens on.
        ca_file: the certificate authority (PEM) for clients to trust; it is gone after `stop()`.
        names: the host names that the certificate is valid for, next to the loopback address.
        handler: answers a connection.
    """

    names: tuple[str, ...] = ("localhost",)
    handler = Handler

    def __init__(self, simulator: Simulator, *, clock: Callable[[], float] = time.time) -> None:
        self.simulator = simulator
        self.now = clock
        self.ports: list[Port] = []

    def start(self) -> Self:
        """Open the ports and return once they answer."""
        # In a folder of its own, because ssl reads certificates from files only.
        self._folder = tempfile.TemporaryDirectory(prefix="simulator-")
        self.ca_file, context = _credentials(Path(self._folder.name), self.names)
        try:
            for host in self.simulator.hosts:
                self.ports.append(self.make_port(host, context))
        except OSError:
            self.stop()
            raise
        self.cloud = self.make_cloud()
        for port in self.ports:
            port.start()
        return self

    def make_port(self, host: str, context: ssl.SSLContext) -> Port:
        return Port(self, host, 0, context)

    def make_cloud(self) -> Cloud:
        """Return the cloud at these ports.

        Scopes may name Graph by the loopback address or, as unmodified clients do, by its real one.
        """
        addresses = {port.host: f"https://localhost:{port.number}" for port in self.ports}
        graph = addresses["graph"]
        spellings = (graph, graph.replace("//localhost:", "//127.0.0.1:"), "https://graph.microsoft.com")
        return Cloud(addresses["login"], graph, addresses["download"], dict.fromkeys(spellings, graph))

    def stop(self) -> None:
        """End all connections, close the ports and remove the certificates."""
        for port in self.ports:
            port.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def download_host(self) -> str:
        """The download host as `host:port`."""
        return self.cloud.download.removeprefix("https://")


def _credentials(folder: Path, names: tuple[str, ...]) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a new certificate authority and a TLS context with a certificate of it.

    Both are valid for a week; the authority's key is not kept.
    """
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    signs_certificates = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    root = (
        _certificate(_AUTHORITY, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs_certificates, critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    valid_for = [x509.IPAddress(ipaddress.ip_address(_ADDRESS)), *map(x509.DNSName, names)]
    leaf = (
        _certificate("Simulation of Microsoft", key)
        .add_extension(x509.SubjectAlternativeName(valid_for), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    ca_file, pair = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(root.public_bytes(Encoding.PEM))
    pair.touch(mode=0o600)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair.write_bytes(private + leaf.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    pair.unlink()
    return ca_file, context


def _certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """Return the beginning of a certificate that the authority signs."""
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, _AUTHORITY))
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
    )
