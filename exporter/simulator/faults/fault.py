"""What a fault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.call import Call
    from exporter.simulator.messages import Response, Stage

# Given the call and what would have been the good answer to it.
Answer: TypeAlias = "Callable[[Call, Callable[[], Response]], Response]"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in place of a good answer.

    Attributes:
        name: by which it is asked for.
        stage: the step it belongs to, unless another is named when it is injected.
        summary: one line about it.
        answer: makes the faulty answer.
    """

    name: str
    stage: Stage
    summary: str
    answer: Answer
