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
    order = sorted(range(len(family.labels)), key=family.labels.__getitem__)
    names = [(family.labels[i], i) for i in order]
    name = family.full_name
    made: list[str] = []
    for sample in samples:
        labels = ",".join([f'{label}="{_escaped(sample.labels[i])}"' for label, i in names])
        made.append(_line(name, labels, sample.value))
    return "".join(made).encode("utf-8")


def family_header(family: Family, *, openmetrics: bool) -> bytes:
    """Return a family's HELP and TYPE lines."""
    name = family.full_name
    if openmetrics and family.type == "counter":
        name = name.removesuffix("_total")
    return _header(name, family.type, family.help, openmetrics=openmetrics)


def metric_lines(metric: Metric, *, openmetrics: bool) -> bytes:
    """Return all lines of a gauge or counter that prometheus-client collected."""
    name = f"{metric.name}_total" if metric.type == "counter" and not openmetrics else metric.name
    made = []
    for sample in metric.samples:
        labels = ",".join([f'{label}="{_escaped(value)}"' for label, value in sorted(sample.labels.items())])
        made.append(_line(sample.name, labels, sample.value))
    return _header(name, metric.type, metric.documentation, openmetrics=openmetrics) + "".join(made).encode("utf-8")


@lru_cache(64)
def _header(name: str, kind: str, help_: str, *, openmetrics: bool) -> bytes:
    text = help_.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()


def _line(name: str, labels: str, value: float) -> str:
    number = floatToGoString(value)  # type: ignore[no-untyped-call]
    return f"{name}{{{labels}}} {number}\n" if labels else f"{name} {number}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
