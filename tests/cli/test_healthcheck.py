"""`healthcheck` against real web servers: port, prefix, TLS, client certificates, Unix sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import trustme

from exporter import cli
from exporter.cli import parse
from exporter.cli.healthcheck import run
from tests.tools import free_address
from tests.web.serving import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check(*words: str, **environ: str) -> int:
    """Return the exit code of a health check with these flags and variables."""
    return run(parse(["healthcheck", *words]), environ)


@pytest.fixture
def web_configuration(tmp_path: Path) -> Path:
    """A web configuration with TLS by an untrusted authority, for another name."""
    issued = trustme.CA().issue_cert("exporter.example")
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "server.crt")
    path = tmp_path / "web.yml"
    path.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("prefix", ["", "/office365", "/office%20365"])
def test_port_and_prefix_are_those_of_serve(prefix: str) -> None:
    """The flags and variables of `serve` lead the check to its port and prefix."""
    with running(route_prefix=prefix or None) as server:
        address = f"127.0.0.1:{server.port}"
        flags = [f"--web.route-prefix={prefix}"] if prefix else []
        assert check(f"--web.listen-address={address}", *flags) == 0
        variables = {"OFFICE365_EXPORTER_WEB__LISTEN_ADDRESS": f'[":{server.port}"]'}
        assert check(*flags, **variables) == 0
        assert check(f"--web.listen-address={address}", "--web.external-url=https://x.example/other") == 1


def test_a_configuration_that_is_wrong_does_not_make_the_process_unhealthy() -> None:
    """Only the web flags count: a file that is being edited must not end a working pod."""
    with running() as server:
        assert check("--config.file=/nowhere.yaml", f"--web.listen-address=127.0.0.1:{server.port}") == 0


def test_over_tls_any_certificate_is_taken(web_configuration: Path) -> None:
    """With TLS in the web configuration the check needs neither its authority nor its name."""
    with running(config_file=web_configuration) as server:
        words = f"--web.listen-address=:{server.port}", f"--web.config.file={web_configuration}"
        assert check(*words) == 0


def test_a_web_configuration_without_tls_is_asked_in_plain_http(tmp_path: Path) -> None:
    """A web configuration with passwords alone: no TLS, and no password is needed for this endpoint."""
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n", encoding="utf-8")
    with running(config_file=path) as server:
        assert check(f"--web.listen-address=127.0.0.1:{server.port}", f"--web.config.file={path}") == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_refuses_the_check_by_an_alert_is_healthy(
    web_configuration: Path, version: ssl.TLSVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where client certificates are demanded, the refusal shows that the server works, and the check says so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(web_configuration.parent / "server.crt", web_configuration.parent / "server.key")
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    with refusing(context) as port:
        assert check(f"--web.listen-address=127.0.0.1:{port}", f"--web.config.file={web_configuration}") == 0
    assert "requires a client certificate" in capsys.readouterr().out


@contextlib.contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[int]:
    """Serve handshakes, which end with an alert unless the client has a certificate; give the port."""

    def shake_hands() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                with accepted, contextlib.suppress(OSError):
                    context.wrap_socket(accepted, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=shake_hands)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    """`unix:/path` works as a listen address here too."""
    address = f"unix:{tmp_path / 's'}"
    with running(listen_address=(address,)):
        assert check(f"--web.listen-address={address}") == 0


def test_nobody_there_is_unhealthy_and_port_0_cannot_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing listens the exit code is 1; a port that only the exporter knows is bad usage, 2."""
    address = free_address()
    assert cli.run(["healthcheck", f"--web.listen-address={address}"]) == 1
    assert f"{address} does not answer" in capsys.readouterr().err
    assert cli.run(["healthcheck", "--web.listen-address=:0"]) == 2
    assert "name the port" in capsys.readouterr().err
