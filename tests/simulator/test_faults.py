"""Everything that can go wrong, one by one, in the shape in which it was seen."""

from __future__ import annotations

import base64
import contextlib
import csv
import gzip
import io
import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from tests.full_simulator import FAULTS, Fault, Response, Simulator, Stage
from tests.simulator.plain import USER_COUNTS, Clock, Plain, error

if TYPE_CHECKING:
    from collections.abc import Callable

REDIRECTS = sorted(name for name in FAULTS if "redirect-" in name and name != "redirect-garbage")
ENOUGH = 1_000_000
# Everything that a client may meet in place of an answer.
TROUBLE = (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL, KeyError, RecursionError, ValueError)


@pytest.mark.parametrize(
    ("name", "status", "code", "message"),
    [
        ("400-segment", 400, "BadRequest", "Resource not found for the segment 'getOffice365ActivationsUserCounts'."),
        ("400-json-format", 400, "UnknownError", "JSON format is not supported."),
        ("401-expired", 401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
        ("403-s2s", 403, "S2SUnauthorized", "Invalid permission(s)."),
        ("403-scope", 403, "S2SUnauthorized", "Invalid scope claims/roles."),
        ("403-missing-credentials", 403, "MissingCredentials", "Valid Authorization header is needed."),
        ("403-empty", 403, "UnknownError", ""),
        ("429-unknown-error", 429, "UnknownError", None),
        ("500-empty", 500, "UnknownError", ""),
        ("503", 503, "serviceNotAvailable", None),
        ("504", 504, "UnknownError", ""),
    ],
)
def test_graphs_errors_have_their_code_and_message(
    *, plain: Plain, simulator: Simulator, name: str, status: int, code: str, message: str | None
) -> None:
    """Each row of "What goes wrong" has its status, code and message, and both ids."""
    simulator.inject("contoso", name)
    answer = plain.graph()
    assert (answer.status_code, error(answer)["code"]) == (status, code)
    assert message is None or error(answer)["message"] == message
    assert error(answer)["innerError"]["request-id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("403-wrapped", 403, "S2SUnauthorized"), ("400-json-format-wrapped", 400, "BadRequest")],
)
def test_an_error_may_stand_inside_an_error(
    plain: Plain, simulator: Simulator, name: str, status: int, code: str
) -> None:
    """The real error is JSON text inside the message of an UnknownError."""
    simulator.inject("contoso", name)
    answer = plain.graph()
    assert (answer.status_code, error(answer)["code"]) == (status, "UnknownError")
    assert json.loads(error(answer)["message"])["error"]["code"] == code


def test_an_unknown_tenant_is_404(plain: Plain, simulator: Simulator) -> None:
    """A valid tenant without report data is UnknownTenantId."""
    simulator.inject("contoso", "404-unknown-tenant")
    answer = plain.graph()
    assert (answer.status_code, error(answer)["code"]) == (404, "UnknownTenantId")
    assert error(answer)["message"].startswith("We do not recognize this tenant ID")


def test_a_claims_challenge_is_in_the_header(plain: Plain, simulator: Simulator) -> None:
    """WWW-Authenticate carries the claims in base64."""
    simulator.inject("contoso", "401-claims")
    challenge = plain.graph().headers["WWW-Authenticate"]
    assert 'error="insufficient_claims"' in challenge
    claims = challenge.partition('claims="')[2].partition('"')[0]
    assert "access_token" in json.loads(base64.b64decode(claims))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("429", "600"),
        ("429-short", "1"),
        ("429-no-retry-after", None),
        ("429-nonsense", "soon"),
        ("429-negative", "-5"),
    ],
)
def test_throttling_says_how_long_or_not(plain: Plain, simulator: Simulator, name: str, value: str | None) -> None:
    """Retry-After comes as seconds, as nonsense, or not at all."""
    simulator.inject("contoso", name)
    answer = plain.graph()
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, value)


def test_throttling_may_name_a_date(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """Retry-After comes as an HTTP date ten minutes ahead."""
    simulator.inject("contoso", "429-date")
    assert parsedate_to_datetime(plain.graph().headers["Retry-After"]).timestamp() == clock() + 600


@pytest.mark.parametrize(
    ("name", "status", "content"),
    [
        ("download-401-html", 401, "text/html; charset=utf-8"),
        ("download-403-html", 403, "text/html; charset=utf-8"),
        ("download-404-xml", 404, "application/xml"),
        ("download-410-xml", 410, "application/xml"),
        ("download-503-xml", 503, "application/xml"),
    ],
)
def test_the_download_host_answers_in_html_and_xml(
    plain: Plain, simulator: Simulator, name: str, status: int, content: str
) -> None:
    """Expired addresses look as they were seen."""
    simulator.inject("contoso", name)
    answer = plain.csv()
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, content)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("token-wrong-secret", 7000215),
        ("token-expired-secret", 7000222),
        ("token-unknown-app", 700016),
        ("token-unknown-tenant", 90002),
        ("token-certificate", 700027),
        ("token-conditional-access", 53003),
    ],
)
def test_the_login_host_refuses_on_demand(plain: Plain, simulator: Simulator, name: str, code: int) -> None:
    """Each refusal can be had whatever the credential is."""
    simulator.inject("contoso", name)
    document = plain.ask_token().json()
    assert document["error_codes"] == [code]
    assert "{" not in document["error_description"]


@pytest.mark.parametrize("name", REDIRECTS)
def test_redirects_lead_astray(plain: Plain, simulator: Simulator, name: str) -> None:
    """No Location of these faults is the https address of a host of Microsoft, but for the loops."""
    simulator.inject("contoso", name)
    answer = plain.csv() if name.startswith("download") else plain.graph()
    assert answer.status_code == 302
    location = answer.headers.get("Location", "")
    if name == "redirect-loop":
        assert location.startswith("https://graph.microsoft.com/v1.0/reports/")
    elif name == "download-redirect-loop":
        assert location.startswith("https://reportsweu.office.com/data/download/")
    elif name != "redirect-nowhere":
        parts = urlsplit(location)
        assert parts.scheme != "https" or not (parts.hostname or "").endswith(".office.com")


def test_a_location_may_be_no_address(plain: Plain, simulator: Simulator) -> None:
    """Such a Location is refused by httpx itself, also where it follows none."""
    simulator.inject("contoso", "redirect-garbage")
    with pytest.raises(httpx.RemoteProtocolError, match="location"):
        plain.graph()


def lines(body: bytes) -> list[list[str]]:
    """Return the cells of a CSV that Python's reader can read."""
    return list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))


CSV_SHAPES: dict[str, Callable[[bytes], bool]] = {
    "two-boms": lambda body: body.startswith(b"\xef\xbb\xbf\xef\xbb\xbfReport"),
    "no-bom": lambda body: body.startswith(b"Report"),
    "datetime-date": lambda body: lines(body)[1][0].endswith("T00:00:00Z"),
    "reordered-columns": lambda body: lines(body)[0][-1] == "Report Refresh Date",
    "extra-column": lambda body: len(lines(body)[0]) == 6,
    "missing-column": lambda body: lines(body)[0][1] == "Assigned",
    "twice-equal": lambda body: len(lines(body)[1:]) == 2 * len({tuple(line) for line in lines(body)[1:]}),
    "twice-unequal": lambda body: lines(body)[1][1] == lines(body)[-1][1] and lines(body)[1] != lines(body)[-1],
    "older-report": lambda body: {line[0] for line in lines(body)[1:]} == {"2025-12-29"},
    "mixed-dates": lambda body: {line[0] for line in lines(body)[1:]} == {"2025-12-29", "2025-12-30"},
    "empty-report": lambda body: len(lines(body)) == 1,
    "empty-body": lambda body: body == b"",
    "html": lambda body: body.startswith(b"<!DOCTYPE html>"),
    "binary": lambda body: len(set(body)) == 256,
    "invalid-utf-8": lambda body: b"\xff" in body,
    "utf-16": lambda body: body.startswith((b"\xff\xfe", b"\xfe\xff")),
    "nul-bytes": lambda body: b"\0" in body,
    "no-header": lambda body: body.startswith(b"2025-12-30,"),
    "truncated": lambda body: len(body) == 30,
    "bad-numbers": lambda body: {line[2] for line in lines(body)[1:]} == {"many"},
    "float-numbers": lambda body: {line[2] for line in lines(body)[1:]} == {"12.5"},
    "negative": lambda body: {line[2] for line in lines(body)[1:]} == {"-1"},
    "empty-numbers": lambda body: {line[2] for line in lines(body)[1:]} == {""},
    "huge-numbers": lambda body: {line[2] for line in lines(body)[1:]} == {str(10**100)},
    "bad-date": lambda body: {line[0] for line in lines(body)[1:]} == {"yesterday"},
    "one-bad-row": lambda body: [line[2] == "many" for line in lines(body)[1:3]] == [True, False],
    "awkward-name": lambda body: lines(body)[1][1] == 'A "quoted", broken \\ name',
    "nul-name": lambda body: b"A\0B" in body,
    "huge-cell": lambda body: len(body) > 10_000_000,
    "deep-json": lambda body: body.startswith(b"[" * 100_000),
    "surrogate-name": lambda body: json.loads(body)["value"][0]["productType"] == "\ud800",
    "duplicate-keys": lambda body: body.count(b'"assigned"') == 2,
    "nan": lambda body: b":NaN" in body,
    "1e400": lambda body: json.loads(body)["value"][0]["assigned"] == float("inf"),
    "json-list": lambda body: json.loads(body) == [1, 2, 3],
    "json-no-value": lambda body: json.loads(body) == {},
}


@pytest.mark.parametrize("name", sorted(CSV_SHAPES))
def test_content_is_spoiled_as_named(plain: Plain, simulator: Simulator, name: str) -> None:
    """Each fault of content does to the download what its name says."""
    simulator.inject("contoso", name)
    answer = plain.csv()
    assert answer.status_code == 200
    assert CSV_SHAPES[name](answer.content)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("negative", "assigned", -1),
        ("bad-numbers", "assigned", "many"),
        ("float-numbers", "assigned", 12.5),
        ("empty-numbers", "assigned", None),
        ("huge-numbers", "assigned", 10**100),
        ("bad-date", "reportRefreshDate", "yesterday"),
        ("datetime-date", "reportRefreshDate", "2025-12-30T00:00:00Z"),
        ("older-report", "reportRefreshDate", "2025-12-29"),
    ],
)
def test_content_is_spoiled_in_json_too(plain: Plain, simulator: Simulator, name: str, key: str, value: object) -> None:
    """Faults of lines come in the format requested."""
    simulator.inject("contoso", name)
    assert {line[key] for line in plain.json().json()["value"]} == {value}


def test_the_csv_may_come_at_once(plain: Plain, simulator: Simulator) -> None:
    """A 200 with the CSV itself stands in place of the redirect."""
    good = plain.csv().content
    simulator.inject("contoso", "direct-csv")
    answer = plain.graph()
    assert (answer.status_code, answer.content) == (200, good)


def test_a_next_link_leads_to_the_rest(plain: Plain, simulator: Simulator) -> None:
    """Both pages together are the report."""
    whole = plain.json().json()["value"]
    simulator.inject("contoso", "nextlink")
    token = plain.token()
    first = plain.json(token).json()
    link = first["@odata.nextLink"]
    rest = plain.client.get(link, headers={"Authorization": f"Bearer {token}"}).json()
    assert first["value"] + rest["value"] == whole
    assert "@odata.nextLink" not in rest


@pytest.mark.parametrize(
    ("name", "host"), [("nextlink-loop", "graph.microsoft.com"), ("nextlink-host", "graph.example.net")]
)
def test_a_next_link_may_lead_astray(plain: Plain, simulator: Simulator, name: str, host: str) -> None:
    """A link may point at its own page or at another host."""
    simulator.inject("contoso", name)
    assert urlsplit(plain.json().json()["@odata.nextLink"]).hostname == host


def test_compression_is_recognised_from_a_bomb(plain: Plain, simulator: Simulator) -> None:
    """A good answer may be compressed, a damaged one cannot be read, and a bomb is 256 MiB."""
    good = plain.csv().content
    for name in ("gzip", "gzip-broken"):
        simulator.inject("contoso", name)
    assert plain.csv().content == good
    with pytest.raises(httpx.DecodingError):
        plain.csv()
    simulator.inject("contoso", "gzip-bomb")
    with plain.client.stream("GET", plain.graph().headers["Location"]) as answer:
        packed = b"".join(answer.iter_raw())
    assert len(packed) < 1_000_000
    assert gzip.GzipFile(fileobj=io.BytesIO(packed)).seek(1 << 40) == 256 << 20


def test_headers_may_come_as_a_flood(plain: Plain, simulator: Simulator) -> None:
    """Five thousand headers, half a megabyte."""
    simulator.inject("contoso", "header-flood")
    assert len(plain.graph().headers) > 5000


def test_a_cookie_that_is_sent_on_is_a_leak(plain: Plain, simulator: Simulator) -> None:
    """A client that keeps Graph's cookies must not send them on; the state remembers one that does."""
    simulator.inject("contoso", "cookie")
    location = plain.graph().headers["Location"]
    assert plain.client.get(location).status_code == 200
    plain.client.get(location, headers={"Cookie": "secret=1"})
    assert len(simulator.leaks) == 1


@pytest.mark.parametrize("name", sorted(FAULTS))
@pytest.mark.parametrize("json", [False, True], ids=["csv", "json"])
def test_a_fault_comes_once_and_is_logged(*, plain: Plain, simulator: Simulator, name: str, json: bool) -> None:
    """Every fault strikes one call of its step, under its name; the next report is good again."""
    good = read(plain, json=json)
    simulator.inject("contoso", name)
    with contextlib.suppress(*TROUBLE):
        read(plain, json=json)
    struck = [record.fault for record in simulator.log if record.fault]
    assert struck == ([] if json and FAULTS[name].stage is Stage.DOWNLOAD else [name])
    assert read(plain, json=json) == good


def test_faults_come_as_often_as_asked(plain: Plain, simulator: Simulator) -> None:
    """A fault may strike several calls, then the next one its own, and one of them for ever until it is cleared."""
    simulator.inject("contoso", "503", times=2)
    simulator.inject("contoso", "500-empty", times=None)
    assert [plain.graph().status_code for _ in range(5)] == [503, 503, 500, 500, 500]
    simulator.clear("contoso")
    assert plain.graph().status_code == 302


def test_a_fault_may_strike_another_step(plain: Plain, simulator: Simulator) -> None:
    """A stage may be named, and a fault may be the test's own."""
    simulator.inject("contoso", "503", stage=Stage.TOKEN)
    assert plain.ask_token().status_code == 503
    simulator.inject("contoso", Fault("mine", Stage.REPORT, "my own", lambda _call, _good: Response(200, (), b"mine")))
    assert plain.csv().content == b"mine"


def test_faults_strike_one_tenant(plain: Plain, simulator: Simulator) -> None:
    """Another tenant's calls are as good as ever, and a tenant that is not there is an error."""
    simulator.inject("fabrikam", "503")
    assert plain.graph().status_code == 302
    with pytest.raises(KeyError):
        simulator.inject("nobody", "503")


def read(plain: Plain, *, json: bool) -> bytes:
    """Return the report, but no more of it than shows a fault."""
    token = plain.token()
    if json:
        url = f"{plain.cloud.graph}/beta/reports/{USER_COUNTS}?$format=application/json"
        request = plain.client.build_request("GET", url, headers={"Authorization": f"Bearer {token}"})
    else:
        request = plain.client.build_request("GET", plain.graph(token).headers["Location"])
    body = b""
    answer = plain.client.send(request, stream=True)
    with contextlib.closing(answer):
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > ENOUGH:
                break
    return body
