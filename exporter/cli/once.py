"""`once`: polls every tenant once and writes the metrics, for node_exporter's textfile collector."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import log
from exporter.cli.tenants import for_each
from exporter.config import load
from exporter.errors import ConfigError
from exporter.exposition import Exposition
from exporter.families import TENANT_FAMILIES
from exporter.metrics import OwnMetrics, TenantSamples
from exporter.pipeline import Pipeline
from exporter.recorder import Recorder
from exporter.storage import Storage, StorageLockedError
from exporter.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.arguments import Arguments
    from exporter.config import Config

_READABLE = 0o644


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Poll and write; return 0 only if every poll succeeded."""
    config = load(arguments.flags, environ)
    log.set_up("warning" if arguments.flags.get("log.level") is None else config.log.level, config.log.format)
    try:
        storage = Storage.open_or_memory(config.storage.path, clock=time.time)
    except StorageLockedError as error:
        raise ConfigError((error.message, error.hint)) from None
    with closing(storage):
        text, good = _poll_all(config, storage, environ)
    output = arguments.options["output"]
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(Path(output), text)
    return 0 if good else 1


def _poll_all(config: Config, storage: Storage, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Return the metrics after one poll of everything, and whether all polls succeeded."""
    own = OwnMetrics(storage=storage)
    own.reloaded_at = time.time()
    recorder = Recorder(storage, own, time.time)
    pipeline = Pipeline(config, recorder.budget, environ=environ, count=own.count_request)
    known = config.tenants
    recorder.adopt(known)
    own.expiries = pipeline.credentials.expiries(known)
    work = [(tenant, key) for tenant in known for key in tenant.keys]
    outcomes = for_each(
        work,
        lambda one: recorder.poll(pipeline.poller, *one),
        concurrency=config.poll.concurrency,
        title="polling",
    )
    pipeline.close()
    exposition = Exposition(TENANT_FAMILIES, Tail(own))
    samples = TenantSamples(recorder.standings, recorder.budget, time.time)
    for tenant in known:
        exposition.put(tenant.name, samples.of(tenant))
    exposition.publish()
    text = b"".join(exposition.body(openmetrics=False, gzip=False)).decode("utf-8")
    return text, all(outcome.failure is None for outcome in outcomes)


def write_whole(path: Path, text: str) -> None:
    """Write a file such that a reader sees the old one or the new one, never a part.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), _READABLE)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError((f"--output: cannot write {path}: {error.strerror}; choose another place",)) from None
