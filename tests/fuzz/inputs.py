"""What comes in: any bytes, things of the right shape with something wrong, and good things that were damaged."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import strategies as st

from exporter.reports import REPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = st.sampled_from(["2026-09-19", "2026-09-18", "2026-09-19T00:00:00Z", "2026-02-30", "0000-00-00", "today", ""])
NAMES = st.sampled_from(
    ["OFFICE", "Visio Plan 2", 'a "quoted",\r\nname', "\0", " ", "", "X" * 300, "\ufeff"]
) | st.text(max_size=20)
COUNTS: st.SearchStrategy[Any] = st.integers(0, 9999) | st.sampled_from([
    -1, 2**53, 2**53 + 1, 10**30, 1.5, 1e400, float("nan"), None, True, "", "7", " 7 ", "٣", "1e3", "0x7", "many",
])  # fmt: skip
HEADERS = st.sampled_from([
    *(column.csv for report in REPORTS.values() for column in report.columns),
    "Report Refresh Date", "Product Type", "report refresh date", " Assigned ", "\ufeffAssigned", "New",
])  # fmt: skip
KEYS = st.sampled_from([
    *(column.json for report in REPORTS.values() for column in report.columns),
    "reportRefreshDate", "productType", "value", "@odata.nextLink", "new",
])  # fmt: skip
VARIANTS = 8
"""To draw a file costs a hundred times what it costs to read it: each is read in several versions."""

_TOKENS = (
    b'"',
    b",",
    b"\r\n",
    b"\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"{",
    b"[",
    b"]",
    b":",
    b"1e400",
    b"NaN",
    b"null",
    b"\\ud800",
)
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 12), st.binary(max_size=6) | st.sampled_from([b'"', b",", b"\r\n"])),
    max_size=4,
)


def damaged(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Return `content` with some of its bytes replaced."""
    for at, length, new in edits:
        content = content[:at] + new + content[at + length :]
    return content


def variants(content: bytes) -> Iterator[bytes]:
    """Yield `content` and a few more of its kind, with bytes changed, doubled or gone, always the same ones."""
    yield content
    rng = random.Random(content)
    for _ in range(VARIANTS - 1):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(changed) + 1)
            match rng.randrange(4):
                case 0:
                    changed[at : at + 1] = bytes((rng.randrange(256),))
                case 1:
                    del changed[at : at + rng.choice((1, 1, 4, 30))]
                case 2:
                    changed[at:at] = rng.choice(_TOKENS)
                case _:
                    changed[at:at] = changed[max(at - rng.choice((1, 8, 40)), 0) : at]
        yield bytes(changed)


def _csv(header: list[str], rows: list[list[Any]], bom: bytes) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, escapechar="\\")
    writer.writerow(header)
    writer.writerows(rows)
    return bom + text.getvalue().encode("utf-8", "surrogatepass")


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """Return what the download host may send for a report by CSV."""
    report = draw(st.sampled_from(list(REPORTS.values())))
    good = ["Report Refresh Date", "Product Type", *(column.csv for column in report.columns)]
    header = draw(st.just(good) | st.permutations(good) | st.lists(HEADERS, max_size=8))
    cells = {"Report Refresh Date": DAYS, "Product Type": NAMES}
    row = st.tuples(*(cells.get(name, COUNTS) for name in header)).map(list)
    rows = draw(st.lists(row | st.lists(COUNTS, max_size=7), max_size=5))
    bom = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe"]))
    return damaged(_csv(header, rows, bom), draw(EDITS))


@st.composite
def json_pages(draw: st.DrawFn) -> bytes:
    """Return what Graph may send for a report by JSON."""
    report = draw(st.sampled_from(list(REPORTS.values())))
    good = st.fixed_dictionaries(
        {"reportRefreshDate": DAYS, "productType": NAMES, **{column.json: COUNTS for column in report.columns}}
    )
    row = good | st.dictionaries(KEYS, COUNTS | NAMES, max_size=6) | COUNTS
    value = draw(st.lists(row, max_size=5) | COUNTS)
    document = {draw(st.just("value") | KEYS): value, "@odata.context": "x"}
    return damaged(json.dumps(document).encode(), draw(EDITS))


def _dumped(data: Any) -> str:
    return yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))


_SCALARS: st.SearchStrategy[Any] = st.sampled_from([
    None, True, False, 0, 1, 0.5, "", "no", "TLS13", "TLS12", "CurveP256", "X25519", "TLS_AES_128_GCM_SHA256",
    "RequireAndVerifyClientCert", "NoClientCert", "nosniff", "deny", "server.pem", "/dev/null", "a\nb", "\x7f", "Ä",
    "$2y$10$abcdefghijklmnopqrstuuAqC7s3wYJTKbDlk0cRzqGvX0FpRrKnq", "-----BEGIN CERTIFICATE-----\nAA==\n", "<secret>",
])  # fmt: skip
_WEB_KEYS = st.sampled_from([
    "tls_server_config", "http_server_config", "basic_auth_users", "rate_limit", "cert", "cert_file", "key", "key_file",
    "client_auth_type", "client_ca", "client_ca_file", "client_allowed_sans", "cipher_suites", "curve_preferences",
    "min_version", "max_version", "prefer_server_cipher_suites", "http2", "headers", "X-Frame-Options", "burst",
    "X-Content-Type-Options", "X-XSS-Protection", "Strict-Transport-Security", "Content-Security-Policy", "interval",
    "user", "x", "",
])  # fmt: skip
_WEB_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WEB_KEYS, inner, max_size=5),
    max_leaves=15,
)
_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_YAML_EDITS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 9),
        st.sampled_from(
            [b"&a ", b"*a", b"!!python/object:os.system", b"<<: ", b"? ", b"{", b"[", b"\t", b"---\n", b"%"]
        )
        | st.binary(max_size=4),
    ),
    max_size=3,
)


@st.composite
def web_files(draw: st.DrawFn) -> bytes:
    """Return what may stand in a web configuration file."""
    section = st.dictionaries(_WEB_KEYS, _WEB_VALUES, max_size=6)
    data = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(_SECTIONS, section | _SCALARS)) | _WEB_VALUES)
    return damaged(_dumped(data).encode("utf-8", "surrogatepass"), draw(_YAML_EDITS))


@st.composite
def yaml_files(draw: st.DrawFn, shape: st.SearchStrategy[Any]) -> bytes:
    """Return data of that shape as YAML, sometimes damaged."""
    return damaged(_dumped(draw(shape)).encode("utf-8", "surrogatepass"), draw(_YAML_EDITS))


_NUMBERS = st.sampled_from(["0", "1", "90", "007", "9" * 30, "-1", "1.5", "٣", ""])
_UNITS = st.sampled_from(["y", "w", "d", "h", "m", "s", "ms"])
DURATIONS = st.text(max_size=12) | st.lists(st.tuples(_NUMBERS, _UNITS).map("".join), max_size=4).map("".join)

_FIELDS = st.sampled_from([
    "*", "0", "7", "59", "*/15", "1-5", "5-1", "mon", "SUN-sat", "jan", "1,2,3", "*/0", "31", "60", "1-", "-", ",",
    "a/2", "1/2", "29,30", "2", "L", "?", "٣", "9" * 20,
])  # fmt: skip
CRONTABS = st.lists(_FIELDS, min_size=4, max_size=6).map(" ".join) | st.text(max_size=20)

_WORDS = st.sampled_from([
    "Mon,", "Xyz,", "01", "99", "Jan", "Feb", "2026", "0", "99999", "10:00:00", "25:61:61", "GMT", "+9999", "-0000",
])  # fmt: skip
WAITS = (
    st.text(max_size=30)
    | st.sampled_from(["0", "600", "-5", "soon", "1e9", "9" * 400, "٣", " 7 ", "0x10", "1.5", "+5", "²"])
    | st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | st.lists(_WORDS, max_size=7).map(" ".join)
)

_PARTS = st.sampled_from([
    "https://", "http://", "HTTPS://", "file://", "//", "https:", "reports.office.com", "office.com", "evil.example",
    "@", "user:pw@", "localhost", "127.0.0.1", "[::1]", "[::", "10.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1",
    ":443", ":1", ":99999", ":x", ":8443", "files.example", "/data", "?sig=1", "#f", "\\", "%2e", "\t", "\r\n", "。",
    "\uff4fffice.com", ".", "..",
])  # fmt: skip
LOCATIONS = st.lists(_PARTS, max_size=7).map("".join) | st.text(max_size=30)
