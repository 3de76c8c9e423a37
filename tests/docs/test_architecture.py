"""docs/architecture.md: its list of modules and of libraries, made from the code, and what it promises of values."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING

from tests.docs.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = ROOT / "docs/architecture.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = ROOT / "exporter"
IMPORT_NAMES = {"pyyaml": "yaml"}
NOT_IMPORTED = {"tzdata": "data that zoneinfo reads"}


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def order() -> list[str]:
    """Return the modules and packages of the import contract, top first."""
    (contract,) = (one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["id"] == "layers")
    return [name for layer in contract["layers"] for name in layer.split(" | ")]


def modules() -> str:
    """Return a table of all modules, in the order in which they may import each other, with their first sentence."""
    rows = ["| module | |", "| --- | --- |"]
    for name in order():
        package = PACKAGE / name
        for path in (
            [package / "__init__.py", *sorted(package.rglob("*.py"))]
            if package.is_dir()
            else [package.with_suffix(".py")]
        ):
            if path.name == "__init__.py" and path.parent != package:
                continue
            shown = f"**{name}/**" if path.name == "__init__.py" else f"`{path.relative_to(PACKAGE)}`"
            sentence = (ast.get_docstring(parsed(path)) or "").partition("\n")[0].replace("|", "\\|")
            row = f"| {shown} | {sentence} |"
            if row not in rows:
                rows.append(row)
    return "\n".join(rows)


def libraries() -> str:
    """Return a table of the dependencies at run time, with the modules that import them."""
    imported: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                imported.setdefault(name.partition(".")[0], set()).add(path.relative_to(PACKAGE).as_posix())
    rows = ["| library | imported by |", "| --- | --- |"]
    for requirement in PROJECT["project"]["dependencies"]:
        name = re.split(r"[^\w-]", requirement)[0]
        places = sorted(imported.get(IMPORT_NAMES.get(name, name.replace("-", "_")), set()))
        assert places or name in NOT_IMPORTED, f"{name} is imported nowhere"
        rows.append(f"| {name} | {', '.join(f'`{place}`' for place in places) or NOT_IMPORTED[name]} |")
    return "\n".join(rows)


def test_the_lists_are_the_codes_own(golden: Callable[[Path, str], None]) -> None:
    """The page has every module with the first sentence of its docstring, and every library with who imports it."""
    text = PAGE.read_text(encoding="utf-8")
    for part, made in (("modules", modules()), ("libraries", libraries())):
        before, begin, rest = re.split(rf"(<!-- {part}: .*? -->\n)", text)
        _, end, after = re.split(rf"(\n<!-- /{part} -->)", rest)
        text = f"{before}{begin}\n{made}\n{end}{after}"
    golden(PAGE, text)


def test_the_threads_are_those_of_the_code() -> None:
    """The page's table of threads names each thread that the code starts."""
    table = PAGE.read_text(encoding="utf-8").partition("## Threads")[2].partition("\n## ")[0]
    started = {
        name
        for path in PACKAGE.rglob("*.py")
        if not path.is_relative_to(PACKAGE / "simulator")
        for name in re.findall(r"(?:Thread\(.*?name=|Worker\()\"([\w-]+)\"", path.read_text(encoding="utf-8"))
    }
    assert started
    assert started == set(re.findall(r"`([a-z-]+)`", table))


def test_every_module_says_what_it_is() -> None:
    """The first line of each module's docstring is one sentence, and says more than the module's name."""
    for path in PACKAGE.rglob("*.py"):
        sentence = (ast.get_docstring(parsed(path)) or "").partition("\n")[0]
        assert sentence.endswith((".", "?")), path
        assert len(sentence.split()) > 2, path


def test_values_are_frozen() -> None:
    """Every dataclass is frozen: what travels from step to step is not changed on the way.

    The simulator remembers, and a layer of settings is filled key by key.
    """
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "simulator") or path == PACKAGE / "config/sources.py":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                for decorator in node.decorator_list:
                    if "dataclass" in ast.unparse(decorator):
                        assert "frozen=True" in ast.unparse(decorator), f"{path.name}: {node.name}"
