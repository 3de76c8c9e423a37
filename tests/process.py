"""The exporter as its users start it: a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

import httpx
import yaml

from exporter.cli.simulator import write_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Any

    from exporter.simulator.server import SimulatorServer

COMMAND = (sys.executable, "-m", "exporter")
ALL_POLLED = r"^office365_activations_exporter_tenants_pending 0\.0"
"""The line of a scrape in which every tenant has its outcome."""

_LONGEST = 180
"""Seconds after which what a test waits for will not come, on the busiest machine."""


def environment(**more: str) -> dict[str, str]:
    """Return this environment without what would configure the exporter, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OFFICE365_", "AZURE_"))}
    return kept | more


def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, timeout=_LONGEST, env=environment(**more)
    )


def configure(server: SimulatorServer, folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write the configuration for a simulation into `folder`; `changes` are merged in at the top."""
    path = write_configuration(server, folder)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(document | dict(changes or {})), encoding="utf-8")
    return path


class Running:
    """A `serve` or `demo` that runs while the `with` block does.

    Args:
        words: the command line; `--web.listen-address=127.0.0.1:0` is added.
        log: where its stderr goes.
        start: what the command line begins with.
        more: variables of its environment.
    """

    def __init__(self, *words: str, log: Path, start: Sequence[str] = COMMAND, **more: str) -> None:
        self._log = log
        with log.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                [*start, *words, "--web.listen-address=127.0.0.1:0"],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment(**more),
            )

    def __enter__(self) -> Self:
        try:
            found = self.wait_for_log(r"listening addresses=(127\.0\.0\.1:\d+)|addresses\W+(127\.0\.0\.1:\d+)")
        except BaseException:
            self._end()
            raise
        self.address = next(group for group in found.groups() if group)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log.read_text(encoding="utf-8")

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask one of its endpoints."""
        return httpx.get(f"http://{self.address}{path}", headers=headers, timeout=_LONGEST, trust_env=False)

    def metrics(self) -> str:
        """Return a scrape."""
        return self.get("/metrics").text

    def wait_until(self, pattern: str) -> str:
        """Return the scrape in which a line matches the pattern."""
        end = time.monotonic() + _LONGEST
        while time.monotonic() < end:
            text = self.metrics()
            if re.search(pattern, text, re.MULTILINE):
                return text
            time.sleep(0.05)
        raise AssertionError(f"no line like {pattern!r} within {_LONGEST} s; the log:\n{self.log}")

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signum)
        return self.process.wait(timeout=_LONGEST), time.monotonic() - started

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Return where the log matches the pattern; fail if the process ends before."""
        end = time.monotonic() + _LONGEST
        while time.monotonic() < end:
            code = self.process.poll()  # before the log is read: its last line may be the one
            if found := re.search(pattern, self.log):
                return found
            if code is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no line like {pattern!r}; exit code {self.process.poll()}, the log:\n{self.log}")
