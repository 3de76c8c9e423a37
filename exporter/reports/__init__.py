"""The reports that are read: one file each, and one line in `REPORTS`."""

from __future__ import annotations

from types import MappingProxyType

from exporter.reports.activations_platform_counts import ACTIVATIONS_PLATFORM_COUNTS
from exporter.reports.activations_user_counts import ACTIVATIONS_USER_COUNTS
from exporter.reports.table import Column, ParsedReport, Report

REPORTS = MappingProxyType({report.name: report for report in (ACTIVATIONS_USER_COUNTS, ACTIVATIONS_PLATFORM_COUNTS)})
"""Every report by the name that configuration and the label `report` use."""

__all__ = ["ACTIVATIONS_USER_COUNTS", "REPORTS", "Column", "ParsedReport", "Report"]
