"""`/metrics` as a reader sees it, followed line by line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.formats import parse_text
from tests.soak.errors import ViolationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.soak.oracle import Series

_PREFIX = "office365_activations_"
_LINE = re.compile(rf"{_PREFIX}(\w+)\{{(.*)\}} (\S+)\Z", re.DOTALL)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|\Z)')
_ESCAPED = re.compile(r"\\(.)")


class Page:
    """The tenants' samples on the page, by tenant; `follow` reads only what changed.

    Attributes:
        tenants: the samples of each tenant.
    """

    def __init__(self) -> None:
        self.tenants: dict[str, dict[Series, float]] = {}
        self._pieces: frozenset[bytes] = frozenset()

    def follow(self, listed: Sequence[bytes]) -> set[str]:
        """Read the page, of which most pieces are those of the last time; return the tenants whose samples changed.

        Raises:
            ViolationError: a line cannot be read, or stands there twice.
        """
        pieces = frozenset(listed)
        if pieces == self._pieces:
            return set()
        if len(pieces) != len(listed):
            raise ViolationError("samples stand twice on the page")
        before, now = _lines(self._pieces - pieces), _lines(pieces - self._pieces)
        changed: set[str] = set()
        for line in before - now:
            series, tenant, _ = _read(line)
            del self.tenants[tenant][series]
            changed.add(tenant)
        for line in now - before:
            series, tenant, value = _read(line)
            samples = self.tenants.setdefault(tenant, {})
            if series in samples:
                raise ViolationError(f"a series stands twice on the page: {series}")
            samples[series] = value
            changed.add(tenant)
        for tenant in changed:
            if not self.tenants[tenant]:
                del self.tenants[tenant]
        self._pieces = pieces
        return changed

    def confirm(self, text: bytes) -> None:
        """Read the whole of `/metrics` with prometheus-client's own parser and compare.

        Raises:
            ViolationError: it reads something else.
        """
        read: dict[str, dict[Series, float]] = {}
        for family in parse_text(text.decode()):
            for sample in family.samples:
                if "tenant" in sample.labels:
                    series = (sample.name.removeprefix(_PREFIX), tuple(sorted(sample.labels.items())))
                    read.setdefault(sample.labels["tenant"], {})[series] = sample.value
        if read != self.tenants:
            raise ViolationError("prometheus-client reads other samples")


def _lines(pieces: Iterable[bytes]) -> set[bytes]:
    listed = [line for piece in pieces for line in piece.split(b"\n") if line and not line.startswith(b"#")]
    lines = set(listed)
    if len(lines) != len(listed):
        raise ViolationError("a sample stands twice on the page")
    return lines


def _read(line: bytes) -> tuple[Series, str, float]:
    found = _LINE.match(line.decode())
    if found is None:
        raise ViolationError(f"no sample: {line!r}")
    labels = {name: _ESCAPED.sub(_unescaped, value) for name, value in _LABEL.findall(found[2])}
    return (found[1], tuple(sorted(labels.items()))), labels["tenant"], float(found[3])


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]
