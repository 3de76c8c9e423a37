"""Secrets, certificates and token files that cannot be used: what is reported of each, before any request."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.auth.certificates import CertificateError, load_certificate
from exporter.auth.tokens import LoginHttp
from exporter.errors import Reason
from exporter.files import MAX_SECRET
from tests.auth.kinds import PASSWORD, ec_key, other_key, pair, pem, pfx
from tests.full_simulator import Stage
from tests.simulator.certificates import make_pair
from tests.tools import require

if TYPE_CHECKING:
    from tests.auth.harness import Harness

ONE_FILE = (
    "put the certificate and its private key into this file (both PEM, in any order), "
    "or set auth.certificate_key_file to the key's file"
)
PFX_AGAIN = "export it again as PFX, with its private key"
WHOLE = "copy the whole file again"
PASSWORD_HINT = "check auth.certificate_password (or its file): it must be the private key's password"
KEY_HINT = "put the certificate and the key that it was made with into one file"
BARE = "write only the value into it, as UTF-8"


def broken(content: bytes) -> bytes:
    """Return PEM with its middle gone."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:3] + lines[-2:])


def certificates() -> dict[str, tuple[bytes, str | None, str, str]]:
    """Return certificate files by what is wrong with them: content, password, what is said, the fix."""
    own, key = pair().certificate, pair().key
    locked = pem(pair().private, PASSWORD)
    return {
        "no private key": (own, None, "it contains no private key", ONE_FILE),
        "no certificate": (key, None, "it contains no certificate", ONE_FILE),
        "broken certificate": (broken(own) + key, None, "its certificate cannot be read", WHOLE),
        "broken key": (own + broken(key), None, "its private key cannot be read", WHOLE),
        "PEM without its password": (
            own + locked,
            None,
            "its private key has a password, and no password is given",
            "set auth.certificate_password_file to a file that holds its password",
        ),
        "PEM with a wrong password": (
            own + locked,
            "hush, wrong",
            "its private key cannot be opened with the given password",
            PASSWORD_HINT,
        ),
        "PEM with a password too many": (
            own + key,
            PASSWORD,
            "a password is given, but its private key has none",
            "remove auth.certificate_password (or its file)",
        ),
        "EC key": (
            own + pem(ec_key()),
            None,
            "its key is not RSA",
            "Microsoft's login accepts only RSA certificates: create one with an RSA key of 2048 bits or more",
        ),
        "another key": (own + pem(other_key()), None, "its key does not belong to its certificate", KEY_HINT),
        "PFX without its password": (
            pfx(PASSWORD),
            None,
            "it is neither PEM nor a PFX without a password",
            "if it has a password, set auth.certificate_password_file; else check that it is the right file",
        ),
        "PFX with a wrong password": (
            pfx(PASSWORD),
            "hush, wrong",
            "the given password does not open it as a PFX",
            PASSWORD_HINT,
        ),
        "PFX without key": (pfx(key=False), None, "the PFX contains no private key", PFX_AGAIN),
        "PFX without certificate": (pfx(certificate=False), None, "the PFX contains no certificate", PFX_AGAIN),
        "DER": (
            pair().parsed.public_bytes(Encoding.DER),
            None,
            "it contains the certificate but not its private key",
            PFX_AGAIN,
        ),
        "empty": (
            b"",
            None,
            "it is neither PEM nor a PFX without a password",
            "if it has a password, set auth.certificate_password_file; else check that it is the right file",
        ),
    }


@pytest.mark.parametrize("name", certificates())
def test_a_certificate_that_cannot_be_used_says_why(harness: Harness, name: str) -> None:
    """Each error of a certificate file has its own words and its own fix, and no token is requested."""
    content, password, what, fix = certificates()[name]
    auth: dict[str, Any] = {"certificate_file": harness.file("certificate", content)}
    failure = harness.fail(harness.tenant(auth | ({"certificate_password": password} if password else {})))
    assert failure.reason is Reason.CONFIG
    assert failure.message == f"{harness.known.name}: auth.certificate_file: {what}"
    assert failure.hint == fix
    assert harness.calls(Stage.DISCOVERY) == 0


@pytest.mark.parametrize("key", ["client_secret_file", "federated_token_file"])
@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        (b"", "it is empty", BARE),
        (b" \r\n\t", "it is empty", BARE),
        ("hush".encode("utf-16"), "it is not UTF-8 text", BARE),
    ],
    ids=["empty", "blank", "UTF-16"],
)
def test_a_file_that_holds_no_value_says_so(harness: Harness, key: str, content: bytes, what: str, fix: str) -> None:
    """A secret's or token's file that is empty or not text is named, with the fix: no one writes a token by hand."""
    path = harness.file("value", content)
    if key == "federated_token_file":
        fix = "the platform writes it: check that the workload identity is set up for this pod or job"
    failure = harness.fail(harness.tenant({key: path}))
    assert (failure.reason, failure.hint) == (Reason.CONFIG, fix)
    assert failure.message == f"{harness.known.name}: auth.{key}: cannot use {path}: {what}"


@pytest.mark.parametrize(
    "key",
    [
        "client_secret_file",
        "certificate_file",
        "certificate_key_file",
        "certificate_password_file",
        "federated_token_file",
    ],
)
@pytest.mark.parametrize("trouble", ["missing", "a folder", "unreadable", "a pipe", "a device", "too large"])
def test_a_file_that_cannot_be_read_says_why(harness: Harness, key: str, trouble: str) -> None:
    """The path, the key that names it and the reason are said at once, also for what would never end or never begin."""
    why = {
        "missing": "No such file or directory",
        "a folder": "Is a directory",
        "unreadable": "Input/output error",
        "a pipe": "it is not a regular file",
        "a device": "it is not a regular file",
        "too large": "it is larger than 256 KiB",
    }
    # No user, root included, can read the first page of a process's memory.
    paths = {
        "missing": harness.folder / "nowhere",
        "a folder": harness.folder,
        "unreadable": Path("/proc/self/mem"),
        "a pipe": harness.folder / "pipe",
        "a device": Path("/dev/zero"),
        "too large": harness.file("large", bytes(MAX_SECRET + 1)),
    }
    os.mkfifo(paths["a pipe"])
    path = paths[trouble]
    auth: dict[str, Any] = {key: path}
    if key in {"certificate_password_file", "certificate_key_file"}:
        auth["certificate_file"] = harness.file("certificate", pfx(PASSWORD))
    failure = harness.fail(harness.tenant(auth))
    assert failure.reason is Reason.CONFIG
    assert failure.message == f"{harness.known.name}: auth.{key}: cannot read {path}: {why[trouble]}"
    assert failure.hint == "check the path, and that the exporter can read it"


def test_a_secret_written_on_windows_is_read(harness: Harness) -> None:
    """A byte-order mark and a line break around the value are no part of it."""
    path = harness.file("secret", b"\xef\xbb\xbf" + harness.known.secret.encode() + b"\r\n")
    harness.succeed(harness.tenant({"client_secret_file": path}))


def test_a_chain_may_stand_in_any_order(harness: Harness) -> None:
    """Of several certificates in a file, the one of the key is taken."""
    harness.microsoft.register_certificate(harness.known, pair().certificate)
    chain = trustme.CA().cert_pem.bytes() + pair().certificate + pair().key
    harness.succeed(harness.tenant({"certificate_file": harness.file("chain.pem", chain)}))


def apart(harness: Harness, key: bytes, **more: Any) -> dict[str, Any]:
    """Return an `auth` whose key is in a file of its own, as cert-manager writes it."""
    harness.microsoft.register_certificate(harness.known, pair().certificate)
    certificate = harness.file("tls.crt", pair().certificate + trustme.CA().cert_pem.bytes())
    return {"certificate_file": certificate, "certificate_key_file": harness.file("tls.key", key)} | more


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_the_key_may_be_in_a_file_of_its_own(harness: Harness, password: str | None) -> None:
    """Certificate and key in two files, the key with or without a password, are a credential like any other."""
    auth = apart(harness, pem(pair().private, password or ""))
    harness.succeed(harness.tenant(auth | ({"certificate_password": password} if password else {})))


@pytest.mark.parametrize(
    ("key", "what", "fix"),
    [
        (b"hush", "it contains no private key", "put the private key into this file, as PEM"),
        (broken(pair().key), "its private key cannot be read", WHOLE),
        (pem(ec_key()), "its key is not RSA", "Microsoft's login accepts only RSA certificates"),
        (pem(other_key()), "its key does not belong to its certificate", "use the key that the certificate was made"),
        (
            pem(pair().private, PASSWORD),
            "its private key has a password, and no password is given",
            "set auth.certificate_pa",
        ),
    ],
)
def test_a_key_file_that_cannot_be_used_is_named(harness: Harness, key: bytes, what: str, fix: str) -> None:
    """What is wrong with the key is said of the key's file."""
    failure = harness.fail(harness.tenant(apart(harness, key)))
    assert failure.reason is Reason.CONFIG
    assert failure.message == f"{harness.known.name}: auth.certificate_key_file: {what}"
    assert failure.hint.startswith(fix)


@pytest.mark.parametrize("chain", [True, False])
def test_the_whole_chain_is_sent_where_it_is_asked_for(harness: Harness, *, chain: bool) -> None:
    """`send_certificate_chain` sends the certificate and those that signed it, in order; else it goes alone."""
    root = trustme.CA()
    middle = root.create_child_ca()
    leaf = middle.issue_cert("exporter.example", key_type=trustme.KeyType.RSA)
    own = leaf.cert_chain_pems[0].bytes()
    # In an order of its own, with one that signed nothing here.
    others = [root.cert_pem.bytes(), middle.cert_pem.bytes(), trustme.CA().cert_pem.bytes()]
    path = harness.file("chain.pem", b"".join(others) + leaf.private_key_pem.bytes() + own)
    tenant = harness.tenant({"certificate_file": path, "send_certificate_chain": chain})
    credential = harness.credentials.load(tenant).value
    sent = x509.load_pem_x509_certificates(credential["public_certificate"].encode())
    expected = [own, *reversed(others[:2])] if chain else [own]
    assert sent == [x509.load_pem_x509_certificate(one) for one in expected]


def test_a_chain_reaches_microsoft(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The assertion that MSAL makes carries the chain, and the login takes it."""
    forms: list[Any] = []
    post = LoginHttp.post

    def listen(self: LoginHttp, url: str, *, data: Any, **more: Any) -> Any:
        forms.append(data["client_assertion"])
        return post(self, url, data=data, **more)

    monkeypatch.setattr(LoginHttp, "post", listen)
    ca = trustme.CA()
    made = make_pair()
    harness.microsoft.register_certificate(harness.known, made.certificate)
    path = harness.file("chain.pem", made.certificate + made.key + ca.cert_pem.bytes())
    harness.succeed(harness.tenant({"certificate_file": path, "send_certificate_chain": True}))
    (assertion,) = forms
    head = (assertion if isinstance(assertion, bytes) else assertion.encode()).partition(b".")[0]
    header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    assert len(header["x5c"]) == 1  # self-signed: a chain of one; the stranger is left out


@pytest.mark.parametrize("password", ["", "hush, openssl"])
def test_what_openssl_exports_is_read(tmp_path: Path, password: str) -> None:
    """A PFX as OpenSSL writes it, also with the empty password that key vaults give, is opened."""
    openssl = require("openssl")
    source = tmp_path / "pair.pem"
    source.write_bytes(pair().key + pair().certificate)
    made = subprocess.run(
        [openssl, "pkcs12", "-export", "-in", source, "-passout", f"pass:{password}"], capture_output=True, check=True
    )
    certificate = load_certificate(made.stdout, password.encode())
    assert certificate.not_after == pair().parsed.not_valid_after_utc.timestamp()


def test_a_certificate_is_parsed_once(harness: Harness) -> None:
    """However many tenants and polls use a certificate, its key is loaded once for each content of the file."""
    path = harness.file("certificate.pem", pair().certificate + pair().key)
    tenants = [harness.tenant({"certificate_file": path}) for _ in range(3)]
    loaded = [harness.credentials.load(tenant).value["private_key"] for tenant in tenants]
    assert loaded[0] is loaded[1] is loaded[2]
    renewed = make_pair()
    path.write_bytes(renewed.certificate + renewed.key)
    again = [harness.credentials.load(tenant) for tenant in tenants]
    assert again[0].value["private_key"] is again[2].value["private_key"] is not loaded[0]
    assert renewed.thumbprint.lower() in again[0].fingerprint


@settings(max_examples=25)
@given(st.binary(max_size=4096), st.sampled_from([b"", b"hush"]))
def test_no_content_breaks_the_reading_of_certificates(content: bytes, password: bytes) -> None:
    """Every content of a file is a certificate or an error that says why it is not."""
    for text in (content, pair().certificate + pair().key + content, pfx()[:-64] + content):
        with contextlib.suppress(CertificateError):
            load_certificate(text, password)


def test_a_credential_hides_what_it_holds(harness: Harness) -> None:
    """The repr of a credential shows neither secret nor key."""
    path = harness.file("certificate.pem", pair().certificate + pair().key)
    for auth in ({"certificate_file": path}, {"client_secret": f"hush{secrets.token_hex(8)}"}):
        shown = repr(harness.credentials.load(harness.tenant(auth)))
        assert "fingerprint" in shown
        assert "hush" not in shown
        assert "rsa" not in shown.lower()
