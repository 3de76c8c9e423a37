"""The simulation as a server: HTTP/1.1 over real TLS on loopback, a port for each of Microsoft's hosts."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import tempfile
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import parse_qsl, unquote

import httptools
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exporter.simulator.messages import Cloud, Origin, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from exporter.simulator.messages import Response
    from exporter.simulator.simulator import Simulator

_ADDRESS = "127.0.0.1"
_AUTHORITY = "Simulation of Microsoft: authority"
_LIFETIME, _SKEW = timedelta(days=7), timedelta(hours=1)


class Connection(asyncio.Protocol):
    """Reads requests and writes their answers, one after the other.

    Args:
        server: which answers.
        origin: which of Microsoft's hosts this port stands for.
    """

    def __init__(self, server: SimulatorServer, origin: Origin) -> None:
        self.server = server
        self._origin = origin
        self._parser = httptools.HttpRequestParser(self)
        self._start_request()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.transport.close()
        except httptools.HttpParserError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()

    # Called by httptools

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        """Answer the request that has been read."""
        path, _, query = self._url.decode("latin-1").partition("?")
        cloud, origin = self.server.host(self._origin, self._headers.get("host", ""))
        request = Request(
            cloud=cloud,
            origin=origin,
            method=self._parser.get_method().decode(),
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=self._headers,
            body=self._body,
        )
        keep = self._parser.should_keep_alive()
        self._start_request()
        self.send(self.server.answer(request), keep=keep)

    def _start_request(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    def send(self, response: Response, *, keep: bool) -> None:
        """Send a response once the server's latency is over; `keep`: whether the connection is kept open."""
        if self.server.latency:
            loop = asyncio.get_running_loop()
            loop.call_later(self.server.latency, lambda: self._write(response, keep=keep))
        else:
            self._write(response, keep=keep)

    def _write(self, response: Response, *, keep: bool) -> None:
        if response.cut == -1:
            self.transport.abort()
        if self.transport.is_closing():
            return
        self.transport.write(self.head(response, keep=keep) + response.body[: response.cut])
        if response.cut is not None or not keep:
            self.transport.close()

    def head(self, response: Response, *, keep: bool, length: bool = True) -> bytes:
        """Return status line and headers, the length among them if `length`."""
        status = HTTPStatus(response.status)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in response.headers)]
        if length and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            lines.append(f"Content-Length: {len(response.body)}")
        if not keep:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class SimulatorServer:
    """Serves a simulation from a thread of its own, between `start()` and `stop()` or as a context manager.

    Args:
        simulator: which answers.
        latency: seconds that every answer takes, without delaying the others.
        clock: the time, Unix seconds.

    Attributes:
        simulator: which answers.
        cloud: the addresses, once started.
        ca_file: the certificate authority (PEM) for clients to trust; it is gone after `stop()`.
        latency: may be changed at any time.
        names: the host names and addresses that the certificate is valid for.
        connections: the open ones.
        ports: what to listen on; any that is free where left out.
        connection_type: makes a connection.
    """

    names: tuple[str, ...] = ("localhost", _ADDRESS)
    ports: Mapping[Origin, int] = MappingProxyType({})
    connection_type = Connection

    def __init__(self, simulator: Simulator, *, latency: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self.simulator = simulator
        self.latency = latency
        self.connections: set[Connection] = set()
        self._clock = clock

    def start(self) -> Self:
        """Open the ports and return once they answer."""
        # In a folder of its own, because ssl reads certificates from files only.
        self._folder = tempfile.TemporaryDirectory(prefix="simulator-")
        self.ca_file, context = _credentials(Path(self._folder.name), self.names)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        opening = asyncio.run_coroutine_threadsafe(self._open(context), self._loop)
        try:
            opening.result()
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all connections, close the ports and remove the certificates."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        with warnings.catch_warnings():
            # A client that went away in the middle of its handshake left a transport that nothing closes.
            warnings.simplefilter("ignore", ResourceWarning)
            self._loop.close()
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

    def now(self) -> float:
        """Return the server's time, Unix seconds."""
        return self._clock()

    def answer(self, request: Request) -> Response:
        return self.simulator.answer(request, self.now())

    def host(self, origin: Origin, _name: str) -> tuple[Cloud, Origin]:
        """Return the cloud and the host that answer a request to the port of `origin` with that Host header."""
        return self.cloud, origin

    def make_cloud(self, addresses: Mapping[Origin, str]) -> Cloud:
        """Return the cloud at these addresses.

        Scopes may name Graph by the loopback address or, as unmodified clients do, by its real one.
        """
        graph = addresses[Origin.GRAPH]
        spellings = (graph, graph.replace("//localhost:", "//127.0.0.1:"), "https://graph.microsoft.com")
        return Cloud(
            login=addresses[Origin.LOGIN],
            graph=graph,
            download=addresses[Origin.DOWNLOAD],
            identity=addresses[Origin.IDENTITY],
            resources=dict.fromkeys(spellings, graph),
        )

    async def _open(self, context: ssl.SSLContext) -> None:
        addresses = {}
        for origin in Origin:
            # Managed identities are plain HTTP, as at Microsoft.
            scheme, name, secure = (
                ("http", _ADDRESS, None) if origin is Origin.IDENTITY else ("https", "localhost", context)
            )
            server = await self._loop.create_server(
                lambda origin=origin: self.connection_type(self, origin),
                _ADDRESS,
                self.ports.get(origin, 0),
                ssl=secure,
                backlog=1024,
            )
            self._servers.append(server)
            addresses[origin] = f"{scheme}://{name}:{server.sockets[0].getsockname()[1]}"
        self.cloud = self.make_cloud(addresses)

    async def _close(self) -> None:
        # What was accepted a moment ago would leave its socket open, if its task never began or its server was closed.
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        for connection in tuple(self.connections):
            connection.transport.abort()
        # What is left: answers on their way, and asyncio's own handshakes.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # Two rounds of the loop, in which a handshake's end closes its socket.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


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
    leaf = (
        _certificate("Simulation of Microsoft", key)
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    ca_file, pair = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(root.public_bytes(Encoding.PEM))
    pair.touch(mode=0o600)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair.write_bytes(private + leaf.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
