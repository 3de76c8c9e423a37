"""What the status page shows of one tenant: its row, and its own page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from exporter.web.html import Html, aged, ago, join, moment, pairs, percent, tag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from exporter.status import FailureStatus, ProductStatus, ReportStatus, TenantStatus

STATES = {"failing": "Failing", "pending": "Waiting", "ok": "OK"}
_USERS = {"assigned_users": "Assigned", "activated_users": "Activated", "shared_computer_users": "Shared computer"}


def card(tenant: TenantStatus, now: datetime) -> Html:
    """Return a tenant's place in the list."""
    link = tag("a", tenant.name, href="?" + urlencode({"tenant": tenant.name}, errors="replace"))
    reports = (
        join(
            (
                _failure(name, report.failure, tenant) if report.failure else None,
                tag("p", _reading(report, now), class_="soft"),
                None if _is_by_platform(report) and len(tenant.reports) > 1 else _numbers(report, now),
            )
        )
        for name, report in tenant.reports.items()
    )
    return tag("article", tag("h2", link, " ", _badge(tenant.state)), *reports, class_=tenant.state)


def own_page(tenant: TenantStatus, now: datetime) -> Html:
    """Return all that is known of a tenant, with the history of its ratios."""
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
                pairs(known),
                class_=report.state,
            )
        )
    about = (("Tenant ID", tenant.tenant_id), ("Cloud", tenant.cloud))
    back = tag("nav", tag("p", tag("a", "← All tenants", href="?")), aria_label="Back")
    return join((back, tag("h2", tenant.name, " ", _badge(tenant.state)), pairs(about), *reports))


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


def _reading(report: ReportStatus, now: datetime) -> str:
    date_ = f"Report of {aged(report.refresh_date, now)}" if report.refresh_date else "No report yet"
    polls = f"last poll {ago(report.last_poll, now)}, next {ago(report.next_poll, now)}"
    return f"{date_}; {polls}."


def _numbers(report: ReportStatus, now: datetime) -> Html | None:
    """Return the table of a report's products; with sparklines where the history is known."""
    products = report.products
    if not products:
        withdrawn = report.data_expires is not None and report.data_expires <= now
        text = f"The numbers were withdrawn: no poll has succeeded since {moment(report.last_success, now)}."
        return tag("p", text) if withdrawn else None
    columns = list(products[0].counts)
    has_ratio = not _is_by_platform(report)
    head = [tag("th", _USERS.get(column, column.replace("_", " ")), scope="col") for column in columns]
    rows = [
        tag(
            "tr",
            tag("th", product.product_type, scope="row"),
            *(tag("td", f"{product.counts[column]:,}" if column in product.counts else "?") for column in columns),
            tag("td", _ratio(product), _history(product), class_="graph") if has_ratio else None,
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


def _ratio(product: ProductStatus) -> Html:
    ratio, target = product.ratio, product.target
    if ratio is None:
        return tag("span", "nobody is assigned", class_="soft")
    below = target is not None and ratio < target
    words = "no target" if target is None else f"{'below ' if below else ''}target {percent(target)}"
    mark = "" if target is None else f'<path class="mark" d="M{min(target, 1) * 100:.1f} 0v10"/>'
    bar = (
        f'<svg class="{"bar below" if below else "bar"}" viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true">'
        f'<path class="all" d="M0 1h100v8H0z"/><path class="part" d="M0 1h{min(ratio, 1) * 100:.1f}v8H0z"/>{mark}</svg>'
    )
    return join((tag("b", percent(ratio)), " ", tag("span", words, class_="low" if below else "soft"), Html(bar)))


def _history(product: ProductStatus) -> Html | None:
    if product.history is None:
        return None
    ratios = [(point.refresh_date, point.ratio) for point in product.history if point.ratio is not None]
    if len({day for day, _ in ratios}) < 2:  # noqa: PLR2004 - a line has two ends
        return tag("span", "no history yet", class_="soft")
    day, ratio = ratios[0]
    return join((_sparkline(ratios, product.target), tag("span", f"from {percent(ratio)} on {day}", class_="soft")))


def _sparkline(ratios: Sequence[tuple[date, float]], target: float | None) -> Html:
    """Return the ratios as a line over their dates, from 0 at the bottom to 100 % (or the highest) at the top."""
    (first, start), (last, end) = ratios[0], ratios[-1]
    days = (last - first).days
    top = max(1.0, *(ratio for _, ratio in ratios))

    def y(ratio: float) -> float:
        return 39 - ratio / top * 37

    line = " ".join(f"{(day - first).days / days * 200:.1f},{y(ratio):.1f}" for day, ratio in ratios)
    mark = "" if target is None else f'<path class="mark" d="M0 {y(target):.1f}h200"/>'
    title = f"Ratio from {percent(start)} on {first} to {percent(end)} on {last}"
    return Html(
        f'<svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f'<path class="area" d="M0,39 L{line} L200,39z"/>{mark}<polyline class="now" points="{line}"/></svg>'
    )


def products_of(tenant: TenantStatus) -> list[ProductStatus]:
    """Return the rows of all its reports."""
    return [product for report in tenant.reports.values() for product in report.products]


def _badge(state: str) -> Html:
    return tag("span", STATES[state], class_=f"state {state}")
