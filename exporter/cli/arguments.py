"""The command line: commands, flags and their help."""

from __future__ import annotations

import argparse
import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter import __version__, log
from exporter.config.settings import PREFIX, flags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.config import Config

PROGRAM = "office365-activations-exporter"
DEMO_ADDRESS = "127.0.0.1:9365"
SERVING = ("serve", "demo", "simulator")
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
    """What the command line said.

    Attributes:
        command: which command.
        flags: the configuration's flags that were given, by their path.
        options: the command's own.
    """

    command: str
    flags: Mapping[str, object]
    options: Mapping[str, Any]


def set_up_log(config: Config, level: str) -> None:
    """Log from `level` on, for commands whose results people read; as `--log.level` or its variable says, if given."""
    log.set_up(config.log.level if "level" in config.log.model_fields_set else level, config.log.format)


def variables_of(environ: Mapping[str, str], *blocks: str) -> dict[str, str]:
    """Return the variables that set these blocks, or keys of them."""
    names = tuple(f"{PREFIX}{block.upper()}" for block in blocks)
    return {name: value for name, value in environ.items() if name.partition("__")[0] in names}


def parse(argv: Sequence[str]) -> Arguments:
    """Return what `argv` says.

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
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    made = {
        name: commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        for name, help_ in _COMMANDS.items()
    }
    for name, command in made.items():
        if name != "simulator":
            _add_flags(command, name)
        command.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    for name in ("demo", "simulator"):
        _add_simulation(made[name])
    _add_latency(made["simulator"])
    _add_check(made["check"])
    made["once"].add_argument("--output", metavar="FILE", help="write to FILE (atomically), not to stdout")
    _add_history(made["history"])
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


def _add_simulation(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenants", type=_positive, default=3, metavar="N", help="simulated tenants (default: 3)")
    command.add_argument(
        "--scenario",
        default="healthy",
        metavar="NAME",
        help="how Microsoft behaves (default: healthy); list: print all names",
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="a different seed gives different tenants (default: 0)"
    )


def _add_latency(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--latency", type=_seconds, default=0.0, metavar="SECONDS", help="how long each answer takes (default: 0)"
    )
    command.add_argument(
        "--folder", metavar="PATH", help="keep the CA and the configuration there, not in a temporary folder"
    )


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenant", action="append", metavar="NAME", help="only this tenant; repeatable")
    command.add_argument("--offline", action="store_true", help="stop before using the network")
    command.add_argument("--format", choices=("table", "json"), default="table", help="output format (default: table)")


def _add_history(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=("csv", "openmetrics"), default="csv", help="(default: csv)")
    command.add_argument("--tenant", action="append", metavar="NAME", help="only this tenant; repeatable")
    command.add_argument("--since", metavar="DATE", help="from this date or time on (ISO 8601)")
    command.add_argument("--until", metavar="DATE", help="up to this date or time (ISO 8601)")
    # Just under Prometheus' look-back of 5 minutes, so that a range query sees no gap between two samples.
    command.add_argument(
        "--step", default="4m", metavar="DURATION", help="OpenMetrics: time between two repeated samples (default: 4m)"
    )
    command.add_argument("--label", action="append", metavar="K=V", help="OpenMetrics: add a label; repeatable")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a whole number, at least 1")
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError("write a number of seconds, 0 or more")
