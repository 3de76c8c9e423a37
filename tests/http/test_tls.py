"""TLS: who is trusted, and what is said of those who are not."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exporter.errors import ConfigError, NetworkError
from exporter.http import Clients, Deadline, tls_context
from tests.http.leaks import said
from tests.http.servers import answering, certificate, serving

if TYPE_CHECKING:
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a company's own authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Return the file of its certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def ask(port: int, ca_file: Path | None) -> bytes:
    """Ask a server on localhost; return the body."""
    clients = Clients(tls=tls_context(ca_file))
    try:
        url = f"https://localhost:{port}/secret?sig=hush"
        return clients.request("GET", url, endpoint="download", deadline=Deadline(10)).body
    finally:
        clients.close()


def test_a_private_authority_is_trusted_beside_the_systems(authority: trustme.CA, ca_file: Path) -> None:
    """http.ca_file is added to the system's store; nothing of the system's is lost."""
    own, system = tls_context(ca_file).cert_store_stats(), tls_context().cert_store_stats()
    assert own["x509_ca"] == system["x509_ca"] + 1
    with serving(answering(OK), certificate(authority, "localhost")) as port:
        assert ask(port, ca_file) == b"ok"


def test_an_issuing_authority_needs_no_root(authority: trustme.CA, tmp_path: Path) -> None:
    """http.ca_file may hold the authority that signs the hosts' certificates alone, on every Python."""
    issuing = authority.create_child_ca()
    path = tmp_path / "issuing.pem"
    issuing.cert_pem.write_to_path(path)
    with serving(answering(OK), certificate(issuing, "localhost")) as port:
        assert ask(port, path) == b"ok"


def test_an_authority_of_the_old_kind_is_trusted(tmp_path: Path) -> None:
    """A company's authority without key identifiers is trusted on every Python, as it is by curl."""
    now, pem = datetime.now(UTC), serialization.Encoding.PEM
    ours, theirs = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("An old authority", "A host")]
    made = x509.CertificateBuilder(names[0], not_valid_before=now - DAY, not_valid_after=now + DAY)
    made = made.serial_number(x509.random_serial_number())
    root = made.subject_name(names[0]).public_key(ours.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    host = made.subject_name(names[1]).public_key(theirs.public_key())
    host = host.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    ca_file, served = tmp_path / "ca.pem", tmp_path / "served.pem"
    ca_file.write_bytes(root.sign(ours, hashes.SHA256()).public_bytes(pem))
    private = theirs.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    served.write_bytes(host.sign(ours, hashes.SHA256()).public_bytes(pem) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served)
    with serving(answering(OK), context) as port:
        assert ask(port, ca_file) == b"ok"


def test_a_private_authority_is_nothing_without_the_setting(authority: trustme.CA) -> None:
    """A certificate of somebody whom the system does not know is refused, and the setting named."""
    with serving(answering(OK), certificate(authority, "localhost")) as port, pytest.raises(NetworkError) as caught:
        ask(port, None)
    assert said(caught.value).startswith(f"download host localhost:{port}: its certificate is not trusted: ")
    assert caught.value.hint == "if your own proxy or gateway signs it, add its CA to http.ca_file"


@pytest.mark.parametrize(
    ("name", "begins", "ends", "message", "hint"),
    [
        ("localhost", -9 * DAY, -DAY, "certificate has expired", "check this machine's clock; if it is right,"),
        ("localhost", DAY, 9 * DAY, "certificate is not yet valid", "check this machine's clock"),
        ("elsewhere", -DAY, DAY, "Hostname mismatch", "another host answers in its place: check DNS"),
        ("127.0.0.1", -DAY, DAY, "Hostname mismatch", "another host answers in its place: check DNS"),
    ],
    ids=["expired", "not yet", "other name", "address only"],
)
def test_each_error_of_a_certificate_has_its_own_fix(
    *, authority: trustme.CA, ca_file: Path, name: str, begins: timedelta, ends: timedelta, message: str, hint: str
) -> None:
    """Expired, not yet valid and another's: http.ca_file would fix none of them, and is not named."""
    now = datetime.now(UTC)
    tls = certificate(authority, name, begins=now + begins, ends=now + ends)
    with serving(answering(OK), tls) as port, pytest.raises(NetworkError) as caught:
        ask(port, ca_file)
    said(caught.value)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)
    assert "ca_file" not in caught.value.hint


def test_a_host_that_speaks_no_tls_is_a_network_failure() -> None:
    """Plain HTTP where TLS is expected is no answer."""
    with serving(answering(OK)) as port, pytest.raises(NetworkError) as caught:
        ask(port, None)
    assert "cannot connect" in said(caught.value)


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_a_ca_file_without_certificates_is_an_error(tmp_path: Path, content: bytes) -> None:
    """What holds no certificate is refused when it is loaded, not at the first poll."""
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="it contains no readable certificate; use a PEM file of CA certificates"):
        tls_context(path)
    with pytest.raises(ConfigError, match="No such file"):
        tls_context(tmp_path / "missing.pem")


@pytest.mark.parametrize("kind", ["fifo", "device", "too large"])
def test_a_ca_file_that_is_no_file_stops_nobody(tmp_path: Path, kind: str) -> None:
    """A FIFO, a device or a file without an end in place of http.ca_file is an error at once."""
    path = tmp_path / "ca.pem"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ConfigError, match="not a regular file" if kind != "too large" else "larger than 1 MiB"):
        tls_context(path)


def test_a_ca_file_may_be_a_bundle_with_comments(authority: trustme.CA, tmp_path: Path) -> None:
    """Certificates with names in any encoding between them are trusted, each of them."""
    other = trustme.CA()
    path = tmp_path / "ca.pem"
    path.write_bytes(
        "# Zürich\n".encode("latin-1")
        + other.cert_pem.bytes()
        + "\n# Genève\n".encode()
        + authority.cert_pem.bytes().replace(b"\n", b"\r\n")
    )
    for signer in (authority, other):
        with serving(answering(OK), certificate(signer, "localhost")) as port:
            assert ask(port, path) == b"ok"
