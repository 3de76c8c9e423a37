"""Keeping `/metrics` true, tenant by tenant."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest

from exporter.exposition import Exposition
from exporter.metrics import TenantSamples
from exporter.process_metrics import OwnMetrics
from exporter.quota import Budget
from exporter.rendering import AgeClock, Renderer
from exporter.state import Outcome, ReportStates, Standing
from tests.builders import NOON, Clock, snapshot, tenant

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = Standing().after(Outcome(NOON, 0.5, snapshot(("OFFICE", (3, 2, 1))), rejected_rows=0))


def made(states: ReportStates, clock: Callable[[], float]) -> tuple[Renderer, Exposition]:
    """Return a renderer that nothing drives, and where it renders to."""
    own = OwnMetrics()
    exposition = Exposition()
    return Renderer(exposition, TenantSamples(states, Budget(clock), clock), own, clock), exposition


def page(exposition: Exposition) -> str:
    """Return `/metrics`."""
    return b"".join(exposition.body(b"", openmetrics=False, gzip=False)).decode()


def test_a_tenant_that_cannot_be_rendered_costs_no_other() -> None:
    """Where one tenant's samples cannot be made, the others are shown, and that one has none."""
    good, bad = tenant("good", tenant_id="good.com"), tenant("bad", tenant_id="bad.com")
    broken = replace(GOOD, last_success="yesterday")  # type: ignore[arg-type]  # what no code path should ever make
    states = ReportStates({good.keys[0]: GOOD, bad.keys[0]: broken})
    renderer, exposition = made(states, Clock())
    renderer.replace([bad, good])
    assert renderer.render()
    text = page(exposition)
    assert 'assigned_users{product_type="OFFICE",tenant="good"} 3.0' in text
    assert 'tenant="bad"' not in text
    states.record(bad.keys[0], GOOD)
    renderer.changed(bad.keys[0])
    renderer.render()
    assert 'assigned_users{product_type="OFFICE",tenant="bad"} 3.0' in page(exposition)


def test_a_clock_that_jumped_withdraws_and_returns_numbers_without_a_poll() -> None:
    """After a jump all is rendered again: numbers that are too old go, and those that no longer are come back."""
    known, clock = tenant(), Clock()
    renderer, exposition = made(ReportStates({known.keys[0]: GOOD}), clock)
    for jump, are_shown in ((0, True), (73 * 3600, False), (-365 * 86400, True)):
        clock.now += jump
        renderer.replace([known])  # as after each jump that is noticed
        renderer.render()
        assert ("assigned_users{" in page(exposition)) is are_shown


@pytest.mark.parametrize("reading", range(1, 12))
def test_numbers_that_expire_while_they_are_rendered_are_withdrawn(reading: int) -> None:
    """Whichever reading of the clock is the first beyond max_age, the numbers are gone after the next rendering."""
    known, readings = tenant(), count(1)
    states = ReportStates({known.keys[0]: GOOD})
    renderer, exposition = made(states, lambda: NOON + (73 * 3600 if next(readings) >= reading else 0))
    renderer.replace([known])
    while next(readings) <= reading:
        renderer.render()
    renderer.render()
    assert "assigned_users{" not in page(exposition)


def test_expiries_that_polls_put_off_take_no_memory() -> None:
    """However often polls put a withdrawal off, one moment is kept, and the last still withdraws the numbers."""
    known, clock = tenant(), Clock()
    states = ReportStates({known.keys[0]: GOOD})
    renderer, exposition = made(states, clock)
    renderer.replace([known])
    for _ in range(100):
        clock.now += 60
        states.record(known.keys[0], replace(GOOD, last_success=clock.now))
        renderer.changed(known.keys[0])
        renderer.render()
    assert len(renderer._moments) == 1
    clock.now += 73 * 3600
    assert "assigned_users{" in page(exposition)
    renderer.render()
    assert "assigned_users{" not in page(exposition)


def test_the_clock_of_ages_follows_a_jump_ahead_five_minutes_later() -> None:
    """Time that passes, and a jump back, count at once; of a jump ahead, that does after five minutes."""
    clock, steady = Clock(), Clock()
    ages = AgeClock(clock, steady)

    def after(passed: float, jumped: float = 0) -> float:
        clock.now += passed + jumped
        steady.now += passed
        return clock.now - ages()

    assert after(1e6) == 0
    assert after(1, jumped=4) == 0  # a clock that is adjusted has not jumped
    assert after(1, jumped=1e6) == 1e6
    assert after(200, jumped=-1000) == 1e6 - 1000
    assert after(98) == 1e6 - 1000
    assert after(2) == 0
    assert after(1, jumped=-1e6) == 0
    assert after(1, jumped=60) == 60
    assert after(1, jumped=-90) == 0
    assert ages.jumped() == 1e6 - 1000 - 1e6 + 60 - 90
    assert ages.jumped() == 0


def test_a_poll_that_ends_after_its_tenant_was_renamed_is_shown_under_the_new_name() -> None:
    """What a poll brought that began before a reload is rendered for the tenant that has its report by then."""
    old, new = tenant("contoso"), tenant("woodgrove")
    states = ReportStates({old.keys[0]: Standing()})
    renderer, exposition = made(states, Clock())
    renderer.replace([old])
    renderer.render()
    renderer.replace([new])
    renderer.render()
    states.record(old.keys[0], GOOD)
    renderer.changed(old.keys[0])
    renderer.render()
    assert 'assigned_users{product_type="OFFICE",tenant="woodgrove"} 3.0' in page(exposition)
    assert "contoso" not in page(exposition)
