"""What a package index shows: README.md, as it stands in the built wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from typing import TYPE_CHECKING

from tests.docs.markdown import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HOME = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]


def built(source: Path, kind: str, folder: Path) -> Path:
    """Build a distribution of a source tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


def test_every_link_of_the_description_works_from_anywhere(tmp_path: Path) -> None:
    """In a wheel made from the sdist every link is absolute, and one into the repository names what is there."""
    sdist = built(ROOT, "sdist", tmp_path / "sdist")
    subprocess.run(
        ["tar", "-xzf", sdist, "-C", tmp_path], check=True
    )  # Python's tarfile has `filter` since 3.11.4 only
    (source,) = tmp_path.glob("office365*")
    with zipfile.ZipFile(built(source, "wheel", tmp_path / "wheel")) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        head, _, description = wheel.read(name).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    prose = re.sub(r"```.*?```", "", description, flags=re.DOTALL)
    links = re.findall(r"\]\((\S+?)\)", prose)
    assert len(links) == len(re.findall(r"\]\(", (ROOT / "README.md").read_text(encoding="utf-8")))
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(HOME):
            assert (ROOT / re.sub(r"^/(?:raw|blob)/main/", "", link.removeprefix(HOME))).exists(), link
    assert all("/raw/main/" in picture for picture in re.findall(r"!\[[^]]*\]\((\S+?)\)", prose))
