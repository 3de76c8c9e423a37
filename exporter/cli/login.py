"""`login TENANT`: sign-in by device code."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from exporter.auth.hints import account_error
from exporter.cli.common import chosen_tenants, set_up_log
from exporter.config import load
from exporter.errors import ConfigError
from exporter.microsoft import Microsoft
from exporter.quota import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.auth.device import Code
    from exporter.cli import Arguments


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Sign in; return the exit code.

    Raises:
        ConfigError: there is nothing to sign in for.
        ExporterError: no one signed in, or an account that cannot read reports.
    """
    config = load(arguments.flags, environ)
    set_up_log(config, "error")
    (tenant,) = chosen_tenants(config, [arguments.options["tenant"]], "TENANT")
    if tenant.auth.kind != "device_code":
        raise ConfigError((f"{tenant.name}: its auth is {tenant.auth.kind}, not device_code: no sign-in is needed",))
    microsoft = Microsoft(config, Budget(time.time), environ=environ)
    try:
        token, protection = microsoft.tokens.sign_in(tenant, show=_show, wait=_wait)
    finally:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")  # the countdown
        microsoft.close()
    sys.stdout.write(f"{tenant.name}: signed in; the sign-in is stored {protection}\n")
    sys.stdout.write("A running exporter uses it from its next poll on; SIGHUP makes it poll at once.\n")
    if error := account_error(tenant, token.claims):
        raise error
    return 0


def _show(code: Code) -> None:
    minutes = max(1, round((code.ends - time.time()) / 60))
    sys.stderr.write(f"Open {code.address} and enter the code {code.text} (within {minutes} minutes).\n")
    sys.stderr.write("Sign in with a work or school account that has the role Reports Reader.\n")
    sys.stderr.flush()


def _wait(pause: float, left: float) -> None:
    """Wait, and show on a terminal how much time is left."""
    until = time.monotonic() + pause
    while (rest := until - time.monotonic()) > 0:
        if sys.stderr.isatty():
            minutes, seconds = divmod(round(left - pause + rest), 60)
            sys.stderr.write(f"\rwaiting, {minutes}:{seconds:02d} left\x1b[K")
            sys.stderr.flush()
        time.sleep(min(rest, 1))
