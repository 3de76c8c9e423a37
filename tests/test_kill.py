"""`kill -9` of a real exporter; `python -m tests.soak --kills 200` does it more often."""

from __future__ import annotations

import pytest

from tests.soak.kills import kills

pytestmark = pytest.mark.long


def test_a_killed_exporter_publishes_again_what_it_had_published() -> None:
    """After each of ten kills under load storage opens, nothing published is lost and nothing unserved appears."""
    with kills(seed=1) as victim:
        for _ in range(10):
            victim.kill()
        victim.check_quota()
        assert victim.published
        assert victim.polls > 50
