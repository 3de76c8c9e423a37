"""The status page at `/`: plain HTML without script."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from exporter.web.html import Html, count, join, pairs, stamp, tag
from exporter.web.tenant import STATES, card, own_page, products_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.status import Status, TenantStatus

TITLE = "Microsoft 365 activations"
PAGE_SIZE = 50

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
        main, title = own_page(status.tenants[0], status.time), f"{view.tenant}: {TITLE}"
    document = join(
        (
            Html('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'),
            tag("title", title),
            Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
            Html(f"<style>{_style()}</style></head><body>"),
            tag("a", "Skip to the tenants", class_="skip", href="#tenants"),
            tag("header", tag("h1", TITLE), _summary(status), _troubles(status)),
            tag("main", main, id="tenants"),
            _footer(status, telemetry_path),
            Html("</body></html>\n"),
        )
    )
    return document.encode("utf-8", "replace")


# The parts around the tenants.


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
    parts = [f"{count(summary.tenants, 'tenant')}: ", counts[0], ", ", counts[1], ", ", counts[2], "."]
    return tag("p", *parts, tag("span", f" {stamp(status.time)}.", class_="soft"), role="status")


def _troubles(status: Status) -> Html | None:
    """Return what is wrong with the exporter itself."""
    found = []
    if status.storage.problem:
        found.append(f"Reports are kept in memory only: {status.storage.problem}")
    if status.reload.problem:
        found.append(f"The configuration of {stamp(status.reload.at)} is still in use: {status.reload.problem}")
    return tag("div", *(tag("p", text) for text in found), class_="trouble") if found else None


def _footer(status: Status, telemetry_path: str) -> Html:
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
        ("Started", stamp(status.started)),
        ("Configuration", status.config_file or "variables and flags"),
        ("Configuration loaded", stamp(status.reload.at)),
        ("Storage", storage),
    )
    return tag(
        "footer",
        tag("h2", "What the report cannot tell"),
        tag("ul", *(tag("li", text) for text in _LIMITS_OF_THE_REPORT)),
        tag("h2", "Exporter"),
        pairs(facts),
        tag("nav", tag("p", *(tag("a", name, href=href) for href, name in links)), aria_label="Endpoints"),
    )


# The list of tenants.


def _is_below_target(tenant: TenantStatus) -> bool:
    return any(
        product.ratio is not None and product.target is not None and product.ratio < product.target
        for product in products_of(tenant)
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
    ratios = [p.ratio for p in products_of(tenant) if p.ratio is not None and p.target is not None]
    return min(ratios, default=float("inf"))


def _oldest_report(tenant: TenantStatus) -> date:
    return min((one.refresh_date for one in tenant.reports.values() if one.refresh_date), default=date.min)


_ORDERS: dict[str, tuple[str, Callable[[TenantStatus], object]]] = {
    "state": ("Failing first", lambda tenant: (list(STATES).index(tenant.state), tenant.name.casefold())),
    "name": ("Name", lambda tenant: tenant.name.casefold()),
    "ratio": ("Lowest ratio", lambda tenant: (_lowest_ratio(tenant), tenant.name.casefold())),
    "age": ("Oldest report", lambda tenant: (_oldest_report(tenant), tenant.name.casefold())),
}


def _overview(status: Status, view: View) -> Html:
    wanted = view.q.casefold()
    named = [one for one in status.tenants if wanted in one.name.casefold() or wanted in one.tenant_id]
    counts = {name: sum(map(test, named)) for name, (_, test) in _FILTERS.items()}
    found = [one for one in named if _FILTERS[view.state][1](one)]
    found.sort(key=_ORDERS[view.sort][1])  # type: ignore[arg-type]  # each order has keys of one type
    pages = max(-(-len(found) // PAGE_SIZE), 1)
    page = min(view.page, pages)
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return join(
        (
            tag("h2", "Tenants"),
            _choices(view, counts),
            *(card(tenant, status.time) for tenant in shown),
            None if shown else tag("p", "No tenant matches. ", tag("a", "Show all", href="?")),
            _pages(view, page, pages),
        )
    )


def _choices(view: View, counts: dict[str, int]) -> Html:
    def link(text: str, href: str, *, chosen: bool) -> Html:
        return tag("a", text, href=href, aria_current="true" if chosen else None)

    filters = [
        link(f"{title} ({counts[name]:,})", view.href(state=name, page=1), chosen=name == view.state)
        for name, (title, _) in _FILTERS.items()
    ]
    orders = [
        link(title, view.href(sort=name, page=1), chosen=name == view.sort) for name, (title, _) in _ORDERS.items()
    ]
    kept = [
        Html(f'<input type="hidden" name="{key}" value="{escape(value)}">')
        for key, value in (("state", view.state), ("sort", view.sort))
    ]
    field = Html(f'<input type="search" id="q" name="q" value="{escape(view.q)}">')
    search = tag("p", tag("label", "Name or tenant ID", for_="q"), field, tag("button", "Find"))
    return join(
        (
            tag("nav", tag("p", "Show:", *filters), tag("p", "Sort:", *orders), aria_label="Filter and sort"),
            tag("form", search, *kept, role="search", action="?"),
        )
    )


def _pages(view: View, page: int, pages: int) -> Html | None:
    if pages == 1:
        return None
    back = tag("a", "← Previous", href=view.href(page=page - 1), rel="prev") if page > 1 else None
    on = tag("a", "Next →", href=view.href(page=page + 1), rel="next") if page < pages else None
    return tag("nav", tag("p", back, f"Page {page:,} of {pages:,}", on), aria_label="Pages")
