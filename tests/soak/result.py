"""What a run came to, and what it overheard."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """What a run came to.

    Attributes:
        seed: by which it is made again.
        days: how many were simulated.
        polls: how many polls ended.
        requests: how many requests they made.
        deaths: how often the process died.
        reports: how many storage holds at the end.
        faults: how often each fault was met.
        events: how often each kind of event happened.
        violation: which invariant did not hold, and where; empty if all did.
        steps: how many steps there were.
    """

    seed: int
    days: float = 0.0
    polls: int = 0
    requests: int = 0
    deaths: int = 0
    reports: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    violation: str = ""


class Ears(io.StringIO):
    """Listens to the log: an exception that was caught and logged is a violation all the same.

    Attributes:
        heard: the lines that tell of one.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []

    def write(self, text: str) -> int:
        """Listen."""
        if "an error in the exporter" in text:
            self.heard.append(text)
        return len(text)
