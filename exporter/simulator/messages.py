"""What goes into the simulation and what comes out: hosts, requests and responses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Origin(StrEnum):
    """Which of Microsoft's hosts is called."""

    LOGIN = "login"
    GRAPH = "graph"
    DOWNLOAD = "download"
    IDENTITY = "identity"


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
class Cloud:
    """One cloud's addresses, without a slash at the end.

    Attributes:
        login: where tokens come from.
        graph: Graph's address, also the audience its tokens must have.
        download: where the preauthenticated URLs point.
        identity: where managed identities get their tokens.
        resources: what a scope may name at this login, and the audience its token then has.
        versions: the versions of Graph that have the activation reports.
    """

    login: str
    graph: str
    download: str
    identity: str
    resources: Mapping[str, str]
    versions: tuple[str, ...] = ("v1.0", "beta")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as the simulation sees it.

    Attributes:
        cloud: the addresses under which it was sent, used for every address in the answer.
        origin: which host was called.
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
class Response:
    """One HTTP response; its length is added where it is sent.

    Attributes:
        status: the code.
        headers: in the order in which they are sent.
        body: as it is sent.
        cut: the connection ends after this many bytes of the body; -1: before the status line. None: it does not.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut: int | None = None

    def header(self, name: str) -> str:
        """Return the first header of that name in any case, or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def json_response(status: int, document: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json; charset=utf-8"), *headers), body)
