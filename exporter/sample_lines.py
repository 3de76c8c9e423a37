"""The lines of both exposition formats, byte for byte as prometheus-client writes them.

They are written here because the sample lines of both formats are the same, so that they are made and kept once; a
property test holds each line against prometheus-client's writer.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from exporter.families import Family
    from exporter.metrics import Sample

EOF = b"# EOF\n"
"""What ends an exposition in OpenMetrics."""


def lines(family: Family, samples: Iterable[Sample]) -> bytes:
    """Return the lines of a family's samples."""
    name = family.full_name
    places = sorted((label, place) for place, label in enumerate(family.labels))
    made = [
        _line(series(name, [(label, sample.labels[place]) for label, place in places]), sample.value)
        for sample in samples
    ]
    return "".join(made).encode("utf-8")


def series(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """Return what the lines of one series begin with, in either format: its name and its labels, sorted by name."""
    pairs = ",".join([f'{label}="{_escaped(value)}"' for label, value in labels])
    return f"{name}{{{pairs}}}" if pairs else name


def family_header(family: Family, *, openmetrics: bool) -> bytes:
    """Return a family's HELP and TYPE lines."""
    name = family.full_name
    if openmetrics and family.type == "counter":
        name = name.removesuffix("_total")
    return _header(name, family.type, family.help, openmetrics=openmetrics)


def metric_lines(metric: Metric, *, openmetrics: bool) -> bytes:
    """Return all lines of a gauge or counter that prometheus-client collected."""
    name = f"{metric.name}_total" if metric.type == "counter" and not openmetrics else metric.name
    made = [_line(series(sample.name, sorted(sample.labels.items())), sample.value) for sample in metric.samples]
    return _header(name, metric.type, metric.documentation, openmetrics=openmetrics) + "".join(made).encode("utf-8")


@lru_cache(64)
def _header(name: str, kind: str, help_: str, *, openmetrics: bool) -> bytes:
    text = help_.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()


def _line(name: str, value: float) -> str:
    return f"{name} {floatToGoString(value)}\n"  # type: ignore[no-untyped-call]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
