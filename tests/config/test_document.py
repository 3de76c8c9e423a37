"""YAML without its surprises."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import document
from exporter.config.document import parse_yaml
from exporter.config.sources import read_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", None),
        ("# nothing\n", None),
        ("\ufeffa: b", {"a": "b"}),
        ("a: 1\nb: 1.5\nc: true\nd:\ne: text\nf: '1'\ng: 2027-01-31", None),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: {<<: [{b: 1}, {b: 2, c: 3}], d: 4}", {"a": {"b": 1, "c": 3, "d": 4}}),
        ("a: !!str 5", {"a": "5"}),
        ("a: ! 5", {"a": "5"}),
        ("a: !!int '5'", {"a": 5}),
        ('{"<<": 1}', {"<<": 1}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_good_texts(text: str, data: Any) -> None:
    """Data arrive as PyYAML's safe loader reads them, merge keys and aliases included."""
    found = parse_yaml(text, "x")
    assert found.faults == ()
    assert found.data == (data if data is not None else yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 2", "x:a: the key stands twice, again in line 2; keep one of the two"),
        ("a:\n- b: 1\n  c: 1\n  b: 2", "x:a[0].b: the key stands twice, again in line 4; keep one of the two"),
        ('{"a": 1, "a": 2}', "x:a: the key stands twice, again in line 1; keep one of the two"),
        ("1: a", "x:?: a key is not text; put the key in quotes"),
        ("[a]: b", "x:?: a key is not text; put the key in quotes"),
        ("a: 2027-02-31", "x:a: is no number or date that exists; mend it, or put it in quotes if it is text"),
        ("a: !!bool maybe", "x:a: is no number or date that exists; mend it, or put it in quotes if it is text"),
        ("a: !!binary eA==", "x:a: has a YAML tag that means nothing here; remove the word with the exclamation mark"),
        ("a: !s3cret {}", "x:a: has a YAML tag that means nothing here; remove the word with the exclamation mark"),
        ("a: {<<: 5}", "x:a.?: << takes a map or a list of maps; write << with an alias of a map"),
        ("a: {<<: [5]}", "x:a.?: << takes a map or a list of maps; write << with an alias of a map"),
        ("a: *s3cret", "x:a: refers to an anchor that does not stand before it; define the &anchor first"),
        ("--- a\n--- b", "x: holds more than one document; keep what stands before the second ---"),
        ("a: \0", "x: holds a character that YAML forbids; save it as plain UTF-8 text"),
        ('a: "s3cret', "mend the indentation, quotes or brackets just before it"),
        ("a: [s3cret", "mend the indentation, quotes or brackets just before it"),
        ("\ta: s3cret", "mend the indentation, quotes or brackets just before it"),
        ("a: b: s3cret", "mend the indentation, quotes or brackets just before it"),
        ("a: %s3cret", "mend the indentation, quotes or brackets just before it"),
        ('a: "\\s3cret"', "mend the indentation, quotes or brackets just before it"),
    ],
)
def test_bad_texts(text: str, line: str) -> None:
    """What YAML would swallow, guess or misread is a fault, and no text of the file is quoted."""
    (fault,) = parse_yaml(text, "x").faults
    assert fault.startswith("x:")
    assert fault.endswith(line)
    assert "s3cret" not in fault


def test_all_duplicates_at_once() -> None:
    """Several doubled keys are all told."""
    assert len(parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}", "x").faults) == 2


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_bounded(opening: str) -> None:
    """A hundred thousand levels of nesting end in a fault, not in a crash."""
    (fault,) = parse_yaml(opening * 100_000, "x").faults
    assert "levels deep" in fault or "is not YAML" in fault


def test_anchors_are_bounded() -> None:
    """Anchors that stand for billions of values end in a fault before any memory is spent."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (fault,) = parse_yaml("\n".join(lines), "x").faults
    assert "stands for more than 10,000,000 values" in fault


def test_without_the_c_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyYAML that was built without libyaml reads the same."""
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    assert parse_yaml("a: [1, {b: c}]\nd: 2027-01-31", "x").data == {"a": [1, {"b": "c"}], "d": date(2027, 1, 31)}
    assert parse_yaml("a: 1\na: 2", "x").faults


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, foreign or huge file is a fault that names it."""
    path = tmp_path / "c.yml"
    assert read_file(path).faults == (
        f"{path}: cannot be read: No such file or directory; check the path and its permissions",
    )
    assert "Is a directory" in read_file(tmp_path).faults[0]
    assert "this is no path" in read_file(tmp_path / "\0").faults[0]
    path.write_bytes(b"a: b\nc: \xff\n")
    assert read_file(path).faults == (f"{path}:2: is not UTF-8; save the file as UTF-8",)
    monkeypatch.setattr("exporter.config.sources.MAX_BYTES", 1 << 20)
    path.write_bytes(b"#" * ((1 << 20) + 1))
    assert read_file(path).faults == (f"{path}: is larger than 1 MiB; spread the tenants over several tenant_files",)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_any_data_survive(data: Any) -> None:
    """Whatever PyYAML's safe dumper writes is read back as it was."""
    assert parse_yaml(yaml.safe_dump(data), "x") == (data, ())


@given(st.dictionaries(st.text(alphabet="abc<"), _VALUES))
def test_any_json_is_yaml(data: Any) -> None:
    """JSON with plain characters reads as YAML does."""
    text = json.dumps(data)
    if "\\u" not in text and "\\" not in text:
        assert parse_yaml(text, "x").data == yaml.safe_load(text)


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text is data or faults, never an exception; and where PyYAML reads plain data, so do we, or say why not."""
    found = parse_yaml(text, "x")
    assert found.faults or found.data == yaml.safe_load(text)
