"""What a benchmark came to, and how it stands in the documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        title: a sentence.
        head: the columns; the first is aligned left, the others right.
        rows: the cells.
        note: what to know when reading it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """Return it as Markdown."""
        marks = ["---", *("---:" for _ in self.head[1:])]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.head, marks, *self.rows)]
        return "\n\n".join(part for part in (f"**{self.title}**", "\n".join(lines), self.note) if part)


@dataclass(frozen=True, slots=True)
class Bar:
    """What the exporter is to reach, and whether it does.

    Attributes:
        what: what is measured.
        bar: what it is to be.
        measured: what it is.
        holds: whether that is good.
    """

    what: str
    bar: str
    measured: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark came to."""

    tables: Sequence[Table] = ()
    bars: Sequence[Bar] = ()

    def markdown(self) -> str:
        """Return it as Markdown."""
        parts = [table.markdown() for table in self.tables]
        if self.bars:
            rows = [(bar.what, bar.bar, bar.measured, "yes" if bar.holds else "**no**") for bar in self.bars]
            parts.append(Table("What it is held to", ("", "bar", "measured", "holds"), rows).markdown())
        return "\n\n".join(parts)


def at_most(what: str, measured: float, bar: float, unit: str = "times") -> Bar:
    """Return the bar that a measured value is not to exceed."""
    return Bar(what, f"at most {bar:g} {unit}", f"{figure(measured)} {unit}", measured <= bar)


def at_least(what: str, measured: float, bar: float, unit: str = "times") -> Bar:
    """Return the bar that a measured value is to reach."""
    return Bar(what, f"at least {bar:g} {unit}", f"{figure(measured)} {unit}", measured >= bar)


def figure(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return figure(seconds * 1000)


def insert(documents: Iterable[Path], name: str, text: str) -> bool:
    """Put a benchmark's text between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; say whether these were found."""
    marks = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
    found = False
    for path in documents:
        before = path.read_text(encoding="utf-8")
        after = marks.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", before)
        found = found or marks.search(before) is not None
        if after != before:
            path.write_text(after, encoding="utf-8")
    return found
