"""The pages of the documentation, and what a reader finds in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

_BLOCK = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: where it is.
        language: the word after the fence; empty where there is none.
        text: its lines, without the indentation of the fence.
    """

    page: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page."""
    return fenced(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix())


def fenced(markdown: str, page: str) -> list[Block]:
    """Return the blocks of code of a part of a page."""
    return [
        Block(page, language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
        for indent, language, text in _BLOCK.findall(markdown)
    ]


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the file and the anchor that each link inside the repository leads to."""
    found = re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", prose(page))
    return [((page.parent / target).resolve() if target else page, anchor) for target, anchor in found]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a code forge gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
