"""Certificates for the tests of TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """An authority and what it issued, in files next to a web configuration."""

    folder: Path
    authority: trustme.CA
    stranger: trustme.CA

    def write(self, content: str) -> Path:
        """Write the web configuration and return its path."""
        path = self.folder / "web.yml"
        path.write_text(content, encoding="utf-8")
        return path

    def issue(self, *names: str, authority: trustme.CA | None = None) -> None:
        """Write a new server certificate for loopback and `names`."""
        issued = (authority or self.authority).issue_cert("127.0.0.1", "localhost", *names)
        issued.private_key_pem.write_to_path(self.folder / "server.key")
        (self.folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def client(self, *names: str, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        """Return a client's context, with a certificate for `names` if there are any."""
        from tests.web.serving import trusting  # noqa: PLC0415 - serving starts servers, which not every test needs

        certificates = [self.authority.issue_cert(*names)] if names else []
        return trusting(self.authority, *certificates, **versions)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """A folder with server.crt, server.key, other.key, locked.key, ca.pem, junk and empty."""
    made = Certificates(tmp_path, trustme.CA(), trustme.CA())
    made.issue()
    made.authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made.authority.issue_cert("other.example").private_key_pem.write_to_path(tmp_path / "other.key")
    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "empty").write_text("")
    return made
