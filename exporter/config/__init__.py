"""Configuration: file, environment and flags → a frozen `Config`, or `ConfigError` that lists every error."""

from __future__ import annotations

from exporter.config.clouds import CLOUDS, Cloud
from exporter.config.load import Config, load, watched
from exporter.config.masked import masked
from exporter.config.models import Auth, Poll, Prices, ProductTarget, Report, Targets, Web
from exporter.config.tenants import Tenant

__all__ = [
    "CLOUDS",
    "Auth",
    "Cloud",
    "Config",
    "Poll",
    "Prices",
    "ProductTarget",
    "Report",
    "Targets",
    "Tenant",
    "Web",
    "load",
    "masked",
    "watched",
]
