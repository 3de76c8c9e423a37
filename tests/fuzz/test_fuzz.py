"""A few cases of every fuzz target; `python -m tests.fuzz` runs a million."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import _run
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("number", range(len(TARGETS)), ids=[target.name for target in TARGETS])
def test_whatever_comes_in_nothing_but_the_declared_errors_comes_out(number: int) -> None:
    """Two hundred cases of each way in end well, or in the errors that its docstring declares."""
    _, met, _, failure = _run((number, 1, 200))
    assert not failure
    assert met >= 100


def test_the_shares_are_a_whole() -> None:
    """A million cases are a million."""
    assert sum(target.share for target in TARGETS) == 1000
