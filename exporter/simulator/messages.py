"""What goes into the simulation and what comes out: requests, responses and how a response travels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.simulator.clouds import Cloud, Origin


class Stage(StrEnum):
    """Which step of reading a report a call belongs to.

    `REPORT` is no step of its own but the answer that carries the data: the download for CSV, Graph's for JSON.
    """

    DISCOVERY = "discovery"
    DEVICE_CODE = "device_code"
    TOKEN = "token"  # noqa: S105 - the name of a step, not a secret
    GRAPH = "graph"
    DOWNLOAD = "download"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as the simulation sees it.

    Attributes:
        cloud: the addresses under which it was asked, used for every address in the answer.
        origin: which host was asked.
        method: in upper case.
        path: percent-decoded, without query.
        query: percent-decoded; the first value of each name.
        headers: names in lower case; the last value of each name.
        body: as sent.
    """

    cloud: Cloud
    origin: Origin
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a response travels, for faults below HTTP.

    Attributes:
        delay: seconds of silence before the first byte.
        cut: the connection ends after this many bytes of the body; -1: before the status line. None: it does not.
        drip: seconds between the single bytes of the body.
        drip_headers: seconds between the single bytes of the status line and the headers.
        endless: the body is repeated for ever.
    """

    delay: float = 0.0
    cut: int | None = None
    drip: float = 0.0
    drip_headers: float = 0.0
    endless: bool = False


PLAIN = Wire()


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; its length is added where it is sent."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    wire: Wire = PLAIN

    def header(self, name: str) -> str:
        """Return the first header of that name in any case, or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def json_response(status: int, document: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return `document` as a JSON response."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json; charset=utf-8"), *headers), body)
