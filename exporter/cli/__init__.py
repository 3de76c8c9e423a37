"""The commands: from a command line to an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from exporter import log
from exporter.cli.arguments import SERVING, parse
from exporter.errors import ConfigError, ExporterError

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, FAILED, BAD_USAGE = 0, 1, 2
"""Exit codes: done; a check or a poll failed; bad usage or bad configuration."""


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after the program's name; none, or flags only, mean `serve`.
    """
    arguments = parse(argv)
    # Each command is a module that is imported only when it runs: `serve` answers sooner without the others.
    command = importlib.import_module(f"exporter.cli.{arguments.command}")
    try:
        code = int(command.run(arguments, os.environ))
        sys.stdout.flush()
    except ConfigError as error:
        sys.stderr.write(f"{error.message}\n")
        return BAD_USAGE
    except ExporterError as error:
        sys.stderr.write(f"{log.redact(error.message)}\n  {error.hint}\n")
        return FAILED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
            sys.stderr.write(f"{log.redact(str(error))}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        # What serves is done then; a check or a poll is not.
        return DONE if arguments.command in SERVING else FAILED
    return code
