"""The command line: commands, flags and their help, and the exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter import __version__, log
from exporter.config.settings import flags
from exporter.errors import ConfigError, ExporterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = "office365-activations-exporter"
DEMO_ADDRESS = "127.0.0.1:9365"

DONE, FAILED, BAD_USAGE = 0, 1, 2
"""Exit codes: done; a check or a poll failed; bad usage or bad configuration."""

_SERVING = ("serve", "demo", "simulator")
"""The commands that run until a signal."""

_COMMANDS = {
    "serve": "poll every tenant on its schedule and serve the metrics (the default command)",
    "demo": "serve, against a built-in simulation of Microsoft: needs no account and no network",
    "simulator": "run only the simulation, to develop or test against it",
    "check": "check the configuration, each tenant's token, permission and report",
    "once": "poll every tenant once and write the metrics, for node_exporter's textfile collector",
    "history": "print the stored reports, as CSV or for promtool",
    "healthcheck": "request /-/healthy of the exporter with these flags and variables; exit code 0 if it is healthy",
    "login": "sign in by device code for a tenant with delegated permission (a last resort)",
}


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line said: the command, the configuration's flags that were given, and the command's own.

    A flag of the configuration has its path as its name: `web.config.file`.
    """

    command: str
    flags: Mapping[str, object]
    options: Mapping[str, Any]


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
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
        return DONE if arguments.command in _SERVING else FAILED
    return code


def parse(argv: Sequence[str]) -> Arguments:
    """Return what `argv` says; none, or flags only, mean `serve`.

    Raises:
        SystemExit: with 2 where it is wrong, with 0 after --help and --version.
    """
    words = list(argv)
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help", "--version"}):
        words.insert(0, "serve")
    parser = _parser()
    known, unknown = parser.parse_known_args(words)
    if unknown:
        # Flags without their values, one of which may be a secret.
        named = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        parser.error(f"unrecognized arguments: {' '.join(named or unknown)}")
    given = vars(known)
    command = given.pop("command")
    paths = {flag.key for flag in flags()}
    return Arguments(
        command,
        {name: value for name, value in given.items() if name in paths},
        {name: value for name, value in given.items() if name not in paths},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Prometheus exporter for Microsoft 365's report of Office activations.",
        epilog=f"{PROGRAM} COMMAND --help lists a command's flags.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    made = {
        name: commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        for name, help_ in _COMMANDS.items()
    }
    for name, command in made.items():
        if name != "simulator":
            _add_flags(command, name)
    for each in (parser, *made.values()):
        each.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    for name in ("demo", "simulator"):
        made[name].add_argument(
            "--tenants", type=_positive, default=3, metavar="N", help="simulated tenants (default: 3)"
        )
        made[name].add_argument(
            "--scenario",
            default="healthy",
            metavar="NAME",
            help="how Microsoft behaves (default: healthy); list: print all names",
        )
    made["simulator"].add_argument(
        "--folder", metavar="PATH", help="keep the CA and the configuration there, not in a temporary folder"
    )
    for name in ("check", "history"):
        made[name].add_argument("--tenant", action="append", metavar="NAME", help="only this tenant; repeatable")
    check, history = made["check"], made["history"]
    check.add_argument("--offline", action="store_true", help="stop before using the network")
    check.add_argument("--format", choices=("table", "json"), default="table", help="output format (default: table)")
    made["once"].add_argument("--output", metavar="FILE", help="write to FILE (atomically), not to stdout")
    history.add_argument("--format", choices=("csv", "openmetrics"), default="csv", help="(default: csv)")
    history.add_argument("--since", default="1970-01-01", metavar="DATE", help="from this date or time on (ISO 8601)")
    history.add_argument("--until", default="9999-12-31", metavar="DATE", help="up to this date or time (ISO 8601)")
    history.add_argument(
        "--step", default="4m", metavar="DURATION", help="OpenMetrics: time between two repeated samples (default: 4m)"
    )
    history.add_argument("--label", action="append", metavar="K=V", help="OpenMetrics: add a label; repeatable")
    made["login"].add_argument("tenant", metavar="TENANT", help="the tenant's name in the configuration")
    return parser


def _add_flags(command: argparse.ArgumentParser, name: str) -> None:
    group = command.add_argument_group("configuration (every setting: docs/configuration.md)")
    for flag in flags():
        if name == "demo" and flag.path[0] in {"config", "storage"}:
            continue  # it has a configuration and a storage of its own
        if name != "serve" and flag.key in {"config.check", "config.print"}:
            continue  # they say what is done in place of serving
        default = DEMO_ADDRESS if name == "demo" and flag.key == "web.listen_address" else flag.default
        shown = ", ".join(default) if isinstance(default, tuple) else default
        help_ = flag.help.replace("%", "%%") + (f" (default: {shown})" if shown else "")
        how: dict[str, Any] = {"dest": flag.key, "default": argparse.SUPPRESS, "help": help_}
        if flag.kind == "true or false":
            how["action"] = "store_true"
        else:
            how["metavar"] = "VALUE"
            how["action"] = "append" if flag.kind == "list" else "store"
        group.add_argument(flag.flag, **how)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a whole number, at least 1")
    return int(text)
