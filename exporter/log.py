"""Logging: one line per event on stderr, logfmt or JSON, secrets redacted."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# Each is linear in the text: no two matches can begin in one run of characters and both read to its end.
_SECRETS = (
    # JSON web tokens, wherever they stand.
    (re.compile(r"eyJ[\w.-]{8,}"), "[token]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w+/.=~-]{8,}"), r"\1 [redacted]"),
    # Parameters of the token endpoint and of Microsoft's preauthenticated download URLs.
    (
        re.compile(r"(?i)\b(client_secret|client_assertion|assertion|refresh_token|password|sig|token)=[^&\s\"']+"),
        r"\1=[redacted]",
    ),
    # The password of a proxy's URL.
    (re.compile(r"(://[^/\s:@]*):[^/\s]+@"), r"\1:[redacted]@"),
)


def get_logger(name: str) -> Any:
    """Return the logger of module `name`: `log.warning("sentence", tenant="contoso", …)`."""
    return structlog.get_logger(name)


def is_verbose() -> bool:
    """Say whether `debug` is heard: for lines too frequent to be made for nobody."""
    return logging.getLogger("exporter").isEnabledFor(logging.DEBUG)


def redact(text: str) -> str:
    """Return `text` without tokens, secrets of requests, signatures of URLs and passwords of proxies."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def printable(text: str) -> str:
    """Return `text` with a space for each character that could steer a terminal or turn a line's direction."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


def quotable(text: str, limit: int) -> str:
    """Return what an outside host said, fit for a message: one line, printable, without secrets, not too long."""
    # Cut before, so that nobody's megabytes are searched, and after, since a replacement may be longer.
    return redact(" ".join(printable(text[: 20 * limit]).split()))[:limit]


def _clean_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if not isinstance(value, int | float | bool | None):
            # The lines of a traceback are kept: the renderers escape their ends.
            event[key] = "\n".join(printable(line) for line in redact(str(value)).split("\n"))
    return event


def set_up(level: str = "info", fmt: str = "logfmt", stream: TextIO | None = None) -> None:
    """Send this process's log lines to `stream` (stderr where left out).

    Libraries are heard from `warning` on, whatever the level: httpx logs whole URLs at `info`, the preauthenticated
    one with its signature included.

    Args:
        level: debug, info, warning or error.
        fmt: logfmt or json.
        stream: where the lines go.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.EventRenamer("msg"),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if fmt == "json"
        else structlog.processors.LogfmtRenderer(key_order=["ts", "level", "msg"], bool_as_flag=False)
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _clean_event,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each write to a client that has disconnected
    logging.getLogger("exporter").setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
