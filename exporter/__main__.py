"""Entry point of `python -m exporter` and of the console script."""

from __future__ import annotations

import io
import os
import sys

from exporter.cli import run


def main() -> None:
    """Run the command line and end the process with its exit code.

    The end is an abrupt one, once everything is closed: a DNS lookup in a worker thread cannot be interrupted, and
    Python would wait for it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the metrics' format and YAML want it, whatever the locale
    code = run(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
