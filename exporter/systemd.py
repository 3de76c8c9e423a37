"""Notifications to systemd: ready, reloading, watchdog."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Systemd:
    """Tells systemd about a `Type=notify` service; does nothing where it did not ask.

    Args:
        environ: NOTIFY_SOCKET and WATCHDOG_USEC.

    Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        meant = environ.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
        microseconds = environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1e6 if meant and microseconds.isdigit() else 0.0

    def tell(self, state: str) -> None:
        """Send READY=1, STOPPING=1 or WATCHDOG=1."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.sendto(state.encode(), address)
