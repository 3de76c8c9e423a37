"""The checks before a release refuse what they are there for; `make release-check` runs them whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from exporter import __version__
from tests.delivery import release
from tests.delivery.test_repository import ROOT, tracked

if TYPE_CHECKING:
    from pathlib import Path


def test_version_stands_once() -> None:
    """But for the chart, which `make chart` writes, the changelog and measurements, the version is in one file."""
    found = {path.relative_to(ROOT).as_posix() for path in tracked() if _has_version(path.suffix, path.read_bytes())}
    others = {"CHANGELOG.md", "docs/benchmarks.md", "docs/sizing.md"}
    assert found - others <= {"exporter/__init__.py", "helm/office365-activations-exporter/Chart.yaml"}


def _has_version(suffix: str, content: bytes) -> bool:
    others = {".txt", ".png", ".json"}  # locks and goldens, pictures, npm's lock
    return suffix not in others and __version__.encode() in content


@pytest.mark.parametrize(
    ("tag", "changes", "reason"),
    [
        ("v0.0.9", "## [1.2.3] - 2026-01-31", "the tag is v0.0.9"),
        ("1.2.3", "## [1.2.3] - 2026-01-31", "the tag is 1.2.3"),
        ("v1.2.3", "## [1.2.3] - Unreleased", "no date"),
        (None, "## [1.2.2] - 2026-01-31", "no section"),
    ],
)
def test_a_tag_or_changelog_that_does_not_fit_is_refused(
    tag: str | None, changes: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag has to be v and the version, and the changelog needs a section for it, with its date."""
    (tmp_path / "exporter").mkdir()
    (tmp_path / "exporter/__init__.py").write_text('__version__ = "1.2.3"\n', "utf-8")
    (tmp_path / "CHANGELOG.md").write_text(changes, "utf-8")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    with pytest.raises(release.ReleaseError, match=reason):
        release.check_version(tag)


def test_pythons_that_are_named_have_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONS takes interpreters of supported versions only, and each has to run."""
    version = "{}.{}".format(*sys.version_info)
    monkeypatch.setenv("PYTHONS", sys.executable)
    assert release.find_pythons([version]) == {version: sys.executable}
    with pytest.raises(release.ReleaseError, match="supported: 2"):
        release.find_pythons(["2.7"])
    monkeypatch.setenv("PYTHONS", f"{sys.executable} no-such-python")
    with pytest.raises(release.ReleaseError, match="PYTHONS has"):
        release.find_pythons([version])


def test_a_missing_python_is_reported_and_fails_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A supported Python that cannot be had is named as not run; one that PYTHONS names has to be there."""
    monkeypatch.delenv("PYTHONS", raising=False)
    assert release.find_pythons(["3.999"]) == {}
    assert "Python 3.999: not run" in capsys.readouterr().err
    monkeypatch.setenv("PYTHONS", "python3.999")
    with pytest.raises(release.ReleaseError, match="none that runs"):
        release.find_pythons(["3.999"])
