"""The page for people at `/`: plain HTML without script or outside assets, whose links work behind any prefix."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape

TITLE = "Office 365 activations exporter"
SHOWN = 1000
"""Tenants on the page; the JSON has them all."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid #8884;padding:.2rem 1rem .2rem 0;text-align:left}"
    "dt{font-weight:600}:root{color-scheme:light dark}"
)


def security_headers() -> tuple[tuple[str, str], ...]:
    """Return the headers that keep the page from loading, sending or being framed by anything."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        ("Content-Security-Policy", policy + "; frame-ancestors 'none'"),
        ("X-Frame-Options", "deny"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    )


def render(status: Mapping[str, object], telemetry_path: str) -> bytes:
    """Return the page.

    Args:
        status: as `Source.status` gives it.
        telemetry_path: of the metrics, without the prefix.
    """
    links = (
        (telemetry_path.lstrip("/"), "Metrics"),
        ("api/v1/status", "Status as JSON"),
        ("-/healthy", "Healthy"),
        ("-/ready", "Ready"),
    )
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title><style>{_STYLE}</style>',
        '<meta name="viewport" content="width=device-width"></head><body>',
        f"<h1>{TITLE}</h1><ul>",
        *(f'<li><a href="{escape(href)}">{escape(name)}</a></li>' for href, name in links),
        "</ul>",
        _facts(status),
        _tenants(status.get("tenants")),
        "</body></html>\n",
    ]
    return "".join(parts).encode("utf-8", "replace")


def _facts(status: Mapping[str, object]) -> str:
    facts = [(key, value) for key, value in status.items() if isinstance(value, str | int | float)]
    if not facts:
        return ""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts) + "</dl>"


def _tenants(tenants: object) -> str:
    if not isinstance(tenants, Sequence) or isinstance(tenants, str | bytes):
        return ""
    known = [tenant for tenant in tenants if isinstance(tenant, Mapping)]
    rows = "".join(_row(tenant) for tenant in known[:SHOWN])
    more = f"<p>The first {SHOWN} of {len(known)}; the JSON has them all.</p>" if len(known) > SHOWN else ""
    head = "<thead><tr><th>Tenant</th><th>State</th><th>Reports</th></tr></thead>"
    return f"<h2>Tenants ({len(known)})</h2><table>{head}<tbody>{rows}</tbody></table>{more}"


def _row(tenant: Mapping[str, object]) -> str:
    reports = tenant.get("reports")
    about = "".join(_report(name, of) for name, of in reports.items()) if isinstance(reports, Mapping) else ""
    name, state = escape(str(tenant.get("name", ""))), escape(str(tenant.get("state", "")))
    return f"<tr><td>{name}</td><td>{state}</td><td>{about}</td></tr>"


def _report(name: str, of: Mapping[str, object]) -> str:
    """Return what is known of one report: its date, when it was read, and what is wrong with its mend."""
    read = f"of {of.get('refresh_date')}, read {of.get('last_success')}" if of.get("last_success") else "not read yet"
    lines = [f"{name}: {read}"]
    failure = of.get("failure")
    if isinstance(failure, Mapping):
        lines += [f"{failure.get('reason')}: {failure.get('message')}", f"mend: {failure.get('hint')}"]
        lines += [f"request-id: {failure['request_id']}"] if failure.get("request_id") else []
    return "<br>".join(escape(line) for line in lines) + "<br>"
