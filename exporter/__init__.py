"""Prometheus exporter for Microsoft 365's report of Office activations (getOffice365ActivationsUserCounts)."""

__version__ = "0.1.0"
