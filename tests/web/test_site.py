"""The endpoints."""

from __future__ import annotations

import gzip
import re
import threading
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import httpx
import pytest

from exporter.web.http import text
from exporter.web.limits import Slots
from tests.statuses import reported, status
from tests.web.serving import BODY, Fake, running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.web.connection import Connection
    from tests.web.serving import Running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """A server with a source of its own."""
    with running() as one:
        yield one


def test_metrics_are_negotiated(server: Running) -> None:
    """The source is asked for the format and encoding that the client wants, and the answer says which it got."""
    with httpx.Client(base_url=server.url) as client:
        answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"})
        assert server.source.asked[-1] == (True, True, ())
        assert (
            answer.headers["content-type"]
            == "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        )
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.content == BODY
        answer = client.get("/metrics", headers={"Accept-Encoding": "identity"})
        assert server.source.asked[-1] == (False, False, ())
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "content-encoding" not in answer.headers
        assert answer.headers["vary"] == "Accept, Accept-Encoding"


def test_metrics_of_some_tenants(server: Running) -> None:
    """`?tenant=` may be repeated, is decoded, and is 404 by name where a tenant is unknown; other keys are ignored."""
    assert httpx.get(f"{server.url}/metrics?tenant=contoso&x=y&tenant=cont%6fso").status_code == 200
    assert server.source.asked[-1][2] == ("contoso", "contoso")
    for query, name in (("tenant=n%C3%BCll", "nüll"), ("tenant=contoso&tenant=", ""), ("tenant=%ff", "\ufffd")):
        answer = httpx.get(f"{server.url}/metrics?{query}")
        assert answer.status_code == 404
        assert answer.text == f"unknown tenant {name!r}\n"


def test_health_and_readiness() -> None:
    """Healthy is 200 in any case, ready only once the source is."""
    source = Fake(is_ready=False)
    with running(source) as server, httpx.Client(base_url=server.url) as client:
        assert [client.get(path).status_code for path in ("/-/healthy", "/-/ready")] == [200, 503]
        source.is_ready = True
        assert [client.get(path).status_code for path in ("/-/healthy", "/-/ready")] == [200, 200]


def test_before_the_first_rendering_there_are_no_metrics() -> None:
    """Until the first rendering is done, /metrics is 503 with Retry-After: an empty page would end every series."""
    source = Fake(is_ready=False)
    with running(source) as server, httpx.Client(base_url=server.url) as client:
        answer = client.get("/metrics")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        source.is_ready = True
        assert client.get("/metrics").status_code == 200


def test_status_is_json(server: Running) -> None:
    """The status is the source's, as JSON."""
    answer = httpx.get(f"{server.url}/api/v1/status")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == server.source.what.as_json()


def test_status_of_one_tenant(server: Running) -> None:
    """`?tenant=` chooses a tenant for page and API alike, and is 404 by name where it is unknown."""
    for path in ("/", "/api/v1/status"):
        assert httpx.get(f"{server.url}{path}?tenant=contoso").status_code == 200
        answer = httpx.get(f"{server.url}{path}?tenant=nobody")
        assert (answer.status_code, answer.text) == (404, "unknown tenant 'nobody'\n")


def test_a_long_status_is_packed_and_holds_up_nobody() -> None:
    """A status that takes its time leaves the event loop free, and goes out as gzip where that is welcome."""
    source = Fake(hold=threading.Event(), what=status({f"tenant-{number}": reported() for number in range(200)}))
    with running(source) as server:
        found: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: found.append(httpx.get(f"{server.url}/api/v1/status")))
        thread.start()
        assert httpx.get(f"{server.url}/metrics").status_code == 200
        assert source.hold is not None
        source.hold.set()
        thread.join(20)
        assert found[0].headers["content-encoding"] == "gzip"
        assert found[0].content == source.what.as_json()


def test_too_many_readers_get_503() -> None:
    """Requests for a status that does not come end in 503 beyond a bound."""
    source = Fake(hold=threading.Event())
    with running(source) as server:
        codes: list[int] = []
        ask = [
            threading.Thread(target=lambda: codes.append(httpx.get(server.url, timeout=60).status_code))
            for _ in range(10)
        ]
        for thread in ask:
            thread.start()
        until(lambda: codes == [503, 503])
        assert source.hold is not None
        source.hold.set()
        for thread in ask:
            thread.join(20)
        assert sorted(codes) == [200] * 8 + [503, 503]


def test_the_page_is_for_people_and_safe(server: Running) -> None:
    """The page links what there is, loads nothing from elsewhere, runs nothing and may not be framed."""
    answer = httpx.get(server.url)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "deny"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for href in ("metrics", "api/v1/status", "-/healthy", "-/ready"):
        assert f'href="{href}"' in answer.text
    assert not re.search(r"<script|https?:| style=| on\w+=", answer.text)


def test_reloading() -> None:
    """A reload needs leave and POST or PUT, and answers with the source's sentence."""
    with running() as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/-/reload").status_code == 403
        assert "--web.enable-lifecycle" in client.put("/-/reload").text
        assert client.get("/-/reload").headers["allow"] == "POST, PUT"
    source = Fake()
    with running(source, enable_lifecycle=True) as server, httpx.Client(base_url=server.url) as client:
        for method in ("POST", "PUT"):
            answer = client.request(method, "/-/reload", content=b"x" * 100)
            assert (answer.status_code, answer.text) == (200, "reloaded (tenants: 1)\n")
        source.reloaded = (False, "config.yml:tenants: must be a list")
        answer = client.post("/-/reload")
        assert (answer.status_code, answer.text) == (500, "config.yml:tenants: must be a list\n")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Origin": "http://o365.example:9365", "Host": "o365.example:9365"}, 200),
        ({"Origin": "https://ext.example", "Host": "o365.example:9365"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://o365.example", "Host": "o365.example:443"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://o365.example", "Host": "o365.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_origins_cannot_reload(headers: dict[str, str], code: int) -> None:
    """A browser may ask for a reload only from this server's own pages, behind a proxy too."""
    source = Fake()
    with running(source, enable_lifecycle=True, external_url="https://ext.example") as server:
        assert httpx.post(f"{server.url}/-/reload", headers=headers).status_code == code


def test_a_header_cannot_end_its_line() -> None:
    """A line break in a response's header is an error, never a header more."""
    with pytest.raises(ValueError, match="would end its line early"):
        text(302, "x", {"Location": "/a\r\nX-Injected: y"}).head({}, keep_alive=True, old=False)


def test_a_long_query_is_refused(server: Running) -> None:
    """More parameters than anybody has tenants to select are refused before they cost time."""
    for path in ("/metrics", "/api/v1/status", "/"):
        assert httpx.get(f"{server.url}{path}?" + "a&" * 300).status_code == 400


@pytest.mark.parametrize(
    ("settings", "prefix", "redirects"),
    [
        ({"route_prefix": "/"}, "", {}),
        ({"route_prefix": "/o365/"}, "/o365", {"/o365": "/o365/", "/": "/o365/"}),
        ({"route_prefix": "a/b"}, "/a/b", {"/a/b": "/a/b/", "/": "/a/b/"}),
        ({"external_url": "https://x.example/o%20365"}, "/o 365", {}),
        ({"external_url": "https://x.example//o365"}, "/o365", {"/": "/o365/"}),
        ({"route_prefix": "/o%20365"}, "/o 365", {"/": "/o 365/"}),
        ({"external_url": "https://x.example/ext", "route_prefix": "/"}, "", {}),
        ({"external_url": "https://x.example"}, "", {}),
    ],
)
def test_prefixes(settings: dict[str, Any], prefix: str, redirects: dict[str, str]) -> None:
    """Every path stands behind the prefix, which is the external URL's path unless it is given."""
    with running(telemetry_path="/m", **settings) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/", "/m", "/-/healthy", "/-/ready", "/api/v1/status"):
            assert client.get(prefix + path).status_code == 200
        for start, end in redirects.items():
            answer = client.get(start)
            assert answer.status_code == 302
            assert answer.next_request is not None
            assert answer.next_request.url.path == end
        assert client.get("/metrics").status_code == 404
        assert 'href="m"' in client.get(prefix + "/").text


@pytest.mark.parametrize(
    ("written", "href"), [("/a%20b", "a%20b"), ("/a:b", "a%3Ab"), ("/%C3%BC/m", "%C3%BC/m"), ("/a%25b", "a%25b")]
)
def test_a_telemetry_path_of_any_characters(written: str, href: str) -> None:
    """The metrics are where the flag says, escaped as in any URL, and the page's link leads there."""
    with running(telemetry_path=written) as server:
        assert httpx.get(server.url + written).status_code == 200
        assert f'href="{href}"' in httpx.get(server.url).text
        assert httpx.get(f"{server.url}/{href}").status_code == 200


def connection(client: str, cut: Callable[[], None] = lambda: None) -> Connection:
    """Return what the slots know of a client's connection."""
    return cast("Connection", Mock(client=client, cut=cut))


def test_slots_among_equals() -> None:
    """The oldest scrape of equals makes room once it has had its time, not before, and leaving twice does no harm."""
    now = [0.0]
    cut: list[str] = []
    slots = Slots(2, 5.0, clock=lambda: now[0])
    first = connection("a", lambda: cut.append("first"))
    assert slots.take(first)
    now[0] = 0.1
    assert slots.take(connection("b", lambda: cut.append("second")))
    now[0] = 4.9
    assert not slots.take(connection("c"))
    now[0] = 5.0
    assert slots.take(connection("c"))
    assert cut == ["first"]
    slots.discard(first)
    slots.discard(first)
    assert len(slots) == 2


def test_who_holds_most_makes_room() -> None:
    """A client that fills all places loses its oldest to another client at once, and takes none from one with fewer."""
    cut: list[str] = []
    slots = Slots(4, 60.0, clock=lambda: 0.0)

    def enter(client: str, name: str) -> bool:
        return slots.take(connection(client, lambda: cut.append(name)))

    assert all(enter("crowd", f"{number}") for number in range(4))
    assert enter("prometheus", "scrape")
    assert not enter("crowd", "more")
    assert enter("other", "other")
    assert cut == ["0", "1"]


def test_gzip_of_the_status_is_one_member(server: Running) -> None:
    """What is packed can be unpacked by anything."""
    server.source.what = status({"one": reported(), "two": reported()})
    with httpx.Client() as client, client.stream("GET", f"{server.url}/api/v1/status") as answer:
        assert gzip.decompress(b"".join(answer.iter_raw())) == server.source.what.as_json()
