"""The reports: one file each, named in one line of `_NAMES`."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from exporter.reports.table import Column, ParsedReport, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

# The file's name is the report's: in the configuration and in the label `report`. The first is read by default.
_NAMES = (
    "activations_user_counts",
    "activations_platform_counts",
)
DEFAULT_REPORTS = _NAMES[:1]
REPORTS: Mapping[str, Report] = MappingProxyType({name: import_module(f"{__name__}.{name}").REPORT for name in _NAMES})

__all__ = ["DEFAULT_REPORTS", "REPORTS", "Column", "ParsedReport", "Report"]
