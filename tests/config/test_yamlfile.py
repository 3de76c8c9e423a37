"""YAML without its surprises."""

from __future__ import annotations

import importlib
import json
import subprocess
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import yamlfile
from exporter.config.types import Count, Settings, Text, setting
from exporter.config.yamlfile import parse_file, parse_yaml, read_yaml
from exporter.errors import ConfigError

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
        ("a: !!int '5'", {"a": 5}),
        ('{"<<": 1}', {"<<": 1}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_good_texts(text: str, data: Any) -> None:
    """Data arrive as PyYAML's safe loader reads them, merge keys and aliases included."""
    found = parse_yaml(text, "x")
    assert found.errors == ()
    assert found.data == (data if data is not None else yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 2", "x:a: the key appears twice, in lines 1 and 2; keep one of the two"),
        ("a:\n- b: 1\n  c: 1\n  b: 2", "x:a[0].b: the key appears twice, in lines 2 and 4; keep one of the two"),
        ('{"a": 1, "a": 2}', "x:a: the key appears twice, in lines 1 and 1; keep one of the two"),
        ("1: a", "x:?: a key is not text; put the key in quotes"),
        ("[a]: b", "x:1:1: a key is not text; write it as one word"),
        ("a: 2027-02-31", "x:1:4: is not a valid number or date; correct it, or put it in quotes if it is text"),
        (
            "a: !!bool maybe",
            "x:1:4: is not a valid number or date; correct it, or put it in quotes if it is text",
        ),
        (
            "a: !s3cret {}",
            "x:1:4: has a YAML tag, which is not supported here; remove the word with the exclamation mark",
        ),
        (
            "a: {<<: 5}",
            "correct the indentation, quotes or brackets just before it",
        ),
        (
            "a: {<<: [5]}",
            "correct the indentation, quotes or brackets just before it",
        ),
        (
            "a: *s3cret",
            "x:1:4: is not YAML: found undefined alias …; correct the indentation, quotes or brackets just before it",
        ),
        ("--- a\n--- b", "x:2:1: contains more than one document; keep what is before the second ---"),
        ("a: \0", "x: contains a character that YAML does not allow; save it as plain UTF-8 text"),
        ('a: "s3cret', "correct the indentation, quotes or brackets just before it"),
        ("a: [s3cret", "correct the indentation, quotes or brackets just before it"),
        ("a:\n\tb: s3cret", "x:2:1: a tab indents this line; indent with spaces"),
        ("a: b: s3cret", "correct the indentation, quotes or brackets just before it"),
        ("a: %s3cret", "correct the indentation, quotes or brackets just before it"),
        ('a: "\\s3cret"', "correct the indentation, quotes or brackets just before it"),
    ],
)
def test_bad_texts(text: str, line: str) -> None:
    """What YAML would swallow, guess or misread is an error, and no text of the file is quoted."""
    (error,) = parse_yaml(text, "x").errors
    assert error.startswith("x:")
    assert error.endswith(line)
    assert "s3cret" not in error


def test_all_duplicates_at_once() -> None:
    """Several doubled keys are all told."""
    assert len(parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}", "x").errors) == 2


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_bounded(opening: str) -> None:
    """A hundred thousand levels of nesting end in an error, not in a crash."""
    (error,) = parse_yaml(opening * 100_000, "x").errors
    assert "levels deep" in error or "is not YAML" in error


def test_anchors_are_bounded() -> None:
    """Anchors that stand for billions of values end in an error before any memory is spent."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (error,) = parse_yaml("\n".join(lines), "x").errors
    assert "expands to more than 10,000,000 values" in error


def test_without_the_c_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyYAML that was built without libyaml reads the same."""
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    try:
        pure = importlib.reload(yamlfile)
        assert pure.parse_yaml("a: [1, {b: c}]\nd: 2027-01-31", "x").data == {
            "a": [1, {"b": "c"}],
            "d": date(2027, 1, 31),
        }
        assert pure.parse_yaml("a: 1\na: 2", "x").errors
        assert pure.parse_yaml("[" * 1000, "x").errors
    finally:
        monkeypatch.undo()
        importlib.reload(yamlfile)


def test_only_text() -> None:
    """Where Go reads values into strings, a plain value remains the text that was written, and nothing nothing."""
    text = "a: 1\nb: yes\nc: 2027-02-31\nd:\ne: ~\nf: ''\ng: [0x1, null]"
    data = {"a": "1", "b": "yes", "c": "2027-02-31", "d": None, "e": None, "f": "", "g": ["0x1", None]}
    assert parse_yaml(text, "x", only_text=True) == (data, ())


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing, foreign or huge file is an error that names it."""
    path = tmp_path / "c.yml"
    assert read_yaml(path).errors == (
        f"{path}: cannot be read: No such file or directory; check the path, the file and its permissions",
    )
    assert "Is a directory" in read_yaml(tmp_path).errors[0]
    assert "this is not a file path" in read_yaml(tmp_path / "\0").errors[0]
    path.write_bytes(b"a: b\nc: \xff\n")
    assert read_yaml(path).errors == (f"{path}:2: is not UTF-8; save the file as UTF-8",)
    path.write_bytes(b"#" * ((1 << 20) + 1))
    (error,) = read_yaml(path, limit=1 << 20).errors
    assert error == f"{path}: cannot be read: it is larger than 1 MiB; check the path, the file and its permissions"


@pytest.mark.parametrize("command", ["mkfifo", "ln -s /dev/zero"])
def test_files_that_are_none(tmp_path: Path, command: str) -> None:
    """A FIFO or a device in a file's place is an error at once."""
    path = tmp_path / "c.yml"
    subprocess.run([*command.split(), str(path)], check=True)
    (error,) = read_yaml(path).errors
    assert "it is not a regular file" in error


class Toy(Settings):
    """A model as another file could have."""

    name: Text = setting("nobody", "a name")
    size: Count = setting(1, "a size", ge=1)


def test_a_file_of_another_model(tmp_path: Path) -> None:
    """Any model of settings reads its own file: as it is, empty, and with all errors at once."""
    path = tmp_path / "toy.yml"
    path.write_text("name: a", encoding="utf-8")
    assert parse_file(Toy, path, limit=100) == Toy(name="a")
    path.write_text("", encoding="utf-8")
    assert parse_file(Toy, path, limit=100) == Toy()
    path.write_text("nam: a\nsize: 0\nsize: 1", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        parse_file(Toy, path, limit=100)
    assert caught.value.errors == (
        f"{path}:size: the key appears twice, in lines 2 and 3; keep one of the two",
        f"{path}:size: is less than 1; write 1 or more",
        f"{path}:nam: is not a known key; did you mean name?",
    )
    path.write_text("- a", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a map"):
        parse_file(Toy, path, limit=100)


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
    """Any text is data or errors, never an exception; and where PyYAML reads plain data, so do we, or say why not."""
    found = parse_yaml(text, "x")
    assert found.errors or found.data == yaml.safe_load(text)
