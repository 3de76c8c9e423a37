"""The web configuration file: what the exporter-toolkit accepts is accepted, what it refuses is refused."""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.errors import ConfigError
from exporter.web.webconfig import WebConfigFile
from tests.web.differences import DIFFERENCES
from tests.web.serving import Fake, running, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.conftest import Certificates

PAIR = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
HASH = "$2y$04$P7mPTagykXWWxlzKIN59KewFnDQCZPaDz1V0jP85RXKk9N.AC0TSG"
ALL_SUITES = "".join(
    f"\n  - {suite}"
    for suite in (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    )
)


class Good(NamedTuple):
    """A file that is accepted, and whether it serves TLS."""

    content: str
    tls: bool = True
    password: bool = False


GOOD = {
    "an empty file": Good("", tls=False),
    "a file of comments": Good("# nothing\n", tls=False),
    "empty sections": Good("tls_server_config:\nhttp_server_config: {}\nbasic_auth_users:\nrate_limit:\n", tls=False),
    "certificate and key": Good(PAIR),
    "no policy for clients": Good(PAIR + "  client_auth_type: NoClientCert\n"),
    "an empty policy": Good(PAIR + "  client_auth_type: ''\n"),
    "RequestClientCert": Good(PAIR + "  client_auth_type: RequestClientCert\n  client_ca_file: ca.pem\n"),
    "VerifyClientCertIfGiven without a CA": Good(PAIR + "  client_auth_type: VerifyClientCertIfGiven\n"),
    "VerifyClientCertIfGiven": Good(PAIR + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n"),
    "every cipher suite": Good(PAIR + f"  cipher_suites:{ALL_SUITES}\n"),
    "the client's order": Good(PAIR + f"  cipher_suites:{ALL_SUITES}\n  prefer_server_cipher_suites: false\n"),
    "only suites of TLS 1.3": Good(
        PAIR + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\nhttp_server_config: {http2: false}\n"
    ),
    "suites without HTTP/2": Good(
        PAIR + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
        "  max_version: TLS12\nhttp_server_config:\n  http2: false\n"
    ),
    "suites that TLS 1.3 does not look at": Good(
        PAIR + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n  min_version: TLS13\n"
    ),
    "only TLS 1.2": Good(PAIR + "  min_version: TLS12\n  max_version: TLS12\n"),
    "only TLS 1.3": Good(PAIR + "  min_version: TLS13\n  max_version: TLS13\n"),
    "versions left empty": Good(PAIR + "  min_version:\n  max_version: ~\n"),
    "CurveP256": Good(PAIR + "  curve_preferences: [CurveP256]\n"),
    "CurveP384": Good(PAIR + "  curve_preferences: [CurveP384]\n"),
    "CurveP521 twice": Good(PAIR + "  curve_preferences: [CurveP521, CurveP521]\n"),
    "the key in a file with a certificate inline": Good("INLINE\n  key_file: server.key\n"),
    "certificate and key inline": Good("INLINE\n  key: |\nKEY\n"),
    "an inline CA": Good("INLINE\n  key: |\nKEY\n  client_auth_type: VerifyClientCertIfGiven\n  client_ca: |\nCA\n"),
    "a file goes before what is inline": Good(PAIR + "  cert: junk\n  key: junk\n"),
    "settings without certificate": Good("tls_server_config: {min_version: TLS13}\n", tls=False),
    "http2": Good(PAIR + "http_server_config: {http2: true}\n"),
    "http2 in the words of YAML 1.1": Good(PAIR + "http_server_config: {http2: off}\n"),
    "headers": Good(
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n"
        "    X-Content-Type-Options: nosniff\n    Strict-Transport-Security: max-age=31536000; includeSubDomains\n"
        "    Content-Security-Policy: \"default-src 'self' *.test.example.net\"\n",
        tls=False,
    ),
    "other values of headers": Good(
        "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: ''\n"
        "    Content-Security-Policy: >\n      default-src 'none';\n      base-uri 'none'\n",
        tls=False,
    ),
    "users": Good(f"basic_auth_users:\n  alice: {HASH}\n  1: {HASH.replace('$2y', '$2a')}\n", tls=False, password=True),
    "users and TLS": Good(PAIR + f"basic_auth_users: {{bob: '{HASH.replace('$2y', '$2b')}'}}\n", password=True),
    "no rate limit": Good("rate_limit:\n  interval: 0\n  burst: 0\n", tls=False),
    "no rate limit in words": Good("rate_limit: {interval: 0s, burst: 20}\n", tls=False),
    "merge keys": Good("<<: {rate_limit: {}}\n", tls=False),
    "http2 in quotes": Good("http_server_config: {http2: 'true'}\n", tls=False),
    "an alias": Good("tls_server_config: {cert_file: &pair server.crt, key_file: server.key, client_ca_file: ''}\n"),
}

BAD = {
    "a file of junk": "hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr\n",
    "a list": "- tls_server_config\n",
    "broken YAML": "tls_server_config: {cert_file: [\n",
    "a tab": "a:\n\tb\n",
    "bytes that are no text": "a: \x01\n",
    "half a character": 'http_server_config: {headers: {X-XSS-Protection: "\\ud800"}}\n',
    "a character out of range": 'a: "\\Uffffffff"\n',
    "nesting without end": "[" * 1_000,
    "two documents": "---\n{}\n---\n{}\n",
    "an unknown section": "tls_config: {}\n",
    "an unknown key": "tls_server_config:\n  cert_filse: server.crt\n",
    "a key twice": PAIR + "  key_file: other.key\n",
    "a user twice": f"basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n",
    "a mapping for a text": "tls_server_config: {cert_file: {}}\n",
    "a text for a list": PAIR + "  cipher_suites: X\n",
    "a text for a section": "tls_server_config: x\n",
    "an empty certificate path": "tls_server_config: {cert_file: '', key_file: server.key}\n",
    "an empty certificate": "tls_server_config: {cert: '', key_file: server.key}\n",
    "an empty key path": "tls_server_config: {cert_file: server.crt, key_file: ''}\n",
    "an empty key": "tls_server_config: {cert_file: server.crt, key: ''}\n",
    "neither, with an invented policy": "tls_server_config: {cert_file: '', key_file: '', client_auth_type: x}\n",
    "no such certificate": "tls_server_config: {cert_file: somefile, key_file: server.key}\n",
    "no such key": "tls_server_config: {cert_file: server.crt, key_file: somefile}\n",
    "neither file": "tls_server_config: {cert_file: somefile, key_file: somefile}\n",
    "another key": "tls_server_config: {cert_file: server.crt, key_file: other.key}\n",
    "a key with a password": "tls_server_config: {cert_file: server.crt, key_file: locked.key}\n",
    "a certificate of junk": "tls_server_config: {cert_file: junk, key_file: server.key}\n",
    "an empty certificate file": "tls_server_config: {cert_file: empty, key_file: server.key}\n",
    "a client CA without policy": PAIR + "  client_ca_file: /dev/null\n",
    "no such client CA, without policy": PAIR + "  client_ca_file: somefile\n",
    "no such client CA": PAIR + "  client_ca_file: somefile\n  client_auth_type: RequireAndVerifyClientCert\n",
    "an invented policy": PAIR + "  client_auth_type: Any\n",
    "an invented cipher suite": PAIR + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]\n",
    "a suite that Go holds unsafe": PAIR + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n",
    "suites without HTTP/2": PAIR + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n  max_version: TLS12\n",
    "an invented curve": PAIR + "  curve_preferences: [CurveP257]\n",
    "an invented version": PAIR + "  min_version: TLS111\n",
    "an empty version": PAIR + "  max_version: ''\n",
    "no truth value": "http_server_config: {http2: maybe}\n",
    "a header that may not be set": "http_server_config: {headers: {Content-Type: foo}}\n",
    "a header in lower case": "http_server_config: {headers: {x-frame-options: deny}}\n",
    "X-Content-Type-Options": "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n",
    "X-Frame-Options": "http_server_config: {headers: {X-Frame-Options: foo}}\n",
    "X-Frame-Options in upper case": "http_server_config: {headers: {X-Frame-Options: DENY}}\n",
    "an empty X-Frame-Options": "http_server_config: {headers: {X-Frame-Options: ''}}\n",
    "a password in clear": "basic_auth_users: {john: doe}\n",
    "no password": "basic_auth_users: {john: }\n",
    "a cost out of range": f"basic_auth_users: {{j: '{HASH.replace('$04', '$03')}'}}\n",
    "a burst in words": "rate_limit: {burst: many}\n",
    "an interval in words": "rate_limit: {interval: often}\n",
}

HERE = {
    ("tls_server_config.client_auth_type", "RequireAnyClientCert, RequireClientCert"): (
        (PAIR + "  client_auth_type: RequireAnyClientCert\n", "RequireAnyClientCert is not supported here"),
        (PAIR + "  client_auth_type: RequireClientCert\n", "RequireClientCert is not supported here"),
    ),
    ("tls_server_config.client_auth_type", "RequestClientCert"): (
        (PAIR + "  client_auth_type: RequestClientCert\n", ""),
    ),
    ("tls_server_config.client_allowed_sans", "without VerifyClientCertIfGiven or RequireAndVerifyClientCert"): (
        (PAIR + "  client_allowed_sans: [a]\n", "protects nothing unless certificates are verified"),
        (PAIR + "  client_allowed_sans: [a]\n  client_auth_type: RequestClientCert\n", "protects nothing"),
    ),
    ("tls_server_config.client_allowed_sans", "a client's verified certificate without an allowed name"): (
        (PAIR + "  client_allowed_sans: [a]\n  client_auth_type: RequireAndVerifyClientCert\n", ""),
    ),
    ("tls_server_config.client_ca, client_ca_file", "without a readable certificate"): (
        (PAIR + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: junk\n", "no certificate in"),
        (PAIR + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: junk\n", "no certificate in the inline"),
    ),
    ("tls_server_config.min_version, max_version", "TLS10, TLS11"): (
        (PAIR + "  min_version: TLS10\n", ":tls_server_config.min_version: TLS10 is not supported here"),
        (PAIR + "  max_version: TLS11\n", ":tls_server_config.max_version: TLS11 is not supported here"),
    ),
    ("tls_server_config.min_version, max_version", "a minimum above the maximum"): (
        (PAIR + "  min_version: TLS13\n  max_version: TLS12\n", "is above max_version"),
    ),
    ("tls_server_config.cipher_suites", "only suites of TLS 1.3 with max_version: TLS12"): (
        (PAIR + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  max_version: TLS12\n", "has only suites of TLS 1.3"),
    ),
    ("tls_server_config.curve_preferences", "more than one curve"): (
        (PAIR + "  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n", "several curves are not supported"),
    ),
    ("tls_server_config", "whole, without certificate and key (only min_version, cipher_suites, …)"): (
        ("tls_server_config: {min_version: TLS13}\n", ""),
    ),
    ("http_server_config.http2", "true, the default"): ((PAIR + "http_server_config: {http2: true}\n", ""),),
    ("http_server_config.headers", "a control character other than a line break"): (
        ('http_server_config: {headers: {X-XSS-Protection: "a\\0b"}}\n', "contains a control character"),
    ),
    ("basic_auth_users", "hashes other than $2a$, $2b$ and $2y$, or not 60 characters long"): (
        (f"basic_auth_users: {{j: '{HASH.replace('$2y', '$2x')}'}}\n", "is not a bcrypt hash"),
        (f"basic_auth_users: {{j: '{HASH}.'}}\n", "is not a bcrypt hash"),
    ),
    ("rate_limit", "an interval other than 0"): (
        ("rate_limit: {interval: 1s, burst: 20}\n", ":rate_limit.interval: rate limits are not supported here"),
    ),
    ("the file", "more than one YAML document"): (("--- {}\n--- {}\n", "contains more than one document"),),
    ("http_server_config.http2, tls_server_config.prefer_server_cipher_suites", "true or false in quotes"): (
        (PAIR + "  prefer_server_cipher_suites: 'false'\nhttp_server_config: {http2: 'true'}\n", ""),
    ),
    ("basic_auth_users", "on /-/healthy and /-/ready"): ((f"basic_auth_users: {{alice: {HASH}}}\n", ""),),
}
"""For each row of the table of differences: files, and what is said of them; nothing where they are accepted."""


def put_inline(certificates: Certificates, content: str) -> str:
    """Put certificate, key and CA into the file itself."""

    def indented(name: str) -> str:
        return "\n".join(f"    {line}" for line in (certificates.folder / name).read_text().splitlines())

    inline = f"tls_server_config:\n  cert: |\n{indented('server.crt')}"
    return (
        content.replace("INLINE", inline)
        .replace("KEY\n", f"{indented('server.key')}\n")
        .replace("CA\n", indented("ca.pem"))
    )


@pytest.mark.parametrize("name", GOOD)
def test_good_files(certificates: Certificates, name: str) -> None:
    """A good file is served as it says."""
    good = GOOD[name]
    path = certificates.write(put_inline(certificates, good.content))
    scheme = "https" if good.tls else "http"
    with running(config_file=path) as server, httpx.Client(verify=certificates.client()) as client:
        answer = client.get(f"{scheme}://127.0.0.1:{server.port}/metrics")
        assert answer.status_code == (401 if good.password else 200)


def test_a_curve_is_set_or_refused_in_words(certificates: Certificates) -> None:
    """X25519 is served where Python can set it alone, and refused by name where it cannot."""
    path = certificates.write(PAIR + "  min_version: TLS13\n  curve_preferences:\n  - X25519\n")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve("X25519")
    except ssl.SSLError:
        with pytest.raises(ConfigError, match=r"curve_preferences: this Python's ssl cannot set X25519"):
            WebConfigFile(path).load()
    else:
        with running(config_file=path) as server, httpx.Client(verify=certificates.client()) as client:
            assert client.get(f"https://127.0.0.1:{server.port}/metrics").status_code == 200


@pytest.mark.parametrize("name", BAD)
def test_bad_files(certificates: Certificates, name: str) -> None:
    """A bad file keeps the server from starting, and the error names it."""
    path = certificates.write(BAD[name])
    with pytest.raises(ConfigError) as caught, running(config_file=path):
        pass
    assert all(error.startswith(f"{path}:") for error in caught.value.errors)


def test_errors_of_bad_files(certificates: Certificates, golden: Callable[[Path, str], None]) -> None:
    """Every bad file's errors read as the golden file says: place, rule and fix, all of one file at once."""
    lines = []
    for name, content in BAD.items():
        path = certificates.write(content)
        with pytest.raises(ConfigError) as caught:
            WebConfigFile(path).load()
        errors = (error.replace(f"{certificates.folder}/", "") for error in caught.value.errors)
        lines += [f"# {name}", *errors, ""]
    golden(Path(__file__).parent.parent / "golden" / "web" / "bad_files.txt", "\n".join(lines))


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: f"{one.key}: {one.value}")
def test_differences(certificates: Certificates, difference: tuple[str, ...]) -> None:
    """Each row of the table of differences from the toolkit is what happens."""
    key, value, _, here, _ = difference
    for content, sentence in HERE[key, value]:
        assert (here == "refused") == bool(sentence)
        path = certificates.write(content)
        if sentence:
            with pytest.raises(ConfigError) as caught:
                WebConfigFile(path).load()
            assert any(sentence in error for error in caught.value.errors), caught.value.errors
        else:
            WebConfigFile(path).load()


def test_every_row_of_the_differences_is_held() -> None:
    """No row is without its files, and no files without their row."""
    assert {(one.key, one.value) for one in DIFFERENCES} == set(HERE)


def test_errors_are_reported_at_once_without_secrets(certificates: Certificates) -> None:
    """All errors are reported together, without the hash, key or text that they are about."""
    path = certificates.write(
        "tls_server_config: {cert: a, key: hunter2, min_version: 1, curve_preferences: [x]}\n"
        "basic_auth_users: {john: hunter2, jane: [hunter2]}\nrate_limit: {interval: 1s}\n"
    )
    with pytest.raises(ConfigError) as caught:
        WebConfigFile(path).load()
    places = [error.removeprefix(f"{path}:").partition(":")[0] for error in caught.value.errors]
    assert places == [
        *("tls_server_config.min_version", "tls_server_config.curve_preferences[0]"),
        *("basic_auth_users.john", "basic_auth_users.jane", "rate_limit.interval"),
    ]
    assert "hunter2" not in str(caught.value)
    broken = certificates.write("basic_auth_users: {john: *hunter2}\n")
    with pytest.raises(ConfigError) as caught:
        WebConfigFile(broken).load()
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A web configuration that is not there is an error that names it."""
    with pytest.raises(ConfigError, match=r"nowhere\.yml: cannot be read: No such file or directory"):
        WebConfigFile(tmp_path / "nowhere.yml").load()


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """A file that cannot be a web configuration is not read into the ground."""
    (tmp_path / "huge").write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="is larger than"):
        WebConfigFile(tmp_path / "huge").load()


def test_headers_are_sent_with_every_answer(certificates: Certificates) -> None:
    """The configured headers stand in every answer, in place of the page's own."""
    path = certificates.write(GOOD["headers"].content + f"basic_auth_users: {{alice: '{HASH}'}}\n")
    with running(config_file=path) as server, httpx.Client(base_url=server.url) as client:
        for where, code in (("/metrics", 401), ("/nowhere", 401), ("/-/healthy", 200), ("/-/ready", 200)):
            answer = client.get(where)
            assert answer.status_code == code
            assert answer.headers["x-frame-options"] == "deny"
            assert answer.headers["x-xss-protection"] == "1"
            assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    path = certificates.write(GOOD["headers"].content)
    with running(Fake(fail=True), config_file=path) as server, httpx.Client(base_url=server.url) as client:
        for answer in (client.get("/metrics"), client.get("/", headers={"Host": "a b"})):
            assert answer.status_code in {400, 500}
            assert answer.headers["x-frame-options"] == "deny"
    path = certificates.write(GOOD["other values of headers"].content)
    with running(config_file=path) as server:
        answer = httpx.get(server.url)
        assert answer.headers["content-security-policy"] == "default-src 'none'; base-uri 'none'"
        assert answer.headers["x-frame-options"] == "sameorigin"
        assert "x-xss-protection" not in answer.headers
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_remarks_are_said_once(certificates: Certificates) -> None:
    """What is accepted but done otherwise is said in one line of the log each."""
    path = certificates.write(PAIR + "  client_auth_type: RequestClientCert\nhttp_server_config:\n  http2: true\n")
    with capture_logs() as logs, running(config_file=path):
        pass
    said = [one["event"] for one in logs if one["log_level"] == "warning"]
    assert said == [
        "http2: true is accepted, and served as HTTP/1.1",
        "client_auth_type RequestClientCert is accepted, but no certificate is requested",
    ]
    with capture_logs() as logs, running(config_file=certificates.write("tls_server_config: {min_version: TLS13}\n")):
        pass
    said = [one["event"] for one in logs if one["log_level"] == "warning"]
    assert said == ["tls_server_config names no certificate: TLS is off, as in the exporter-toolkit"]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any file is accepted or refused by the declared error."""
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(content)
    check(path)


NAMES = (
    *(
        "tls_server_config",
        "http_server_config",
        "basic_auth_users",
        "rate_limit",
        "cert_file",
        "key",
        "headers",
        "http2",
    ),
    *(
        "client_auth_type",
        "cipher_suites",
        "min_version",
        "X-Frame-Options",
        "interval",
        "burst",
        "<<",
        "curve_preferences",
    ),
)
TOKENS = st.sampled_from(
    (
        *NAMES,
        ": ",
        ":\n",
        "\n",
        "\n  ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "!!binary ",
        "|\n",
        "'",
        '"',
        "\\x",
        HASH,
        "TLS12",
        "~",
    )
)


@given(st.lists(TOKENS, max_size=25).map("".join))
def test_likely_text_is_a_file(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    """Almost-files are accepted or refused by the declared error."""
    path = tmp_path_factory.getbasetemp() / "likely.yml"
    path.write_text(content, encoding="utf-8")
    check(path)


def check(path: Path) -> None:
    """Hold a file to its promise."""
    with contextlib.suppress(ConfigError):
        WebConfigFile(path).load()


@pytest.mark.parametrize("name", ["web.yml", "server.crt", "ca.pem"])
def test_pipes_are_errors_at_once(certificates: Certificates, name: str) -> None:
    """A FIFO in place of the file, or of a certificate, is an ordinary error and blocks nobody."""
    path = certificates.write(PAIR + "  client_ca_file: ca.pem\n  client_auth_type: VerifyClientCertIfGiven\n")
    (certificates.folder / name).unlink()
    os.mkfifo(certificates.folder / name)
    with pytest.raises(ConfigError, match="it is not a regular file"):
        WebConfigFile(path).load()


def test_users_are_lost_by_a_restart_only(certificates: Certificates) -> None:
    """A web configuration that loses its users is refused while the exporter runs; others go on to be taken."""
    users = f"basic_auth_users: {{alice: {HASH}}}\n"
    headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    with capture_logs() as logs, running(config_file=certificates.write(users)) as server:
        for content in ("", headers, "basic_auth_users: {}\n"):
            logs.clear()
            certificates.write(content)
            until(lambda: any("no longer has any users" in one.get("errors", "") for one in logs))
            assert httpx.get(f"{server.url}/metrics").status_code == 401
        certificates.write(users + headers)
        until(lambda: "x-frame-options" in httpx.get(f"{server.url}/metrics").headers)
