"""The status page at `/`: plain HTML without script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode

from exporter.web.markup import Html, aged, ago, bar, counted, facts, fill, join, moment, percent, sparkline, stamp, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from exporter.status import FailureStatus, ProductStatus, ReportStatus, Status, TenantStatus

TITLE = "Microsoft 365 activations"
PAGE_SIZE = 50

_STATES = {"failing": "Failing", "pending": "Waiting", "ok": "OK"}
_USERS = {"assigned_users": "Assigned", "activated_users": "Activated", "shared_computer_users": "Shared computer"}

_SEARCH = """<form role="search" action="?">
<p><label for="q">Name or tenant ID</label><input type="search" id="q" name="q" value="$q"><button>Find</button></p>
<input type="hidden" name="state" value="$state"><input type="hidden" name="sort" value="$sort">
</form>"""
_FILTERS = {"": "All", **_STATES, "below": "Below target"}


class View(NamedTuple):
    """What a reader chose: `/?state=failing&sort=ratio&q=cont&page=2`, or `/?tenant=contoso`."""

    state: str = ""
    sort: str = "state"
    q: str = ""
    page: int = 1
    tenant: str | None = None

    @classmethod
    def parse(cls, query: str) -> View:
        """Return the view that a query string asks for; unknown values leave their defaults."""
        given = dict(parse_qsl(query))
        state, sort, page = (given.get(key, "") for key in ("state", "sort", "page"))
        return cls(
            state=state if state in _FILTERS else "",
            sort=sort if sort in _ORDERS else "state",
            q=given.get("q", "").strip()[:200],
            page=max(int(page), 1) if page.isascii() and page.isdigit() and len(page) < 7 else 1,  # a million pages
            tenant=given.get("tenant"),
        )

    def href(self, **changes: str | int) -> str:
        """Return the link to this view with changes, relative to the page."""
        chosen = {**self._asdict(), **changes}.items()
        default = View()._asdict()
        return "?" + urlencode({key: value for key, value in chosen if value != default[key]}, errors="replace")


@cache
def _file(name: str) -> str:
    return (files("exporter.web") / name).read_text("utf-8")


def headers() -> dict[str, str]:
    """Return the page's headers, by which the page can load nothing, send nothing elsewhere, and not be framed."""
    digest = base64.b64encode(hashlib.sha256(_file("page.css").encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'"
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy + "; frame-ancestors 'none'",
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def render(status: Status, view: View, telemetry_path: str) -> bytes:
    """Return the page; `status` is of one tenant if `view.tenant` is set, `telemetry_path` without the prefix."""
    if view.tenant is None:
        main, title = _overview(status, view), TITLE
    else:
        main, title = _own_page(status.tenants[0], status.time), f"{view.tenant}: {TITLE}"
    storage = status.storage.path or "memory only: set storage.path to keep reports over restarts"
    if status.storage.problem:
        storage = f"memory only: {status.storage.path} cannot be used"
    document = fill(
        _file("page.html"),
        title=title,
        style=Html(_file("page.css")),
        summary=_summary(status),
        problems=_problems(status),
        main=main,
        version=status.version,
        started=stamp(status.started),
        configuration=status.config_file or "variables and flags",
        loaded=stamp(status.reload.at),
        storage=storage,
        metrics=telemetry_path.lstrip("/").replace(":", "%3A"),  # what a colon ends would be a scheme
    )
    return document.encode("utf-8", "replace")


def _summary(status: Status) -> Html:
    summary = status.summary
    counts = [
        tag("b", f"{count:,} {word}", class_=state if count else None)
        for state, word, count in (
            ("failing", "failing", summary.failing),
            ("pending", "waiting for a first report", summary.pending),
            ("ok", "ok", summary.ok),
        )
    ]
    parts = [f"{counted(summary.tenants, 'tenant')}: ", counts[0], ", ", counts[1], ", ", counts[2], "."]
    return tag("p", *parts, tag("span", f" {stamp(status.time)}.", class_="soft"), role="status")


def _problems(status: Status) -> Html | None:
    found = []
    if status.storage.problem:
        found.append(f"Reports are kept in memory only: {status.storage.problem}")
    if status.reload.problem:
        found.append(f"The configuration of {stamp(status.reload.at)} is still in use: {status.reload.problem}")
    return tag("div", *(tag("p", text) for text in found), class_="trouble") if found else None


def _targeted(tenant: TenantStatus) -> list[tuple[float, float]]:
    """Return ratio and target of the products that have both."""
    products = (product for report in tenant.reports.values() for product in report.products)
    return [(one.ratio, one.target) for one in products if one.ratio is not None and one.target is not None]


_ORDERS: dict[str, tuple[str, Callable[[TenantStatus], float]]] = {
    "state": ("Failing first", lambda tenant: list(_STATES).index(tenant.state)),
    "name": ("Name", lambda _: 0),
    "ratio": ("Lowest ratio", lambda tenant: min((ratio for ratio, _ in _targeted(tenant)), default=inf)),
    "age": (
        "Oldest report",
        lambda tenant: min(
            (day.toordinal() for one in tenant.reports.values() if (day := one.refresh_date)), default=0
        ),
    ),
}


def _overview(status: Status, view: View) -> Html:
    wanted = view.q.casefold()
    named = [one for one in status.tenants if wanted in one.name.casefold() or wanted in one.tenant_id]
    chosen = {
        "": named,
        **{state: [one for one in named if one.state == state] for state in _STATES},
        "below": [one for one in named if any(ratio < target for ratio, target in _targeted(one))],
    }
    order = _ORDERS[view.sort][1]
    found = sorted(chosen[view.state], key=lambda one: (order(one), one.name.casefold()))
    pages = max(-(-len(found) // PAGE_SIZE), 1)
    page = min(view.page, pages)
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return join(
        tag("h2", "Tenants"),
        _choices(view, {name: len(tenants) for name, tenants in chosen.items()}),
        *(_card(tenant, status.time) for tenant in shown),
        None if shown else tag("p", "No tenant matches. ", tag("a", "Show all", href="?")),
        _pages(view, page, pages),
    )


def _choices(view: View, counts: dict[str, int]) -> Html:
    def link(text: str, chosen: str, **change: str) -> Html:
        current = "true" if chosen in change.values() else None
        return tag("a", text, href=view.href(**change, page=1), aria_current=current)

    filters = (link(f"{title} ({counts[name]:,})", view.state, state=name) for name, title in _FILTERS.items())
    orders = (link(title, view.sort, sort=name) for name, (title, _) in _ORDERS.items())
    return join(
        tag("nav", tag("p", "Show:", *filters), tag("p", "Sort:", *orders), aria_label="Filter and sort"),
        fill(_SEARCH, q=view.q, state=view.state, sort=view.sort),
    )


def _pages(view: View, page: int, pages: int) -> Html | None:
    if pages == 1:
        return None
    back = tag("a", "← Previous", href=view.href(page=page - 1), rel="prev") if page > 1 else None
    on = tag("a", "Next →", href=view.href(page=page + 1), rel="next") if page < pages else None
    return tag("nav", tag("p", back, f"Page {page:,} of {pages:,}", on), aria_label="Pages")


def _card(tenant: TenantStatus, now: datetime) -> Html:
    """Return a tenant's entry in the list."""
    reports: list[Html | None] = []
    for name, report in tenant.reports.items():
        date_ = f"Report of {aged(report.refresh_date, now)}" if report.refresh_date else "No report yet"
        polls = f"last poll {ago(report.last_poll, now)}, next {ago(report.next_poll, now)}"
        reports += (
            _failure(name, report.failure, tenant) if report.failure else None,
            tag("p", f"{date_}; {polls}.", class_="soft"),
            None if _is_by_platform(report) and len(tenant.reports) > 1 else _numbers(report, now),
        )
    link = tag("a", tenant.name, href="?" + urlencode({"tenant": tenant.name}, errors="replace"), dir="auto")
    return tag("article", tag("h2", link, " ", _badge(tenant.state)), *reports, class_=tenant.state)


def _own_page(tenant: TenantStatus, now: datetime) -> Html:
    """Return everything known about a tenant, with the history of its ratios."""
    reports = []
    for name, report in tenant.reports.items():
        known = (
            ("Report of", aged(report.refresh_date, now)),
            ("Last successful poll", moment(report.last_success, now)),
            ("Last poll", moment(report.last_poll, now)),
            ("Next poll", moment(report.next_poll, now)),
            ("Failed polls in a row", f"{report.consecutive_failures:,}"),
            ("Withdrawn unless a poll succeeds", moment(report.data_expires, now)),
            ("Rows that could not be read", f"{report.rejected_rows:,}"),
            ("request-id of this report", report.request_id or "not known"),
        )
        reports.append(
            tag(
                "article",
                tag("h3", f"Report {name} ", _badge(report.state)),
                _failure(name, report.failure, tenant) if report.failure else None,
                _numbers(report, now),
                facts(known),
                class_=report.state,
            )
        )
    about = (("Tenant ID", tenant.tenant_id), ("Cloud", tenant.cloud))
    back = tag("nav", tag("p", tag("a", "← All tenants", href="?")), aria_label="Back")
    return join(back, tag("h2", tag("bdi", tenant.name), " ", _badge(tenant.state)), facts(about), *reports)


def _failure(report: str, failure: FailureStatus, tenant: TenantStatus) -> Html:
    fix: list[str] = [failure.hint]
    consent = None
    if failure.consent_url and failure.consent_url.startswith("https://"):
        before, found, after = failure.hint.partition(failure.consent_url)
        link = tag("a", failure.consent_url, href=failure.consent_url, rel="noreferrer")
        fix = [before, link, after] if found else fix
        consent = None if found else tag("p", tag("b", "Consent: "), link)
    several = f" ({report})" if len(tenant.reports) > 1 else ""
    return tag(
        "div",
        tag("p", tag("b", f"{failure.reason}{several}: ", class_="failing"), failure.message),
        tag("p", tag("b", "Fix: "), *fix),
        consent,
        tag("p", f"request-id {failure.request_id}", class_="soft") if failure.request_id else None,
    )


def _numbers(report: ReportStatus, now: datetime) -> Html | None:
    """Return the table of a report's products, or that its numbers were withdrawn."""
    products = report.products
    if not products:
        text = f"The numbers were withdrawn: no poll has succeeded since {moment(report.last_success, now)}."
        return tag("p", text) if report.refresh_date else None
    columns = list(products[0].counts)
    has_ratio = not _is_by_platform(report)
    head = [tag("th", _USERS.get(column, column.replace("_", " ")), scope="col") for column in columns]
    rows = [
        tag(
            "tr",
            tag("th", product.product_type, scope="row", dir="auto"),
            *(tag("td", f"{product.counts[column]:,}" if column in product.counts else "?") for column in columns),
            tag("td", *_graphs(product), class_="graph") if has_ratio else None,
        )
        for product in products
    ]
    ratio = tag("th", "Ratio and target", scope="col", class_="graph") if has_ratio else None
    return tag(
        "table",
        tag("caption", "Users by product type" if has_ratio else "Activations by platform"),
        tag("thead", tag("tr", tag("th", "Product type", scope="col"), *head, ratio)),
        tag("tbody", *rows),
    )


def _is_by_platform(report: ReportStatus) -> bool:
    return any("assigned_users" not in product.counts for product in report.products)


def _graphs(product: ProductStatus) -> Iterator[Html]:
    """Yield a product's ratio as a bar and, where the history is known, as a sparkline."""
    if product.ratio is None:
        yield tag("span", "no assigned users", class_="soft")
    else:
        yield bar(product.ratio, product.target)
    if product.history is None:
        return
    ratios = [(point.refresh_date, point.ratio) for point in product.history if point.ratio is not None]
    if len({day for day, _ in ratios}) < 2:
        yield tag("span", "no history yet", class_="soft")
        return
    yield sparkline(ratios, product.target)
    day, ratio = ratios[0]
    yield tag("span", f"from {percent(ratio)} on {day}", class_="soft")


def _badge(state: str) -> Html:
    return tag("span", _STATES[state], class_=f"state {state}")
