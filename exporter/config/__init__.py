"""Configuration: file, environment and flags → a frozen `Config`, or `ConfigError` that lists every error."""

from __future__ import annotations

from exporter.config.clouds import CLOUDS, Cloud
from exporter.config.credential import Auth, AuthKind, DeviceCode, ManagedIdentity
from exporter.config.load import load, watched
from exporter.config.masked import masked
from exporter.config.models import Http, Invocation, Log, Poll, Prices, ProductTarget, Report, Storage, Targets, Web
from exporter.config.result import Config, Tenant

__all__ = [
    "CLOUDS",
    "Auth",
    "AuthKind",
    "Cloud",
    "Config",
    "DeviceCode",
    "Http",
    "Invocation",
    "Log",
    "ManagedIdentity",
    "Poll",
    "Prices",
    "ProductTarget",
    "Report",
    "Storage",
    "Targets",
    "Tenant",
    "Web",
    "load",
    "masked",
    "watched",
]
