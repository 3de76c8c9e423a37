"""Where rules and dashboard name a metric."""

from __future__ import annotations

import re

from exporter.metrics import NAMES
from monitoring.rules.recording import exporter_state, poll_outcomes, ratios_and_sums, report_numbers
from monitoring.rules.thresholds import Thresholds

FOREIGN = frozenset(
    {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}
)
RECORDED = frozenset(
    rule.record for rule in (*report_numbers(), *ratios_and_sums(), *poll_outcomes(Thresholds()), *exporter_state())
)

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^]]*\]")
_NAME = re.compile(r"(?<![0-9])\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "end", "without", "on", "ignoring"})


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics that a PromQL expression reads."""
    without_strings = re.sub(r"#.*", "", _STRING.sub('""', expression))
    return set(_NAME.findall(_LABELS.sub(" ", without_strings))) - _WORDS


def unknown(expression: str) -> set[str]:
    """Return those of them that neither the exporter nor a recording rule writes."""
    return metrics_in(expression) - NAMES - RECORDED - FOREIGN
