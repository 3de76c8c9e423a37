"""prometheus-client's own writers and readers of both formats, with types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import exposition, parser
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


def text_latest(registry: CollectorRegistry) -> bytes:
    """Return what prometheus-client writes in the text format."""
    return exposition.generate_latest(registry)


def openmetrics_latest(registry: CollectorRegistry) -> bytes:
    """Return what prometheus-client writes as OpenMetrics."""
    written: bytes = openmetrics_exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    return written


def parse_text(text: str) -> list[Metric]:
    """Return the families of a text exposition."""
    return list(parser.text_string_to_metric_families(text))


def parse_openmetrics(text: str) -> list[Metric]:
    """Return the families of an OpenMetrics exposition."""
    return list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
