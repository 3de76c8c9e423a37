"""What a linter for prose would hold, of every page."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.docs.markdown import blocks, each_page, prose

if TYPE_CHECKING:
    from pathlib import Path

VAGUE = {"here", "this", "link", "click here", "read more", "this page"}


@each_page
def test_headings(page: Path) -> None:
    """A page begins with its one title, and no heading skips a level or ends like a sentence."""
    headings = re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)
    levels = [len(marks) for marks, _ in headings]
    assert page.read_text(encoding="utf-8").startswith("# ")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert not [text for _, text in headings if text.endswith((".", ":", "!"))]


@each_page
def test_tables(page: Path) -> None:
    """Every row of a table has as many cells as its head."""
    for table in re.findall(r"(?:^ *\|.*\|\n)+", prose(page) + "\n", re.MULTILINE):
        rows = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in table.splitlines()]
        assert len(set(rows)) == 1, table


@each_page
def test_text(page: Path) -> None:
    """No word is doubled, no line ends in a space, a link's text says where it leads, and nothing is left to do."""
    text = re.sub(r"`[^`\n]*`", "`", prose(page))
    assert not re.findall(r"\b([a-z]+)[ \n]\1\b", text)
    assert not re.findall(r"[ \t]+$", text, re.MULTILINE)
    assert not re.findall(r"\b(?:TODO|FIXME|TBD|XXX|lorem)\b", text)
    assert not VAGUE & {label.lower() for label in re.findall(r"\[([^]]+)\]\(", text)}


@each_page
def test_blocks(page: Path) -> None:
    """Every block of code is closed, and has neither tabs nor a prompt that would be copied."""
    assert len(re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)) == 2 * len(blocks(page))
    for block in blocks(page):
        assert "\t" not in block.text
        assert block.language != "sh" or not re.search(r"^[$>] ", block.text, re.MULTILINE)


@each_page
def test_pictures(page: Path) -> None:
    """Every picture has a text for those who do not see it."""
    assert not re.findall(r"!\[\s*\]\(", prose(page))
