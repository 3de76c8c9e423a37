"""What every benchmark is given."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.installation import Installation


@dataclass(frozen=True, slots=True)
class Bench:
    """How to measure.

    Attributes:
        installation: by which exporter and prometheus-client run.
        folder: for files.
        quick: whether it is only to be seen that everything works: few rounds, small sizes, no figures to quote.
    """

    installation: Installation
    folder: Path
    quick: bool
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def rounds(self) -> int:
        """How many rounds a median is taken of."""
        return 2 if self.quick else 5

    def sizes(self, *sizes: int) -> tuple[int, ...]:
        """Return the numbers of tenants to measure at."""
        return sizes[: max(1, len(sizes) // 2)] if self.quick else sizes

    def size(self, size: int) -> int:
        """Return the number of tenants to measure at, where there is only one."""
        return max(1, size // 10) if self.quick else size

    def new_folder(self) -> Path:
        """Return a new folder."""
        made = self.folder / str(next(self._numbers))
        made.mkdir()
        return made
