"""Answers that are slow or never end."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.simulator.state import Response


@dataclass(frozen=True, slots=True)
class SlowResponse(Response):
    """A response that takes its time.

    Attributes:
        delay: seconds of silence before the first byte.
        drip: seconds between the single bytes of the body.
        drip_headers: seconds between the single bytes of the status line and the headers.
        endless: the body is repeated for ever.
    """

    delay: float = 0.0
    drip: float = 0.0
    drip_headers: float = 0.0
    endless: bool = False
