"""How a run ends early."""

from __future__ import annotations


class ViolationError(BaseException):
    """An invariant does not hold; the message says which, and what was seen. Nothing in the exporter may catch it."""


class KilledError(BaseException):
    """The process died here, as by `kill -9`; nothing in the exporter may catch it."""
