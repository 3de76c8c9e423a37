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
    rows = "".join(
        f"<tr><td>{escape(str(t.get('name', '')))}</td><td>{escape(str(t.get('state', '')))}</td></tr>"
        for t in known[:SHOWN]
    )
    more = f"<p>The first {SHOWN} of {len(known)}; the JSON has them all.</p>" if len(known) > SHOWN else ""
    heading = f"<h2>Tenants ({len(known)})</h2>"
    return f"{heading}<table><thead><tr><th>Tenant</th><th>State</th></tr></thead><tbody>{rows}</tbody></table>{more}"
