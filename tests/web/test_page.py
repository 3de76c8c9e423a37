"""The page for people."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING

import pytest

from exporter.errors import Reason
from exporter.state import Failure
from exporter.web.page import PAGE_SIZE, View, render
from tests.builders import NOON, PLATFORMS, snapshot, tenant
from tests.statuses import PRODUCT, Stored, failed, reported, status

if TYPE_CHECKING:
    from exporter.status import Status

PERMISSION = Failure(Reason.PERMISSION, "contoso: Graph answered 403", "grant Reports.Read.All", "1234-5678")
CONSENT = (
    "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/adminconsent"
    "?client_id=22222222-2222-2222-2222-222222222222"
)


def page(of: Status, query: str = "", path: str = "/metrics") -> str:
    """Return the page that a query string asks for."""
    return render(of, View.parse(query), path).decode()


def text(html: str) -> str:
    """Return what a reader sees."""
    visible = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", visible)).split())


def names(html: str) -> list[str]:
    """Return the tenants of the list, in order."""
    return [unescape(name) for name in re.findall(r"<article[^>]*><h2><a [^>]*>([^<]*)</a>", html)]


def test_a_summary_line_counts_the_states() -> None:
    """The first line says how many tenants are failing, waiting and ok."""
    of = status({"one": reported(), "two": reported(), "three": failed(PERMISSION)}, tenants=[tenant("four")])
    assert "4 tenants: 1 failing , 1 waiting for a first report , 2 ok ." in text(page(of))


def test_failing_tenants_come_first_with_reason_fix_and_consent() -> None:
    """A failing tenant stands first, with reason, message, fix, request-id and the consent URL as a link."""
    html = page(status({"contoso": failed(PERMISSION), "adatum": reported()}))
    assert names(html) == ["contoso", "adatum"]
    for part in ("permission: contoso: Graph answered 403", "Fix: grant Reports.Read.All", "request-id 1234-5678"):
        assert part in text(html)
    assert html.count(f'<a href="{CONSENT}" rel="noreferrer">{CONSENT}</a>') == 1


def test_a_consent_url_inside_the_fix_is_the_link() -> None:
    """A fix that names the consent URL gets it as a link in its place, and not a second time."""
    hint = f"an administrator opens {CONSENT}, then waits"
    html = page(status({"contoso": failed(replace(PERMISSION, hint=hint))}))
    assert text(html).count(CONSENT) == 1
    assert f'opens <a href="{CONSENT}" rel="noreferrer">{CONSENT}</a>, then waits' in html


def test_a_failing_tenant_keeps_its_numbers_until_they_are_withdrawn() -> None:
    """Numbers stand next to a failure while /metrics has them, and are said to be withdrawn afterwards."""
    of = status({"contoso": failed(PERMISSION, reported())})
    assert PRODUCT in page(of)
    later = status({"contoso": failed(PERMISSION, reported())}, now=NOON + timedelta(hours=73).total_seconds())
    assert PRODUCT not in page(later)
    assert "The numbers were withdrawn: no poll has succeeded since 2026-09-21 14:13 UTC (3 days ago)" in text(
        page(later)
    )


def test_a_page_says_that_numbers_are_withdrawn_whatever_the_clock() -> None:
    """Numbers that a clock set back has withdrawn before their time are said to be, and those never read are not."""
    of = status({"contoso": reported()})
    report = replace(of.tenants[0].reports["activations_user_counts"], products=())
    never = replace(report, refresh_date=None, data_expires=of.time)
    pages = [
        page(replace(of, tenants=(replace(of.tenants[0], reports={"activations_user_counts": one}),)))
        for one in (report, never)
    ]
    assert ["The numbers were withdrawn" in shown for shown in pages] == [True, False]


def test_numbers_ratio_and_target() -> None:
    """A product has its three numbers and its ratio as a bar against the target, where one applies."""
    rows = (
        ("LOW", (1000, 300, 20)),
        ("MORE THAN ALL", (100, 120, 0)),
        ("NOBODY", (0, 0, 0)),
        ("SMALL", (3, 1, 0)),
    )
    html = page(status({"contoso": reported(rows=rows)}))
    shown = text(html)
    assert "LOW 1,000 300 20 30% below target 50%" in shown
    assert "MORE THAN ALL 100 120 0 120% target 50%" in shown
    assert "NOBODY 0 0 0 no assigned users" in shown
    assert "SMALL 3 1 0 33.3% no target" in shown
    assert re.findall(r'class="part" d="M0 1h([\d.]+)v8H0z"', html) == ["30.0", "100.0", "33.3"]
    assert html.count('class="mark"') == 2


def test_date_age_and_polls() -> None:
    """Each report has its date and age, its last and its next poll."""
    shown = text(page(status({"contoso": reported()})))
    assert "Report of 2026-09-19 (2 days old); last poll 60 seconds ago, next in 60 minutes." in shown
    assert "No report yet; last poll not known, next in 60 minutes." in text(page(status(tenants=[tenant()])))


def test_filter_and_sort_by_links() -> None:
    """Links choose and order the tenants; what the page does not understand changes nothing."""
    rows = {"a": (100, 90, 0), "b": (100, 10, 0), "C": (100, 50, 0)}
    states = {name: reported(rows=((PRODUCT, counts),)) for name, counts in rows.items()}
    of = status({**states, "d": failed(PERMISSION)})
    assert names(page(of)) == ["d", "a", "b", "C"]
    assert names(page(of, "sort=name")) == ["a", "b", "C", "d"]
    assert names(page(of, "sort=ratio")) == ["b", "C", "a", "d"]
    assert names(page(of, "state=below")) == ["b"]
    assert names(page(of, "state=failing&sort=age")) == ["d"]
    assert names(page(of, "q=C")) == ["C"]
    assert names(page(of, "q=000000000001")) == ["b"]
    assert names(page(of, "state=ok&state=nonsense&sort=%00&page=-1&page=x&tenants=b")) == ["d", "a", "b", "C"]
    html = page(of, "sort=ratio&q=b")
    assert '<a href="?state=below&amp;sort=ratio&amp;q=b">Below target (1)</a>' in html
    assert '<a href="?sort=ratio&amp;q=b" aria-current="true">Lowest ratio</a>' in html


def test_thousands_of_tenants_come_in_pages() -> None:
    """A page has 50 tenants and links to the next and the previous one, the choice kept; 2,000 take less than 2 s."""
    of = status({f"tenant-{number:04}": reported() for number in range(2000)})
    started = time.thread_time()  # on a busy machine it waits for its turn
    html = page(of, "page=2&sort=name")
    assert time.thread_time() - started < 2
    assert names(html)[0] == f"tenant-{PAGE_SIZE:04}"
    assert len(names(html)) == PAGE_SIZE
    assert "← Previous Page 2 of 40 Next →" in text(html)
    assert '<a href="?sort=name&amp;page=3" rel="next">' in html
    assert '<a href="?sort=name" rel="prev">' in html
    assert "Page 40 of 40" in text(page(of, "page=999999"))


def test_a_tenants_own_page_has_its_history() -> None:
    """The tenant's own page shows 90 days as a sparkline, with words for those who cannot see it."""
    days = [
        snapshot((PRODUCT, (100, 40 + back, 0)), day=snapshot().refresh_date - timedelta(9 - back))
        for back in range(10)
    ]
    html = page(
        status({"contoso": reported(), "b": reported()}, storage=Stored(days), only="contoso"), "tenant=contoso"
    )
    assert '<svg class="spark"' in html
    assert 'role="img" aria-label="Ratio from 40% on 2026-09-10 to 49% on 2026-09-19"' in html
    assert "2 tenants:" in text(html)
    for part in ("request-id of this report request-id", "Failed polls in a row 0", "Withdrawn unless a poll succeeds"):
        assert part in text(html)
    assert "<title>contoso: Microsoft 365 activations</title>" in html
    assert '<svg class="spark"' not in page(status({"contoso": reported()}, storage=Stored(days)))


def test_names_keep_their_own_direction() -> None:
    """A name in Hebrew, or with a character that turns the direction of text, orders nothing around it."""
    name = "\u202e\u05e9\u05dc\u05d5\u05dd (365)"
    of = status({name: reported(rows=((name, (100, 60, 0)),))}, storage=Stored([]), only=name)
    assert re.search(rf'<h2><a [^>]*dir="auto">{re.escape(name)}</a>', page(of))
    own = render(of, View(tenant=name), "/metrics").decode()
    assert f"<h2><bdi>{name}</bdi> <span" in own
    assert f'<th scope="row" dir="auto">{name}</th>' in own


def test_a_history_of_one_day_is_no_line() -> None:
    """Before the second report there is no sparkline, and the page says so."""
    html = page(
        status({"contoso": reported()}, storage=Stored([snapshot((PRODUCT, (9, 1, 0)))]), only="contoso"),
        "tenant=contoso",
    )
    assert "no history yet" in text(html)
    assert '<svg class="spark"' not in html


def test_platforms_stand_on_the_tenants_own_page() -> None:
    """The second report's numbers have their own table, without a ratio."""
    both = tenant(reports=("activations_user_counts", PLATFORMS))
    of = status({"contoso": reported()}, tenants=[both], only="contoso")
    report = replace(
        of.tenants[0].reports["activations_user_counts"],
        products=tuple(
            replace(product, counts={"windows": 5, "windows_10_mobile": 0}, ratio=None, target=None)
            for product in of.tenants[0].reports["activations_user_counts"].products
        ),
    )
    tenants = (replace(of.tenants[0], reports={**of.tenants[0].reports, PLATFORMS: report}),)
    own = text(page(replace(of, tenants=tenants), "tenant=contoso"))
    assert f"Activations by platform Product type windows windows 10 mobile {PRODUCT} 5 0" in own
    assert "windows" not in text(page(replace(of, tenants=tenants)))


def test_troubles_of_the_exporter() -> None:
    """A refused configuration and a storage that cannot be used stand at the top, with their reason."""
    of = status({"contoso": reported()}, reload_error="config.yml:tenants: must be a list")
    of = replace(of, storage=replace(of.storage, path="/data", problem="/data: permission denied"))
    shown = text(page(of))
    assert "Reports are kept in memory only: /data: permission denied" in shown
    assert "is still in use: config.yml:tenants: must be a list" in shown


def test_what_the_report_cannot_tell() -> None:
    """The page says what must not be read into the numbers."""
    shown = text(page(status()))
    for part in ("24 to 48 hours late", "not people", "not purchased", "may exceed assigned", "no history"):
        assert part in shown


@pytest.mark.parametrize("query", ["", "tenant=contoso"])
def test_no_text_injects_markup(query: str) -> None:
    """Texts of configuration and of Microsoft are shown as they are, never as markup."""
    evil = "\"'><script>alert(1)</script>&lt;\ud800"
    failure = Failure(Reason.PERMISSION, evil, evil, evil)
    standing = failed(failure, reported(rows=((evil, (100, 1, 0)),)))
    plain = status({"contoso": standing}, storage=Stored([]), reload_error=evil, only="contoso" if query else None)
    of = replace(
        plain,
        version=evil,
        config_file=evil,
        storage=replace(plain.storage, path=evil, problem=evil),
        tenants=tuple(replace(one, name=evil, tenant_id=evil, cloud=evil) for one in plain.tenants),
    )
    for html in (page(of, query, f"/{evil}"), page(of, f"{query}&q=%22%3E%3Cscript%3E")):
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;lt;?" in html
        assert not re.search(r'<[^>]*="[^"]*<', html)


def test_a_consent_url_that_is_not_https_is_no_link() -> None:
    """Only an https URL becomes a link."""
    of = status({"contoso": failed(PERMISSION)})
    report = of.tenants[0].reports["activations_user_counts"]
    assert report.failure is not None
    changed = replace(report, failure=replace(report.failure, consent_url="javascript:alert(1)"))
    tenants = (replace(of.tenants[0], reports={"activations_user_counts": changed}),)
    assert "javascript:" not in page(replace(of, tenants=tenants))
