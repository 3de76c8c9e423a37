"""Numbers and ids drawn from a seed and names: the same in every process."""

from __future__ import annotations

import uuid
from hashlib import blake2b


def digest(*parts: object, size: int = 16) -> bytes:
    """Return `size` bytes (at most 64) that look random and depend on nothing but `parts`."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=size).digest()


def draw(*parts: object) -> float:
    """Return a number from 0 up to, but not including, 1 that depends on nothing but `parts`."""
    return (int.from_bytes(digest(*parts, size=7)) >> 3) / (1 << 53)


def between(low: float, high: float, *parts: object) -> float:
    """Return a number from `low` up to `high` that depends on nothing but the arguments."""
    return low + (high - low) * draw(*parts)


def make_uuid(*parts: object) -> str:
    """Return a UUID of version 4's shape that depends on nothing but `parts`."""
    return str(uuid.UUID(bytes=digest("uuid", *parts), version=4))
