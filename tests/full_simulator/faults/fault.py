"""A fault as tests know it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.simulator import state


class Stage(StrEnum):
    """The step of a poll that a call belongs to.

    `REPORT` is no step of its own but the answer that carries the data: the download for CSV, Graph's for JSON.
    """

    DISCOVERY = "discovery"
    DEVICE_CODE = "device_code"
    TOKEN = "token"
    GRAPH = "graph"
    DOWNLOAD = "download"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in place of a good answer.

    Attributes:
        name: as tests know it.
        stage: the step it belongs to.
        summary: one line about it.
        answer: makes the faulty answer.
    """

    name: str
    stage: Stage
    summary: str
    answer: state.Fault
