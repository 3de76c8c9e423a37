"""The status page at `/`: plain HTML without script."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.status import FailureStatus, ProductStatus, ReportStatus, Status, TenantStatus

TITLE = "Microsoft 365 activations"
PAGE_SIZE = 50

_STATES = {"failing": "Failing", "pending": "Waiting", "ok": "OK"}
_USERS = {"assigned_users": "Assigned", "activated_users": "Activated", "shared_computer_users": "Shared computer"}

_LIMITS_OF_THE_REPORT = (
    "Microsoft updates the report once a day, usually 24 to 48 hours late; the date shown is the report's own.",
    "It counts assigned licences by product type, not people: a person with two products is in two rows.",
    "Assigned is not purchased: licences that were bought and given to nobody are not in it.",
    "Whether users of shared computers are among the activated ones is not documented; activated may exceed assigned.",
    "It does not say who activated, when, or on which device, and Microsoft keeps no history of it.",
)


@dataclass(frozen=True, slots=True)
class View:
    """What a reader chose by links: `/?state=failing&sort=ratio&q=cont&page=2`, or one tenant's own page."""

    state: str = ""
    sort: str = "state"
    q: str = ""
    page: int = 1
    tenant: str | None = None

    @classmethod
    def parse(cls, query: str) -> View:
        """Return the view that a query string asks for; what it does not understand is left at its default."""
        given = dict(parse_qsl(query))
        page = given.get("page", "")
        return cls(
            state=given.get("state", "") if given.get("state", "") in _FILTERS else "",
            sort=given.get("sort", "") if given.get("sort", "") in _ORDERS else "state",
            q=given.get("q", "").strip()[:200],
            page=max(int(page), 1) if page.isascii() and page.isdigit() and len(page) < 7 else 1,  # noqa: PLR2004 - a million pages
            tenant=given.get("tenant"),
        )

    def href(self, **changes: str | int) -> str:
        """Return the link to this view with changes, relative to the page."""
        view, default = replace(self, **changes), View()  # type: ignore[arg-type]  # str and int, by name
        chosen = {key: getattr(view, key) for key in ("state", "sort", "q", "page")}
        return "?" + urlencode(
            {key: value for key, value in chosen.items() if value != getattr(default, key)}, errors="replace"
        )


@cache
def _style() -> str:
    return (files("exporter.web") / "page.css").read_text("utf-8")


def security_headers() -> tuple[tuple[str, str], ...]:
    """Return the headers that keep the page from loading, sending or being framed by anything."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'"
    return (
        ("Content-Security-Policy", policy + "; frame-ancestors 'none'"),
        ("X-Frame-Options", "deny"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    )


def render(status: Status, view: View, telemetry_path: str) -> bytes:
    """Return the page.

    Args:
        status: as `Source.status` gives it; of one tenant if the view is a tenant's own page.
        view: what the reader chose.
        telemetry_path: of the metrics, without the prefix.
    """
    if view.tenant is None:
        main, title = _overview(status, view), TITLE
    else:
        main, title = _own_page(status.tenants[0], status.time), f"{view.tenant}: {TITLE}"
    document = _join(
        (
            _Html('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'),
            _tag("title", title),
            _Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
            _Html(f"<style>{_style()}</style></head><body>"),
            _tag("a", "Skip to the tenants", class_="skip", href="#tenants"),
            _tag("header", _tag("h1", TITLE), _summary(status), _troubles(status)),
            _tag("main", main, id="tenants"),
            _footer(status, telemetry_path),
            _Html("</body></html>\n"),
        )
    )
    return document.encode("utf-8", "replace")


# The parts around the tenants.


def _summary(status: Status) -> _Html:
    summary = status.summary
    counts = [
        _tag("b", f"{count:,} {word}", class_=state if count else None)
        for state, word, count in (
            ("failing", "failing", summary.failing),
            ("pending", "waiting for a first report", summary.pending),
            ("ok", "ok", summary.ok),
        )
    ]
    parts = [f"{_count(summary.tenants, 'tenant')}: ", counts[0], ", ", counts[1], ", ", counts[2], "."]
    return _tag("p", *parts, _tag("span", f" {_stamp(status.time)}.", class_="soft"), role="status")


def _troubles(status: Status) -> _Html | None:
    """Return what is wrong with the exporter itself."""
    found = []
    if status.storage.problem:
        found.append(f"Reports are kept in memory only: {status.storage.problem}")
    if status.reload.problem:
        found.append(f"The configuration of {_stamp(status.reload.at)} is still in use: {status.reload.problem}")
    return _tag("div", *(_tag("p", text) for text in found), class_="trouble") if found else None


def _footer(status: Status, telemetry_path: str) -> _Html:
    links = (
        (telemetry_path.lstrip("/") or ".", "Metrics"),
        ("api/v1/status", "Status as JSON"),
        ("-/healthy", "Healthy"),
        ("-/ready", "Ready"),
    )
    storage = status.storage.path or "memory only: set storage.path to keep reports over restarts"
    if status.storage.problem:
        storage = f"memory only: {status.storage.path} cannot be used"
    facts = (
        ("Version", status.version),
        ("Started", _stamp(status.started)),
        ("Configuration", status.config_file or "variables and flags"),
        ("Configuration loaded", _stamp(status.reload.at)),
        ("Storage", storage),
    )
    return _tag(
        "footer",
        _tag("h2", "What the report cannot tell"),
        _tag("ul", *(_tag("li", text) for text in _LIMITS_OF_THE_REPORT)),
        _tag("h2", "Exporter"),
        _pairs(facts),
        _tag("nav", _tag("p", *(_tag("a", name, href=href) for href, name in links)), aria_label="Endpoints"),
    )


# The list of tenants.


def _is_below_target(tenant: TenantStatus) -> bool:
    return any(
        product.ratio is not None and product.target is not None and product.ratio < product.target
        for product in _products_of(tenant)
    )


_FILTERS: dict[str, tuple[str, Callable[[TenantStatus], bool]]] = {
    "": ("All", lambda _: True),
    "failing": ("Failing", lambda tenant: tenant.state == "failing"),
    "pending": ("Waiting", lambda tenant: tenant.state == "pending"),
    "ok": ("OK", lambda tenant: tenant.state == "ok"),
    "below": ("Below target", _is_below_target),
}


def _lowest_ratio(tenant: TenantStatus) -> float:
    """Return the lowest ratio among the products that have a target; tenants without one come last."""
    ratios = [p.ratio for p in _products_of(tenant) if p.ratio is not None and p.target is not None]
    return min(ratios, default=float("inf"))


def _oldest_report(tenant: TenantStatus) -> date:
    return min((one.refresh_date for one in tenant.reports.values() if one.refresh_date), default=date.min)


_ORDERS: dict[str, tuple[str, Callable[[TenantStatus], object]]] = {
    "state": ("Failing first", lambda tenant: (list(_STATES).index(tenant.state), tenant.name.casefold())),
    "name": ("Name", lambda tenant: tenant.name.casefold()),
    "ratio": ("Lowest ratio", lambda tenant: (_lowest_ratio(tenant), tenant.name.casefold())),
    "age": ("Oldest report", lambda tenant: (_oldest_report(tenant), tenant.name.casefold())),
}


def _overview(status: Status, view: View) -> _Html:
    wanted = view.q.casefold()
    named = [one for one in status.tenants if wanted in one.name.casefold() or wanted in one.tenant_id]
    counts = {name: sum(map(test, named)) for name, (_, test) in _FILTERS.items()}
    found = [one for one in named if _FILTERS[view.state][1](one)]
    found.sort(key=_ORDERS[view.sort][1])  # type: ignore[arg-type]  # each order has keys of one type
    pages = max(-(-len(found) // PAGE_SIZE), 1)
    page = min(view.page, pages)
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return _join(
        (
            _tag("h2", "Tenants"),
            _choices(view, counts),
            *(_card(tenant, status.time) for tenant in shown),
            None if shown else _tag("p", "No tenant matches. ", _tag("a", "Show all", href="?")),
            _pages(view, page, pages),
        )
    )


def _choices(view: View, counts: dict[str, int]) -> _Html:
    def link(text: str, href: str, *, chosen: bool) -> _Html:
        return _tag("a", text, href=href, aria_current="true" if chosen else None)

    filters = [
        link(f"{title} ({counts[name]:,})", view.href(state=name, page=1), chosen=name == view.state)
        for name, (title, _) in _FILTERS.items()
    ]
    orders = [
        link(title, view.href(sort=name, page=1), chosen=name == view.sort) for name, (title, _) in _ORDERS.items()
    ]
    kept = [
        _Html(f'<input type="hidden" name="{key}" value="{escape(value)}">')
        for key, value in (("state", view.state), ("sort", view.sort))
    ]
    field = _Html(f'<input type="search" id="q" name="q" value="{escape(view.q)}">')
    search = _tag("p", _tag("label", "Name or tenant ID", for_="q"), field, _tag("button", "Find"))
    return _join(
        (
            _tag("nav", _tag("p", "Show:", *filters), _tag("p", "Sort:", *orders), aria_label="Filter and sort"),
            _tag("form", search, *kept, role="search", action="?"),
        )
    )


def _pages(view: View, page: int, pages: int) -> _Html | None:
    if pages == 1:
        return None
    back = _tag("a", "← Previous", href=view.href(page=page - 1), rel="prev") if page > 1 else None
    on = _tag("a", "Next →", href=view.href(page=page + 1), rel="next") if page < pages else None
    return _tag("nav", _tag("p", back, f"Page {page:,} of {pages:,}", on), aria_label="Pages")


# One tenant.


def _card(tenant: TenantStatus, now: datetime) -> _Html:
    """Return a tenant's place in the list."""
    link = _tag("a", tenant.name, href="?" + urlencode({"tenant": tenant.name}, errors="replace"))
    reports = (
        _join(
            (
                _failure(name, report.failure, tenant) if report.failure else None,
                _tag("p", _reading(report, now), class_="soft"),
                None if _is_by_platform(report) and len(tenant.reports) > 1 else _numbers(report, now),
            )
        )
        for name, report in tenant.reports.items()
    )
    return _tag("article", _tag("h2", link, " ", _badge(tenant.state)), *reports, class_=tenant.state)


def _own_page(tenant: TenantStatus, now: datetime) -> _Html:
    """Return all that is known of a tenant, with the history of its ratios."""
    reports = []
    for name, report in tenant.reports.items():
        known = (
            ("Report of", _aged(report.refresh_date, now)),
            ("Last successful poll", _moment(report.last_success, now)),
            ("Last poll", _moment(report.last_poll, now)),
            ("Next poll", _moment(report.next_poll, now)),
            ("Failed polls in a row", f"{report.consecutive_failures:,}"),
            ("Withdrawn unless a poll succeeds", _moment(report.data_expires, now)),
            ("Rows that could not be read", f"{report.rejected_rows:,}"),
            ("request-id of this report", report.request_id or "not known"),
        )
        reports.append(
            _tag(
                "article",
                _tag("h3", f"Report {name} ", _badge(report.state)),
                _failure(name, report.failure, tenant) if report.failure else None,
                _numbers(report, now),
                _pairs(known),
                class_=report.state,
            )
        )
    about = (("Tenant ID", tenant.tenant_id), ("Cloud", tenant.cloud))
    back = _tag("nav", _tag("p", _tag("a", "← All tenants", href="?")), aria_label="Back")
    return _join((back, _tag("h2", tenant.name, " ", _badge(tenant.state)), _pairs(about), *reports))


def _failure(report: str, failure: FailureStatus, tenant: TenantStatus) -> _Html:
    fix: list[str] = [failure.hint]
    consent = None
    if failure.consent_url and failure.consent_url.startswith("https://"):
        before, found, after = failure.hint.partition(failure.consent_url)
        link = _tag("a", failure.consent_url, href=failure.consent_url, rel="noreferrer")
        fix = [before, link, after] if found else fix
        consent = None if found else _tag("p", _tag("b", "Consent: "), link)
    several = f" ({report})" if len(tenant.reports) > 1 else ""
    return _tag(
        "div",
        _tag("p", _tag("b", f"{failure.reason}{several}: ", class_="failing"), failure.message),
        _tag("p", _tag("b", "Fix: "), *fix),
        consent,
        _tag("p", f"request-id {failure.request_id}", class_="soft") if failure.request_id else None,
    )


def _reading(report: ReportStatus, now: datetime) -> str:
    date_ = f"Report of {_aged(report.refresh_date, now)}" if report.refresh_date else "No report yet"
    polls = f"last poll {_ago(report.last_poll, now)}, next {_ago(report.next_poll, now)}"
    return f"{date_}; {polls}."


def _numbers(report: ReportStatus, now: datetime) -> _Html | None:
    """Return the table of a report's products; with sparklines where the history is known."""
    products = report.products
    if not products:
        withdrawn = report.data_expires is not None and report.data_expires <= now
        text = f"The numbers were withdrawn: no poll has succeeded since {_moment(report.last_success, now)}."
        return _tag("p", text) if withdrawn else None
    columns = list(products[0].counts)
    has_ratio = not _is_by_platform(report)
    head = [_tag("th", _USERS.get(column, column.replace("_", " ")), scope="col") for column in columns]
    rows = [
        _tag(
            "tr",
            _tag("th", product.product_type, scope="row"),
            *(_tag("td", f"{product.counts[column]:,}" if column in product.counts else "?") for column in columns),
            _tag("td", _ratio(product), _history(product), class_="graph") if has_ratio else None,
        )
        for product in products
    ]
    ratio = _tag("th", "Ratio and target", scope="col", class_="graph") if has_ratio else None
    return _tag(
        "table",
        _tag("caption", "Users by product type" if has_ratio else "Activations by platform"),
        _tag("thead", _tag("tr", _tag("th", "Product type", scope="col"), *head, ratio)),
        _tag("tbody", *rows),
    )


def _is_by_platform(report: ReportStatus) -> bool:
    return any("assigned_users" not in product.counts for product in report.products)


def _ratio(product: ProductStatus) -> _Html:
    ratio, target = product.ratio, product.target
    if ratio is None:
        return _tag("span", "nobody is assigned", class_="soft")
    below = target is not None and ratio < target
    words = "no target" if target is None else f"{'below ' if below else ''}target {_percent(target)}"
    mark = "" if target is None else f'<path class="mark" d="M{min(target, 1) * 100:.1f} 0v10"/>'
    bar = (
        f'<svg class="{"bar below" if below else "bar"}" viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true">'
        f'<path class="all" d="M0 1h100v8H0z"/><path class="part" d="M0 1h{min(ratio, 1) * 100:.1f}v8H0z"/>{mark}</svg>'
    )
    return _join((_tag("b", _percent(ratio)), " ", _tag("span", words, class_="low" if below else "soft"), _Html(bar)))


def _history(product: ProductStatus) -> _Html | None:
    if product.history is None:
        return None
    ratios = [(point.refresh_date, point.ratio) for point in product.history if point.ratio is not None]
    if len({day for day, _ in ratios}) < 2:  # noqa: PLR2004 - a line has two ends
        return _tag("span", "no history yet", class_="soft")
    day, ratio = ratios[0]
    return _join((_sparkline(ratios, product.target), _tag("span", f"from {_percent(ratio)} on {day}", class_="soft")))


def _sparkline(ratios: Sequence[tuple[date, float]], target: float | None) -> _Html:
    """Return the ratios as a line over their dates, from 0 at the bottom to 100 % (or the highest) at the top."""
    (first, start), (last, end) = ratios[0], ratios[-1]
    days = (last - first).days
    top = max(1.0, *(ratio for _, ratio in ratios))

    def y(ratio: float) -> float:
        return 39 - ratio / top * 37

    line = " ".join(f"{(day - first).days / days * 200:.1f},{y(ratio):.1f}" for day, ratio in ratios)
    mark = "" if target is None else f'<path class="mark" d="M0 {y(target):.1f}h200"/>'
    title = f"Ratio from {_percent(start)} on {first} to {_percent(end)} on {last}"
    return _Html(
        f'<svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f'<path class="area" d="M0,39 L{line} L200,39z"/>{mark}<polyline class="now" points="{line}"/></svg>'
    )


def _products_of(tenant: TenantStatus) -> list[ProductStatus]:
    """Return the rows of all its reports."""
    return [product for report in tenant.reports.values() for product in report.products]


def _badge(state: str) -> _Html:
    return _tag("span", _STATES[state], class_=f"state {state}")


# Markup that escapes every text by construction, and numbers and times for people.


class _Html(str):
    """Markup; any other text is escaped where `tag` takes it."""

    __slots__ = ()


def _tag(name: str, *children: str | None, **attributes: object) -> _Html:
    """Return an element; `class_` stands for class, `aria_label` for aria-label; None leaves out."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    body = "".join(child if isinstance(child, _Html) else escape(child) for child in children if child is not None)
    return _Html(f"<{name}{head}>{body}</{name}>")


def _join(parts: Iterable[str | None]) -> _Html:
    """Return the parts in a row, texts escaped."""
    return _Html("".join(part if isinstance(part, _Html) else escape(part) for part in parts if part is not None))


def _pairs(facts: Iterable[tuple[str, str]]) -> _Html:
    """Return names and their values as a description list."""
    return _tag("dl", *(_join((_tag("dt", name), _tag("dd", value))) for name, value in facts), class_="facts")


def _percent(ratio: float) -> str:
    """Return a ratio in per cent: `49.5%`, `50%`."""
    return f"{round(ratio * 100, 1):g}%"


def _count(number: int, noun: str) -> str:
    """Return `1 tenant`, `2 tenants`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _stamp(at: datetime) -> str:
    """Return a moment in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _moment(at: datetime | None, now: datetime) -> str:
    """Return a moment and how far it is from now."""
    return "not known" if at is None else f"{_stamp(at)} ({_ago(at, now)})"


def _aged(day: date | None, now: datetime) -> str:
    """Return a day and how old it is."""
    if day is None:
        return "not known"
    return f"{day} ({_span(now - datetime(day.year, day.month, day.day, tzinfo=now.tzinfo))} old)"


def _ago(at: datetime | None, now: datetime) -> str:
    """Return how far a moment is from now: `3 hours ago`, `in 5 minutes`."""
    if at is None:
        return "not known"
    if abs(now - at) < timedelta(seconds=1):
        return "now"
    return f"{_span(now - at)} ago" if at < now else f"in {_span(at - now)}"


def _span(time: timedelta) -> str:
    """Return a length of time in the largest unit of which it has two; 0 seconds where it is negative."""
    seconds = max(time.total_seconds(), 0)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return _count(int(seconds // length), unit)
    return _count(int(seconds), "second")
