"""`once`: polls every tenant once and writes the metrics, for node_exporter's textfile collector."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.cli.common import for_each, set_up_log
from exporter.config import load
from exporter.config.errors import config_error
from exporter.exporter import Exporter, open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli import Arguments

_READABLE = 0o644


def run(arguments: Arguments, environ: Mapping[str, str]) -> int:
    """Poll and write; return 0 only if every poll succeeded."""
    config = load(arguments.flags, environ)
    set_up_log(config, "warning")
    exporter = Exporter(config, lambda: config, open_storage(config), environ=environ, process_metrics=False)
    try:
        exporter.connect()
        outcomes = for_each(
            exporter.reports,
            lambda one: exporter.poll(*one),
            concurrency=config.root.poll.concurrency,
            title="polling",
        )
        exporter.render_first()
        text = b"".join(exporter.scrape(openmetrics=False, gzip=False, tenants=())).decode("utf-8")
    finally:
        exporter.stop()
    output = arguments.options["output"]
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(Path(output), text)
    return 0 if all(outcome.failure is None for outcome in outcomes) else 1


def write_whole(path: Path, text: str) -> None:
    """Write a file such that a reader sees the old one or the new one, never a part.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = path.resolve()  # what a link leads to is written, and the link is kept
    if path.exists() and not path.is_file():
        raise config_error("--output", f"{path} is not a regular file", "choose another path, or leave it out")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(_READABLE)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise config_error("--output", f"cannot write {path}: {error.strerror}", "choose another path") from None
