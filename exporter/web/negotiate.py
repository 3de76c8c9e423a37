"""Which format and encoding a scrape gets (RFC 9110, section 12.5).

Two formats are on offer, OpenMetrics 1.0.0 and text 0.0.4, each with the exact Content-Type that Prometheus 3 demands
(https://prometheus.io/docs/instrumenting/content_negotiation/). `escaping=` changes nothing: every name of the exporter
is a legacy name, the same under each escaping scheme. A client that accepts neither format gets text, as every other
exporter answers it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_LONGEST = 2048
"""Characters of a header that are looked at; quotes without an end take time quadratic in them."""

_REMEMBERED = 16
"""Headers whose answer is kept: a scraper sends the same ones for ever."""

_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z")


class _Range(NamedTuple):
    """One element of Accept or Accept-Encoding."""

    name: str
    version: str
    quality: float


class _Offer(NamedTuple):
    """One format on offer."""

    name: str
    version: str


_OFFERS = (_Offer("application/openmetrics-text", "1.0.0"), _Offer("text/plain", "0.0.4"))


@lru_cache(_REMEMBERED)
def wants_openmetrics(accept: str | None) -> bool:
    """Say whether a client that sent `accept` gets OpenMetrics; text otherwise.

    Where both are equally welcome, OpenMetrics goes first if the client speaks of it, text if only `*/*` covers both.
    """
    if not accept:
        return False
    ranges = _ranges(accept)
    (openmetrics, named), (plain, _) = (_quality(offer, ranges) for offer in _OFFERS)
    return openmetrics > plain or (openmetrics == plain > 0 and named)


@lru_cache(_REMEMBERED)
def wants_gzip(accept_encoding: str | None) -> bool:
    """Say whether a client that sent `accept_encoding` gets gzip: it accepts it, and does not prefer none."""
    if not accept_encoding:
        return False
    qualities = {element.name: element.quality for element in _ranges(accept_encoding)}
    anything = qualities.get("*", 0.0)
    gzip = qualities.get("gzip", qualities.get("x-gzip", anything))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _quality(offer: _Offer, ranges: list[_Range]) -> tuple[float, bool]:
    """Return how welcome `offer` is by the most specific range that covers it, and whether more than `*/*` does."""
    best, quality = 0, 0.0
    for element in ranges:
        rank = _rank(offer, element)
        if rank > best or (rank == best and element.quality > quality):
            best, quality = rank, element.quality
    return (quality, best > 1) if best else (0.0, False)


def _rank(offer: _Offer, element: _Range) -> int:
    """Return how specifically `element` covers `offer`: 0 for not at all, 4 for its very version."""
    if element.version and element.version != offer.version:
        return 0
    if element.name == offer.name:
        return 4 if element.version else 3
    if element.name == offer.name.partition("/")[0] + "/*":
        return 2
    return 1 if element.name == "*/*" else 0


def _ranges(header: str) -> list[_Range]:
    """Split a header into its elements; one whose quality cannot be read says nothing and is left out."""
    elements = (_range(element) for element in _ELEMENT.findall(header[:_LONGEST]))
    return [element for element in elements if element is not None]


def _range(element: str) -> _Range | None:
    name, *parameters = [part.strip() for part in _PART.findall(element)] or [""]
    version, quality = "", "1"
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        match key.strip().lower():
            case "version":
                version = value.strip().strip('"')
            case "q":
                quality = value.strip()
    return _Range(name.lower(), version, float(quality)) if name and _QUALITY.match(quality) else None
