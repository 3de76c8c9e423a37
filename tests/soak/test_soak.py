"""A few seeds of the soak; `make soak` runs a thousand."""

from __future__ import annotations

import pytest

from tests.soak.run import live


@pytest.mark.parametrize("seed", range(1, 7))
def test_whatever_happens_no_number_is_wrong_and_none_is_lost(seed: int) -> None:
    """Through ten simulated days of faults, deaths and clock jumps, every invariant holds after every step."""
    result = live(seed, 5, 10)
    assert not result.violation
    assert result.polls > 100
    assert result.deaths


def test_a_seed_tells_the_same_story_twice() -> None:
    """A violation can be seen again: the same seed makes the same polls, requests and faults."""
    first, second = live(3, 3, 4), live(3, 3, 4)
    assert (first.polls, first.requests, first.faults, first.events) == (
        second.polls,
        second.requests,
        second.faults,
        second.events,
    )
