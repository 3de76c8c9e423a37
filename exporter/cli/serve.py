"""`serve`: poll and serve until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from exporter import __version__, log
from exporter.app import Exporter
from exporter.config import load, masked
from exporter.errors import ConfigError
from exporter.storage import StorageLockedError, open_or_memory
from exporter.tenants import tenants
from exporter.web.options import Options
from exporter.web.server import event_loop, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.cli.arguments import Arguments
    from exporter.config import Config

logger = log.get_logger(__name__)

_SWITCH = 0.001
"""Seconds a thread may hold the interpreter: a scrape waits no longer behind polls that compute."""


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Serve; return the exit code."""
    config = load(arguments.flags, environ)
    if config.invocation.print:
        sys.stdout.write(masked(config))
        return 0
    if config.invocation.check:
        sys.stdout.write(f"the configuration is good: {len(tenants(config))} tenants\n")
        return 0
    log.set_up(config.log.level, config.log.format)
    return serve_forever(config, lambda: load(arguments.flags, environ), environ)


def serve_forever(
    config: Config,
    reload: Callable[[], Config],
    environ: Mapping[str, str],
    *,
    started: Callable[[tuple[str, ...]], None] = lambda _addresses: None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Args:
        config: what to do.
        reload: reads the configuration anew.
        environ: for proxies and systemd.
        started: called with the addresses once they answer.

    Raises:
        ConfigError: an address or a file cannot be used, or another process holds the storage.
    """
    sys.setswitchinterval(_SWITCH)
    for notice in config.notices:
        logger.warning(notice)
    try:
        storage, _note = open_or_memory(config.storage.path, clock=time.time)
    except StorageLockedError as error:
        raise ConfigError((error.message, error.hint)) from None
    exporter = Exporter(config, reload, storage, environ=environ)
    logger.info("starting", version=__version__, tenants=len(tenants(config)), pid=os.getpid())
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(_serve(exporter, config, started))
    logger.info("stopped")
    return 0


async def _serve(exporter: Exporter, config: Config, started: Callable[[tuple[str, ...]], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    failures: list[Exception] = []

    def end(signum: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + signum)  # the second signal: at once
        logger.info("stopping", signal=signum.name)
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end, signum)
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, exporter.reload))

    def begin() -> None:
        try:
            exporter.render_first()
            exporter.start_polling()
        except Exception as error:  # noqa: BLE001 - raised again below, in the main thread
            failures.append(error)
            loop.call_soon_threadsafe(stop.set)

    def listening(addresses: tuple[str, ...]) -> None:
        logger.info("listening", addresses=", ".join(addresses))
        threading.Thread(target=begin, name="start", daemon=True).start()
        started(addresses)

    web = config.web
    options = Options(
        listen_address=web.listen_address,
        telemetry_path=web.telemetry_path,
        config_file=web.config.file,
        route_prefix=web.route_prefix,
        external_url=web.external_url,
        enable_lifecycle=web.enable_lifecycle,
    )
    try:
        await serve(exporter, options, stop, started=listening)
    finally:
        exporter.stop()
    if failures:
        raise failures[0]
