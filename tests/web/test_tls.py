"""TLS over real sockets: versions, suites, client certificates, and changes under open connections."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import ssl
import struct
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from exporter.errors import ConfigError
from exporter.log import set_up
from exporter.web.tls import has_name
from exporter.web.webconfig import WebConfig, WebConfigFile
from tests.web.serving import BODY, Fake, drain, exchange, running, status, trusting, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.web.site import Security
    from tests.web.conftest import Certificates
    from tests.web.serving import Running

PAIR = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
VERIFIED = PAIR + "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
BOTH = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def connected(server: Running, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A connection whose handshake is done, as far as the client knows."""
    with server.connect() as sock, context.wrap_socket(sock, server_hostname="127.0.0.1") as wrapped:
        yield wrapped


def works(server: Running, context: ssl.SSLContext) -> bool:
    """Say whether a client with this context gets the metrics."""
    try:
        with connected(server, context) as sock:
            answer = exchange(sock, LAST)
    except OSError:
        return False
    return answer.endswith(BODY)


def issuer(sock: ssl.SSLSocket) -> bytes:
    """Return the server's certificate."""
    return sock.getpeercert(binary_form=True) or b""


def test_many_clients_over_tls(certificates: Certificates) -> None:
    """Handshakes one after the other, requests on kept connections and large bodies all work."""
    body = os.urandom(8_000_000)
    with running(Fake((body,)), config_file=certificates.write(PAIR)) as server:
        context = certificates.client()
        for _ in range(30):
            with connected(server, context) as sock:
                sock.sendall(GET.replace(b"/metrics", b"/-/healthy"))
                assert status(sock.recv(65536)) == 200
        with connected(server, context) as sock:
            assert sock.selected_alpn_protocol() is None
            for _ in range(2):
                sock.sendall(GET)
                got = bytearray()
                while not got.endswith(body[-100:]):
                    got += sock.recv(1_000_000)
                assert got.endswith(body)


def test_plain_http_gets_no_answer_from_tls(certificates: Certificates) -> None:
    """A client without TLS is cut off, and the server continues."""
    with running(config_file=certificates.write(PAIR)) as server:
        with server.connect() as sock:
            assert exchange(sock, LAST) == b""
        with server.connect() as sock, contextlib.suppress(OSError):
            assert exchange(sock, os.urandom(2000)) == b""
        assert works(server, certificates.client())


def test_a_handshake_has_its_time(certificates: Certificates) -> None:
    """Who does not shake hands is cut off, and keeps nobody out meanwhile."""
    with running(config_file=certificates.write(PAIR), request=0.5, connections=20, stop=60.0) as server:
        silent = [server.connect() for _ in range(40)]
        assert works(server, certificates.client())
        begun = time.monotonic()
        for sock in silent:
            with contextlib.suppress(ConnectionResetError):
                assert drain(sock) == b""
            sock.close()
        assert time.monotonic() - begun < 30


def test_stopping_in_a_handshake(certificates: Certificates) -> None:
    """Handshakes under way do not hold up the end."""
    with running(config_file=certificates.write(PAIR), stop=10.0) as server:
        silent = [server.connect() for _ in range(3)]
        time.sleep(0.1)
        server.end()
        for sock in silent:
            sock.close()


@pytest.mark.parametrize(
    ("settings", "client", "expected"),
    [
        ("", {"maximum_version": ssl.TLSVersion.TLSv1_2}, "TLSv1.2"),
        ("", {"minimum_version": ssl.TLSVersion.TLSv1_3}, "TLSv1.3"),
        ("  min_version: TLS13\n", {"maximum_version": ssl.TLSVersion.TLSv1_2}, None),
        ("  min_version: TLS13\n", {}, "TLSv1.3"),
        ("  max_version: TLS12\n", {"minimum_version": ssl.TLSVersion.TLSv1_3}, None),
        ("  max_version: TLS12\n", {}, "TLSv1.2"),
        ("  cipher_suites: [TLS_AES_256_GCM_SHA384]\n", {"maximum_version": ssl.TLSVersion.TLSv1_2}, None),
    ],
)
def test_versions(
    certificates: Certificates, settings: str, client: dict[str, ssl.TLSVersion], expected: str | None
) -> None:
    """Only the versions that are configured are spoken."""
    path = certificates.write(PAIR + settings + "http_server_config: {http2: false}\n")
    with running(config_file=path) as server:
        context = certificates.client(**client)
        if expected is None:
            with pytest.raises(OSError, match=r".*"), connected(server, context) as sock:
                exchange(sock, LAST)
        else:
            with connected(server, context) as sock:
                assert sock.version() == expected


@pytest.mark.parametrize(
    ("settings", "offered", "expected"),
    [
        ("", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (
            BOTH,
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
        (
            BOTH + "  prefer_server_cipher_suites: false\n",
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            None,
        ),
    ],
)
def test_cipher_suites(certificates: Certificates, settings: str, offered: str, expected: str | None) -> None:
    """Only the configured suites are used, in the server's order or the client's, as configured."""
    with running(config_file=certificates.write(PAIR + settings)) as server:
        context = certificates.client(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(offered)
        if expected is None:
            assert not works(server, context)
        else:
            with connected(server, context) as sock:
                cipher = sock.cipher()
                assert cipher is not None
                assert cipher[0] == expected


def test_curves(certificates: Certificates) -> None:
    """A client without the configured curve cannot connect."""
    with running(config_file=certificates.write(PAIR + "  curve_preferences: [CurveP521]\n")) as server:
        assert works(server, certificates.client())
        context = certificates.client()
        context.set_ecdh_curve("secp384r1")
        assert not works(server, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_a_refused_client_reads_why(
    certificates: Certificates, version: ssl.TLSVersion, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client without a certificate, or with a stranger's, gets TLS' alert; the reason is logged at debug."""
    caplog.set_level("DEBUG", logger="exporter")
    context = certificates.client(minimum_version=version, maximum_version=version)
    if who == "a stranger":
        certificates.stranger.issue_cert("prometheus.example").configure_cert(context)
    with (
        capture_logs() as logs,
        running(config_file=certificates.write(VERIFIED)) as server,
        pytest.raises(ssl.SSLError, match=r"(?i)alert"),
        connected(server, context) as sock,
    ):
        exchange(sock, LAST)
    (reason,) = [one["reason"] for one in logs if one["event"] == "a TLS handshake failed"]
    assert reason == ("PEER_DID_NOT_RETURN_A_CERTIFICATE" if who == "nobody" else "CERTIFICATE_VERIFY_FAILED")


def test_client_certificates_are_demanded(certificates: Certificates) -> None:
    """With RequireAndVerifyClientCert only clients with a certificate of the CA get in."""
    with running(config_file=certificates.write(VERIFIED)) as server:
        assert works(server, certificates.client("prometheus.example"))
        assert not works(server, certificates.client())
        stranger = certificates.stranger.issue_cert("prometheus.example")
        assert not works(server, trusting(certificates.authority, stranger))


def test_client_certificates_are_verified_if_given(certificates: Certificates) -> None:
    """With VerifyClientCertIfGiven clients without a certificate get in too, but none with a stranger's."""
    path = certificates.write(VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    with running(config_file=path) as server:
        assert works(server, certificates.client("prometheus.example"))
        assert works(server, certificates.client())
        stranger = certificates.stranger.issue_cert("prometheus.example")
        assert not works(server, trusting(certificates.authority, stranger))


def test_a_client_certificate_that_is_its_own_anchor(certificates: Certificates) -> None:
    """A client's own certificate may stand in the CA file, as in Go, though another authority has signed it."""
    own = certificates.stranger.issue_cert("prometheus.example")
    own.cert_chain_pems[0].write_to_path(certificates.folder / "ca.pem")
    with running(config_file=certificates.write(VERIFIED)) as server:
        assert works(server, trusting(certificates.authority, own))
        assert not works(server, certificates.client("prometheus.example"))


def test_without_a_ca_the_systems_is_asked(certificates: Certificates) -> None:
    """A policy without a CA verifies against the system's authorities, so strangers stay out."""
    path = certificates.write(PAIR + "  client_auth_type: RequireAndVerifyClientCert\n")
    with running(config_file=path) as server:
        assert not works(server, certificates.client("prometheus.example"))


@pytest.mark.parametrize(
    ("policy", "allowed", "names", "expected"),
    [
        ("RequireAndVerifyClientCert", "one, prometheus.example", ("prometheus.example",), True),
        ("RequireAndVerifyClientCert", "prometheus", ("prometheus.example",), False),
        ("RequireAndVerifyClientCert", "b.example", ("a.example", "b.example"), True),
        ("RequireAndVerifyClientCert", "192.0.2.7", ("192.0.2.7",), True),
        ("RequireAndVerifyClientCert", "'2001:db8::7'", ("2001:db8::7",), True),
        ("RequireAndVerifyClientCert", "ops@a.example", ("ops@a.example",), True),
        ("RequireAndVerifyClientCert", "", ("a.example",), False),
        ("VerifyClientCertIfGiven", "a.example", ("a.example",), True),
        ("VerifyClientCertIfGiven", "a.example", (), False),
    ],
)
def test_allowed_names(
    certificates: Certificates, policy: str, allowed: str, names: tuple[str, ...], *, expected: bool
) -> None:
    """Only a certificate that carries an allowed name, written exactly so, gets in."""
    content = VERIFIED.replace("RequireAndVerifyClientCert", policy) + f"  client_allowed_sans: [{allowed}]\n"
    with running(config_file=certificates.write(content)) as server:
        assert works(server, certificates.client(*names)) is expected


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_an_allowed_name_reads_why(certificates: Certificates, version: ssl.TLSVersion) -> None:
    """A verified certificate without an allowed name gets 403 with the reason, whether the client asks or not."""
    content = VERIFIED + "  client_allowed_sans: [prometheus.example]\n"
    context = certificates.client("stranger.example", minimum_version=version, maximum_version=version)
    with running(config_file=certificates.write(content)) as server:
        for asked in (LAST, b""):
            with connected(server, context) as sock:
                answer = exchange(sock, asked)
            assert status(answer) == 403
            assert b"client_allowed_sans" in answer
        assert works(server, certificates.client("prometheus.example"))


def test_names_of_every_kind() -> None:
    """Names are compared as Go writes them; kinds that Go does not look at do not count."""
    certificate = {
        "subjectAltName": (
            ("URI", "spiffe://a/b"),
            ("IP Address", "0:0:0:0:0:FFFF:C000:207"),
            ("IP Address", "2001:DB8:0:0:0:0:0:7"),
            ("IP Address", "nonsense"),
            ("DirName", "x"),
        )
    }
    for name, expected in (
        ("spiffe://a/b", True),
        ("192.0.2.7", True),
        ("2001:db8::7", True),
        ("nonsense", False),
        ("x", False),
    ):
        assert has_name(frozenset({name}), certificate) is expected
    assert not has_name(frozenset({"a"}), None)


def test_certificates_change_under_open_connections(certificates: Certificates) -> None:
    """New connections get the new certificate, open ones go on, and the file itself need not change."""
    with running(config_file=certificates.write(PAIR)) as server:
        context = certificates.client()
        with connected(server, context) as old:
            before = issuer(old)
            old.sendall(GET)
            assert status(old.recv(65536)) == 200
            certificates.issue("new.example")

            def renewed() -> bool:
                with contextlib.suppress(OSError), connected(server, context) as sock:
                    return issuer(sock) != before
                return False

            until(renewed)
            old.sendall(GET)
            assert status(old.recv(65536)) == 200


def test_a_refused_client_that_says_goodbye_is_no_error(certificates: Certificates) -> None:
    """A client that ends TLS in order after its refusal leaves no error in the log."""
    with capture_logs() as logs, running(config_file=certificates.write(PAIR)) as server:
        with connected(server, certificates.client()) as sock:
            sock.sendall(b"bad\r\n\r\n")
            assert status(sock.recv(4096)) == 400
            sock.unwrap()
        assert works(server, certificates.client())
    assert [one for one in logs if one["log_level"] == "error"] == []


def test_a_client_that_stops_half_way_fills_no_log(certificates: Certificates) -> None:
    """A client that ends its half of TLS while it reads slowly is cut, without a line in the log for each piece."""
    heard = io.StringIO()
    set_up("info", "logfmt", heard)
    body = (b"a" * 65_536,) * 500
    with running(Fake(body), config_file=certificates.write(PAIR)) as server, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        with certificates.client().wrap_socket(slow, server_hostname="127.0.0.1") as sock:
            sock.sendall(GET)
            sock.recv(1)
            socket.socket.shutdown(sock, socket.SHUT_WR)
            with contextlib.suppress(OSError):
                assert len(drain(sock)) < len(body) * 65_536
        server.source.pieces = (BODY,)
        assert works(server, certificates.client())
    assert "SSL connection is closed" not in heard.getvalue()


def test_a_client_that_leaves_in_the_middle_fills_no_log(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """A response of many pieces ends with its client, without a warning for each piece."""

    class Leaving(Fake):
        """Its client resets the connection just before the response is sent."""

        def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
            """Return many pieces the first time."""
            if sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
                return (b"a" * 65_536,) * 30
            return super().scrape(openmetrics=openmetrics, gzip=gzip, tenants=tenants)

    caplog.set_level(logging.WARNING, "asyncio")
    with running(Leaving(), config_file=certificates.write(PAIR)) as server:
        with connected(server, certificates.client()) as sock:
            sock.sendall(GET)
            until(lambda: sock.fileno() < 0)
        assert works(server, certificates.client())
    assert [one.message for one in caplog.records if one.name == "asyncio"] == []


def test_a_short_key_is_not_called_unreadable(certificates: Certificates) -> None:
    """A key that OpenSSL reads and refuses is reported with OpenSSL's reason."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    day = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), day, day + timedelta(1))
    (certificates.folder / "server.crt").write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    (certificates.folder / "server.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(ConfigError, match=r"OpenSSL refuses them \(EE_KEY_TOO_SMALL\)"):
        WebConfigFile(certificates.write(PAIR)).load()


def test_everything_may_change_and_errors_change_nothing(certificates: Certificates) -> None:
    """TLS, client certificates and headers come and go with the file; a broken one is logged and changes nothing."""
    path = certificates.write("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    with capture_logs() as logs, running(config_file=path) as server:
        url = f"{server.url}/metrics"
        with httpx.Client() as kept:
            assert kept.get(url).headers["x-frame-options"] == "deny"
            certificates.write("junk: true\n")
            until(lambda: any("cannot be used" in one["event"] for one in logs))
            time.sleep(0.3)
            assert kept.get(url).headers["x-frame-options"] == "deny"
            certificates.write("http_server_config: {headers: {X-Frame-Options: sameorigin}}\n")
            until(lambda: kept.get(url).headers["x-frame-options"] == "sameorigin")
            certificates.write(VERIFIED)
            until(lambda: works(server, certificates.client("a.example")))
            assert not works(server, certificates.client())
            assert "x-frame-options" not in kept.get(url).headers
            (certificates.folder / "server.key").rename(certificates.folder / "gone.key")
            until(lambda: sum("cannot be used" in one["event"] for one in logs) == 2)
            assert works(server, certificates.client("a.example"))
            (certificates.folder / "gone.key").rename(certificates.folder / "server.key")
            certificates.write("")
            until(lambda: _plain(url))
    assert sum("cannot be used" in one["event"] for one in logs) == 2
    assert not any(one["log_level"] == "error" for one in logs if "cannot be used" not in one["event"])


def _plain(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).status_code == 200
    return False


def test_keys_touch_no_disk_where_they_need_not(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory files a key goes through a private folder that is gone afterwards."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    kept = certificates.folder / "temporary"
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    with running(config_file=certificates.write(PAIR)) as server:
        assert works(server, certificates.client())
    assert list(kept.iterdir()) == []


def test_a_file_that_is_being_written_is_left_alone(certificates: Certificates) -> None:
    """A change is in force only once it is seen twice alike: an empty file for a moment opens nothing."""
    path = certificates.write(VERIFIED)
    file = WebConfigFile(path)
    assert file.load().context is not None
    path.write_text("")
    assert file.changed() is None
    path.write_text("http_server_config: {http2: false}\n")
    assert file.changed() is None
    changed = file.changed()
    assert changed is not None
    assert changed.context is None
    assert file.changed() is None


def test_a_file_that_changes_while_it_is_read(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read while it changed is not in force; the next looks settle it."""
    path = certificates.write("")
    file = WebConfigFile(path)
    file.load()
    path.write_text(PAIR)
    assert file.changed() is None
    read = WebConfigFile._security

    def reading(self: WebConfigFile, config: WebConfig) -> Security:
        path.write_text(VERIFIED)
        return read(self, config)

    with monkeypatch.context() as patch:
        patch.setattr(WebConfigFile, "_security", reading)
        assert file.changed() is None
    found = [file.changed(), file.changed(), file.changed()]
    assert [one.context.verify_mode for one in found if one is not None and one.context] == [ssl.CERT_REQUIRED]


def test_an_authority_may_change(certificates: Certificates) -> None:
    """A new CA for clients is in force for new connections."""
    with running(config_file=certificates.write(VERIFIED)) as server:
        other = trustme.CA()
        mine = trusting(certificates.authority, other.issue_cert("a.example"))
        assert not works(server, mine)
        other.cert_pem.write_to_path(certificates.folder / "ca.pem")
        until(lambda: works(server, mine))
        assert not works(server, certificates.client("a.example"))


def test_a_half_closed_connection_over_tls(certificates: Certificates) -> None:
    """A client that closes abruptly in the middle of a request leaves nothing behind."""
    with running(config_file=certificates.write(PAIR)) as server:
        with connected(server, certificates.client()) as sock:
            sock.sendall(b"GET /metrics HT")
            raw: socket.socket = sock
            raw.shutdown(2)
        assert works(server, certificates.client())
