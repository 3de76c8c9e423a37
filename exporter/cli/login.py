"""`login TENANT`: a person signs in by device code."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from exporter import log
from exporter.auth.accounts import account_fault
from exporter.auth.device import SignIns
from exporter.config import load
from exporter.errors import ConfigError
from exporter.pipeline import Pipeline
from exporter.quota import Budget
from exporter.tenants import tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.arguments import Arguments


_PAUSE = 5
"""Seconds between two looks, as Microsoft asks (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code)."""


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Sign in; return the exit code."""
    config = load(arguments.flags, environ)
    log.set_up("error" if arguments.flags.get("log.level") is None else config.log.level, config.log.format)
    name = arguments.options["tenant"]
    tenant = next((tenant for tenant in tenants(config) if tenant.name == name), None)
    if tenant is None:
        raise ConfigError((f"{name}: there is no enabled tenant of this name; check --config.file",))
    if tenant.auth.kind != "device_code":
        raise ConfigError((f"{name}: its auth is not device_code; nothing to sign in for",))
    if config.storage.path is None:
        raise ConfigError(("storage.path: is not set; the sign-in needs a place to be kept",))
    pipeline = Pipeline(config, Budget(time.time), environ=environ)
    token = pipeline.tokens.sign_in(tenant, show=_show, wait=_wait)
    if fault := account_fault(tenant, token.claims):
        raise fault
    sys.stdout.write(f"signed in for {name}; the sign-in is kept {SignIns(config.storage.path).protection(tenant)}\n")
    return 0


def _show(address: str, code: str, ends: float) -> None:
    minutes = max(0, round((ends - time.time()) / 60))
    sys.stderr.write(f"Open {address} and enter the code {code} (within {minutes} minutes).\n")
    sys.stderr.write("Sign in with a work or school account that holds the role Reports Reader.\n")


def _wait(left: float) -> None:
    """Wait a little, and show on a terminal how much time is left."""
    for _ in range(_PAUSE):
        if sys.stderr.isatty():
            minutes, seconds = divmod(max(0, int(left)), 60)
            sys.stderr.write(f"\rwaiting, {minutes}:{seconds:02d} left ")
            sys.stderr.flush()
        time.sleep(1)
        left -= 1
