"""`serve`: polls and serves until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from exporter import __version__, log
from exporter.config import load, masked
from exporter.exporter import Exporter, open_storage
from exporter.web.server import event_loop, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from exporter.cli import Arguments
    from exporter.config import Config, Web

logger = log.get_logger(__name__)

_GRACE = 1.0
"""Seconds that a start which a signal interrupts gets to end."""

_TICK = 0.5
"""Seconds between two checks of which periodic task is due."""

_SWITCH = 0.001
"""Seconds a thread may hold the interpreter: a scrape waits no longer behind polls that compute."""

_COLLECT = (5_000, 10, 400)
"""When garbage is collected, while all threads wait: young objects little by little, the whole heap next to never."""


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    config = load(arguments.flags, environ)
    log.set_up(config.root.log.level, config.root.log.format)
    wanted = config.root.config
    if wanted.check:
        from exporter.cli.check import check_offline  # noqa: PLC0415 - msal and httpx, which `serve` imports later

        check_offline(config, config.tenants, environ)
    if wanted.print:
        sys.stdout.write(masked(config))
    elif wanted.check:
        sys.stdout.write(f"the configuration is ok (tenants: {len(config.tenants)})\n")
    if wanted.check or wanted.print:
        return 0
    return serve_forever(config, lambda: load(arguments.flags, environ), environ)


def serve_forever(
    config: Config,
    reload: Callable[[], Config],
    environ: Mapping[str, str],
    *,
    started: Callable[[tuple[str, ...]], None] = lambda _addresses: None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    `reload` reads the configuration again; `started` is called with the addresses once they answer.

    Raises:
        ConfigError: an address or a file cannot be used, or another process holds the storage.
    """
    sys.setswitchinterval(_SWITCH)
    gc.set_threshold(*_COLLECT)
    for notice in config.notices:
        logger.warning(notice)
    exporter = Exporter(config, reload, open_storage(config), environ=environ)
    logger.info("starting", version=__version__, tenants=len(config.tenants), pid=os.getpid())
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(_Service(exporter, config.root.web, Systemd(environ), started).run())
    logger.info("stopped")
    return 0


class _Service:
    """One run of the exporter: the web server on this thread's event loop, everything else in other threads."""

    def __init__(
        self,
        exporter: Exporter,
        web: Web,
        systemd: Systemd,
        started: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._exporter = exporter
        self._web = web
        self._systemd = systemd
        self._started = started
        self._periodic = PeriodicTasks(exporter.periodic_tasks())
        self._stop = asyncio.Event()
        self._failure: Exception | None = None
        self._beginning = threading.Thread(target=self._begin, name="start", daemon=True)
        self._reloading = threading.Lock()
        self._reload_waits = False

    async def run(self) -> None:
        """Serve until a signal; raise what kept polling from starting."""
        self._loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._on(signum, partial(self._end, signum))
        if sys.platform != "win32":
            self._on(signal.SIGHUP, self._reload_soon)
        watchdog = self._loop.create_task(self._feed_watchdog())
        try:
            await serve(self._exporter, self._web, self._stop, started=self._listening)
        finally:
            watchdog.cancel()
            self._systemd.tell("STOPPING=1")
            self._periodic.stop()
            await asyncio.to_thread(self._finish)  # in a thread, so that a second signal is heard meanwhile
        if self._failure is not None:
            raise self._failure

    def _on(self, signum: signal.Signals, act: Callable[[], None]) -> None:
        try:
            self._loop.add_signal_handler(signum, act)
        except NotImplementedError:  # Windows
            signal.signal(signum, lambda *_: self._loop.call_soon_threadsafe(act))

    def _listening(self, addresses: tuple[str, ...]) -> None:
        logger.info("listening", addresses=", ".join(addresses))
        self._beginning.start()
        self._started(addresses)

    def _begin(self) -> None:
        try:
            self._exporter.render_first()
            self._systemd.tell("READY=1")
            self._exporter.start_polling()
            gc.freeze()  # what the start has made is kept: a garbage collection, which stops all threads, skips it
            self._periodic.start()
        except Exception as error:  # noqa: BLE001 - raised again in the main thread, by `run`
            self._failure = None if self._stop.is_set() else error
            self._loop.call_soon_threadsafe(self._stop.set)

    def _finish(self) -> None:
        if self._beginning.is_alive():
            self._beginning.join(_GRACE)
        self._exporter.stop()

    def _end(self, signum: signal.Signals) -> None:
        if self._stop.is_set():
            os._exit(128 + signum)  # the second signal: at once
        logger.info("stopping", signal=signum.name)
        self._stop.set()

    def _reload_soon(self) -> None:
        """Reload in a thread; a reload that still waits for another one will read the newest files, too."""
        if not self._reload_waits:
            self._reload_waits = True
            threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        with self._reloading:
            self._reload_waits = False
            self._exporter.reload()

    async def _feed_watchdog(self) -> None:
        """Notify systemd that this event loop works, twice as often as it wants."""
        while self._systemd.watchdog_seconds:
            self._systemd.tell("WATCHDOG=1")
            await asyncio.sleep(self._systemd.watchdog_seconds / 2)


class PeriodicTasks:
    """Runs tasks until it is stopped; a task that raises stops no other.

    Args:
        tasks: what to do, and every how many seconds; the first time at once.
        monotonic: seconds; a clock that jumps changes nothing here.
    """

    def __init__(
        self, tasks: Iterable[tuple[float, Callable[[], None]]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._due = dict.fromkeys(tasks, 0.0)
        self._monotonic = monotonic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="periodic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting for a task that runs."""
        self._stopped.set()

    def run_due(self) -> None:
        for task, due in self._due.items():
            seconds, do = task
            if self._monotonic() >= due:
                self._due[task] = self._monotonic() + seconds
                try:
                    do()
                except Exception:
                    logger.exception("a periodic task failed: this is a bug in the exporter")

    def _run(self) -> None:
        while not self._stopped.wait(_TICK):
            self.run_due()


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
