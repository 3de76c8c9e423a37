"""Where rules and dashboard name a metric."""

from __future__ import annotations

import re

from exporter.families import NAMES

FOREIGN = frozenset({"up", "process_resident_memory_bytes", "process_cpu_seconds_total"})
RECORDED = frozenset({"office365_activations:activation_ratio"})

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^]]*\]")
_NAME = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"})


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics that a PromQL expression reads."""
    without_strings = _STRING.sub('""', expression)
    return set(_NAME.findall(_LABELS.sub(" ", without_strings))) - _WORDS


def unknown(expression: str) -> set[str]:
    """Return those of them that neither the exporter nor a recording rule writes."""
    return metrics_in(expression) - NAMES - RECORDED - FOREIGN
