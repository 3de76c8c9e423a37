"""The vocabulary: what operators read is plain technical English, with one word for one thing."""

from __future__ import annotations

import io
import re
import tokenize
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.markdown import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = {
    r"mend(?:s|ed|ing|able)?": "fix; needs an operator",
    r"faults?|faulty": "error, errors; with an error",
    r"fine": "ok",
    r"look(?:s|ed|ing)?[ -](?:at|whether|into)": "check, read",
    r"seldom": "rarely",
    r"anew": "again",
    r"stays": "persists, is kept",
    r"beside": "next to",
    r"told|what is said": "reported, shown",
    r"failures in row": "consecutive failures",
    r"porch|door": "listener, handshake",
    r"deaf": "draining",
    r"patience": "grace period",
    r"chores?|housekeeping": "periodic task",
    r"our own|ours": "the exporter's",
    r"call stack": "traceback",
    r"goes? on|going on|went on": "continue",
    r"heals?|healed": "recover, fix",
    r"(?:is|are) no (?:number|date|text|path|address|object|duration|URL|YAML|JSON|CSV|(?:regular )?file|name|counts"
    r"|database|threshold|token|proxy|report)": "is not a …",
    r"(?:is|are) none of": "is not one of",
    r"not to be had|no longer taken|not taken any more": "not available, not accepted",
    r"stands? (?:twice|in several)|is there twice": "appears twice",
    r"holds? (?:no|more than|half|neither)": "contains no …",
    r"speaks|spoken": "supports",
    r"whom": "which client, who",
    r"under way": "in progress",
    r"outranks?|beats?": "takes precedence over, overrides",
    r"for want of": "because there is no",
    r"nothing is to be|is nothing to be": "there is nothing to …",
    r"gave no|gives? no": "returned no, has no",
    r"errors? of the exporter|exporter's own code": "a bug in the exporter",
    r"obviously|simply|of course|please note": "nothing: leave it out",
    r"utili[sz]e[sd]?|leverage[sd]?|in order to": "use, to",
    r"blacklist(?:ed)?|whitelist(?:ed)?|master/slave|sanity": "blocklist, allowlist, primary/replica, check",
    r"e\.g|i\.e|etc\.|via": "for example, that is, and so on, by",
}
"""What is not written, as a regular expression of whole words, and what is written in its place."""

EXCEPTIONS = {
    ("exporter/simulator/*", r"faults?|faulty"): "fault injection is the field's own term for what a simulation does",
}
"""Files, by a pattern, in which a word is allowed, and why."""

SOURCES = [
    *PAGES,
    *sorted((ROOT / "exporter").rglob("*.py")),
    *sorted((ROOT / "monitoring").rglob("*.py")),
    *sorted((ROOT / "helm").rglob("*.yaml")),
    *sorted((ROOT / "helm").rglob("*.txt")),
    ROOT / "Makefile",
    ROOT / "Dockerfile",
    ROOT / "pyproject.toml",
]


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """Return the texts of a file that people read, each with its line: prose, strings, docstrings and comments."""
    if file.suffix == ".md":
        text = re.sub(r"`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", "", file.read_text(encoding="utf-8"))
        yield from enumerate(text.splitlines(), 1)
    elif file.suffix == ".py":
        kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
            if token.type in kinds:
                plain = re.sub(r"\{[^{}]*\}", "{}", token.string)  # names in f-strings
                yield from enumerate(plain.splitlines(), token.start[0])
    else:
        yield from enumerate(file.read_text(encoding="utf-8").splitlines(), 1)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_words(file: Path) -> None:
    """No text that an operator or a contributor reads has a word for which the project has a plainer one."""
    name = file.relative_to(ROOT).as_posix()
    refused = {
        word: instead
        for word, instead in WORDS.items()
        if not any(fnmatch(name, pattern) for pattern, allowed in EXCEPTIONS if allowed == word)
    }
    found = [
        f"{name}:{line}: {hit[0]!r} → {instead}: {text.strip()[:200]}"
        for line, text in texts(file)
        for word, instead in refused.items()
        for hit in re.finditer(rf"\b(?:{word})(?!\w)", text, re.IGNORECASE)
    ]
    assert not found, "\n" + "\n".join(found)


OLD = {
    "mend",
    "mends",
    "mended",
    "porch",
    "door",
    "deaf",
    "patience",
    "chore",
    "chores",
    "housekeeping",
    "seldom",
    "anew",
}
"""Words that no name is made with."""


@pytest.mark.parametrize(
    ("folder", "old"), [("exporter", OLD | {"fault", "faults"}), ("tests", OLD | {"estate", "told"})]
)
def test_names(folder: str, old: set[str]) -> None:
    """No name is made with one of the old words; only the simulation injects faults."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        if file.is_relative_to(ROOT / "exporter/simulator"):
            continue
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.NAME:
                parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", token.string)}
                assert not parts & old, f"{file.name}:{token.start[0]}: {token.string}"


def test_words_of_the_tests() -> None:
    """The tests, whose sentences are promises, have the same words where an old one would mislead."""
    refused = "|".join(
        word for word in WORDS if word.startswith((r"mend", "seldom", "anew", "beside", "porch", "deaf", "chores"))
    )
    for file in sorted((ROOT / "tests").rglob("*.py")):
        if file != Path(__file__):
            found = [
                (line, text) for line, text in texts(file) if re.search(rf"\b(?:{refused})(?!\w)", text, re.IGNORECASE)
            ]
            assert not found, file


def test_exceptions_are_needed() -> None:
    """Every exception still has a text that needs it."""
    for pattern, word in EXCEPTIONS:
        assert any(
            re.search(rf"\b(?:{word})(?!\w)", text, re.IGNORECASE)
            for file in SOURCES
            if fnmatch(file.relative_to(ROOT).as_posix(), pattern)
            for _, text in texts(file)
        ), pattern
