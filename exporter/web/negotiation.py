"""Content negotiation: which format and encoding a scrape gets (RFC 9110, section 12.5).

There are two formats, OpenMetrics 1.0.0 and text 0.0.4, each with the exact Content-Type that Prometheus 3 requires
(https://prometheus.io/docs/instrumenting/content_negotiation/). All names in the metrics are legacy names, the same in
every escaping scheme, so the response names the scheme that the client asked for. A client that accepts neither format
gets text, as from other exporters.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping="
_SCHEMES = ("underscores", "allow-utf-8", "dots", "values")

# With possessive quantifiers, and a quoted string that need not end, the time is linear in the header's length.
_ELEMENT = re.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.?+)*+"?+)++', re.DOTALL)
_PART = re.compile(r'(?:[^;"]++|"(?:[^"\\]++|\\.?+)*+"?+)++', re.DOTALL)
_LONGEST = 1024
"""Characters of a header that are read; Prometheus sends up to 400."""

_ELEMENTS = 32
_REMEMBERED = 16
"""Headers whose result is cached: a scraper always sends the same ones."""

_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z")


class _Range(NamedTuple):
    """One element of Accept or Accept-Encoding."""

    name: str
    version: str
    escaping: str
    quality: float


_NOTHING = _Range("", "", "", 0.0)


@lru_cache(_REMEMBERED)
def format_for(accept: str | None) -> tuple[bool, str]:
    """Return whether an Accept header gets OpenMetrics, and the Content-Type.

    If the client prefers neither, it gets OpenMetrics if it names it, and text if only `*/*` matches.
    """
    ranges = _ranges(accept or "")
    openmetrics = _best("application/openmetrics-text", "1.0.0", ranges)
    plain = _best("text/plain", "0.0.4", ranges)
    is_named = openmetrics.name != "*/*" and openmetrics.quality > 0
    if openmetrics.quality < plain.quality or (openmetrics.quality == plain.quality and not is_named):
        return False, TEXT
    scheme = openmetrics.escaping if openmetrics.escaping in _SCHEMES else _SCHEMES[0]
    return True, _OPENMETRICS + scheme


@lru_cache(_REMEMBERED)
def wants_gzip(accept_encoding: str | None) -> bool:
    """Return whether an Accept-Encoding header accepts gzip, and does not prefer no encoding."""
    if not accept_encoding:
        return False
    qualities = {element.name: element.quality for element in _ranges(accept_encoding)}
    anything = qualities.get("*", 0.0)
    gzip = qualities.get("gzip", qualities.get("x-gzip", anything))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _best(name: str, version: str, ranges: list[_Range]) -> _Range:
    """Return the most specific range that matches a format, and of equals the one with the highest quality."""
    specific = (name, name.partition("/")[0] + "/*", "*/*")
    matching = (one for one in ranges if one.name in specific and one.version in ("", version))
    return max(matching, key=lambda one: (-specific.index(one.name), one.version != "", one.quality), default=_NOTHING)


def _ranges(header: str) -> list[_Range]:
    """Split a header into its elements, without those whose quality is invalid."""
    written = (match[0] for match in _ELEMENT.finditer(header[:_LONGEST]))
    return [found for element, _ in zip(written, range(_ELEMENTS), strict=False) if (found := _range(element))]


def _range(element: str) -> _Range | None:
    name, *parameters = [part.strip() for part in _PART.findall(element)] or [""]
    found = {"q": "1"}
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        found[key.strip().lower()] = value.strip().strip('"')
    if not name or not _QUALITY.match(found["q"]):
        return None
    return _Range(name.lower(), found.get("version", ""), found.get("escaping", "").lower(), float(found["q"]))
