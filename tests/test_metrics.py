"""From states to samples."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from exporter.config import Prices, ProductTarget, Report, Targets
from exporter.errors import Reason
from exporter.metrics import TenantSamples
from exporter.quota import LIMITS, WINDOW, Budget
from exporter.state import Failure, Outcome, ReportStates, Standing
from tests.builders import KEY, NOON, USERS, Clock, snapshot, tenant

if TYPE_CHECKING:
    from exporter.config import Tenant
    from exporter.state import Key, Snapshot

A, B = "OFFICE 365 PROPLUS", "MICROSOFT 365 APPS FOR ENTERPRISE"
FAILURE = Failure(Reason.NETWORK, "no", "fix")


def shown(known: Tenant, states: ReportStates, clock: Clock) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the tenant's samples by family and further labels."""
    samples = TenantSamples(states, Budget(clock), clock).of(known)
    return {(sample.family, sample.labels[1:]): sample.value for sample in samples}


def record(states: ReportStates, key: Key, outcome: Outcome) -> None:
    """Let a poll end."""
    states.record(key, states.get(key).after(outcome))


def good(*rows: tuple[str, tuple[int, ...]], at: float = NOON) -> Outcome:
    """Return the outcome of a good poll."""
    return Outcome(at, 0.5, snapshot(*rows, at=at), rejected_rows=0)


def products(*names: str) -> Snapshot:
    """Return a report of these product types."""
    return snapshot(*((name, (3, 2, 1)) for name in names))


def test_before_the_first_outcome_nothing_is_claimed() -> None:
    """A tenant that was never polled has no up, no last_*, no numbers; only what is known of it."""
    samples = shown(tenant(), ReportStates(), Clock())
    assert {family for family, _ in samples} == {
        "tenant_info",
        "polls_total",
        "poll_failures_total",
        "quota_remaining_calls",
    }


def test_a_failed_poll_keeps_the_last_good_numbers_and_says_why() -> None:
    """After a failure the numbers stay, up is 0, and failing names the reason; the next success takes it away."""
    known, clock = tenant(), Clock()
    states = ReportStates({known.keys[0]: Standing()})
    record(states, known.keys[0], good((A, (3, 2, 1))))
    record(states, known.keys[0], Outcome(NOON + 60, 1.0, failure=FAILURE))
    samples = shown(known, states, clock)
    assert samples["assigned_users", (A,)] == 3
    assert samples["up", (USERS,)] == 0
    assert samples["failing", (USERS, "network")] == 1
    assert samples["last_success_timestamp_seconds", (USERS,)] == NOON
    assert ("last_poll_rejected_rows", (USERS,)) not in samples
    record(states, known.keys[0], good((A, (3, 2, 1)), at=NOON + 120))
    samples = shown(known, states, clock)
    assert samples["up", (USERS,)] == 1
    assert not [labels for family, labels in samples if family == "failing"]


def test_a_product_type_that_is_gone_is_withdrawn() -> None:
    """A product type that the newest report lacks has no series any more."""
    known = tenant()
    states = ReportStates({known.keys[0]: Standing()})
    record(states, known.keys[0], good((A, (3, 2, 1)), (B, (1, 1, 1))))
    record(states, known.keys[0], good((B, (1, 1, 1))))
    assert ("assigned_users", (A,)) not in shown(known, states, Clock())


def test_after_max_age_the_numbers_are_gone_and_the_timestamps_stay() -> None:
    """Without a good poll for max_age the gauges are withdrawn; up and the timestamps still tell."""
    clock = Clock()
    known = tenant(report=Report.model_validate({"api_version": "v1.0", "max_age": "1h"}))
    states = ReportStates({known.keys[0]: Standing()})
    record(states, known.keys[0], good((A, (300, 2, 1))))
    clock.now += 3599
    assert ("target_ratio", (A,)) in shown(known, states, clock)
    clock.now += 1
    assert {family for family, _ in shown(known, states, clock)} == {
        "tenant_info",
        "report_refresh_timestamp_seconds",
        "up",
        "last_success_timestamp_seconds",
        "data_expires_timestamp_seconds",
        "last_poll_duration_seconds",
        "last_poll_rejected_rows",
        "polls_total",
        "poll_failures_total",
        "quota_remaining_calls",
    }


def test_the_moment_of_the_next_change_is_known() -> None:
    """Rendering learns when a report will be too old and when a call will leave the quota's window."""
    known, clock = tenant(), Clock()
    states = ReportStates({known.keys[0]: Standing()})
    budget = Budget(clock)
    samples = TenantSamples(states, budget, clock)
    assert samples.changes_at(known) == float("inf")
    record(states, known.keys[0], good((A, (300, 2, 1))))
    assert samples.changes_at(known) == NOON + known.report.max_age
    budget.spend(known.keys[0], "csv")
    assert samples.changes_at(known) == NOON + WINDOW


def test_an_older_report_changes_no_number() -> None:
    """A report older than the one held is a good poll that changes nothing."""
    held = Standing().after(good((A, (3, 2, 1))))
    older = Outcome(NOON + 60, 0.5, snapshot((A, (9, 9, 9)), day=date(2026, 9, 18)), rejected_rows=0)
    after = held.after(older)
    assert after.snapshot is held.snapshot
    assert after.last_success == NOON + 60
    newer = good((A, (4, 2, 1)))
    assert after.after(newer).snapshot is newer.snapshot


def test_a_restored_snapshot_completes_what_has_none() -> None:
    """Storage gives a snapshot to a report without one, keeps the last outcome, and never replaces a snapshot."""
    restored = Standing().after(good((A, (3, 2, 1))))
    failed = Standing().after(Outcome(NOON + 60, 1.0, failure=FAILURE))
    newer = Standing().after(good((A, (4, 2, 1)), at=NOON + 120))
    for held, wanted in (
        (Standing(), restored),
        (failed, Standing(restored.snapshot, NOON, failed.last, 1)),
        (newer, newer),
    ):
        states = ReportStates({KEY: held})
        states.complete(KEY, restored)
        assert states.get(KEY) == wanted


def test_more_or_fewer_counts_than_columns_are_what_can_be_shown() -> None:
    """A report stored by a version with fewer or more columns shows every number that has a metric."""
    known = tenant()
    for counts, shown_families in (((3, 2), 2), ((3, 2, 1), 3), ((3, 2, 1, 9), 3)):
        states = ReportStates({known.keys[0]: Standing().after(good((A, counts)))})
        found = [family for family, labels in shown(known, states, Clock()) if family.endswith("_users")]
        assert len(found) == shown_families


def test_a_success_in_the_future_counts_as_now() -> None:
    """After a clock that jumped back, numbers of "tomorrow" are shown, and expire max_age after that."""
    known, clock = tenant(), Clock()
    states = ReportStates({known.keys[0]: Standing().after(good((A, (3, 2, 1)), at=NOON + 9e6))})
    samples = shown(known, states, clock)
    assert samples["assigned_users", (A,)] == 3
    assert samples["data_expires_timestamp_seconds", (USERS,)] == NOON + 9e6 + known.report.max_age


def test_a_price_is_shown_for_a_product_of_the_report_only() -> None:
    """license_price stands next to assigned_users where a price is configured, with its currency, until withdrawn."""
    known = tenant(prices=Prices(currency="EUR", product_types={A.lower(): 12.5, B: 9.0}))
    states, clock = ReportStates({known.keys[0]: Standing().after(good((A, (3, 2, 1))))}), Clock()
    prices = {labels: value for (family, labels), value in shown(known, states, clock).items() if "price" in family}
    assert prices == {(A, "EUR"): 12.5}
    clock.now += known.report.max_age
    assert not [family for family, _ in shown(known, states, clock) if "price" in family]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (Targets(), 0.5),
        (Targets(ratio=None), None),
        (Targets(min_assigned=100), 0.5),
        (Targets(min_assigned=101), None),
        (Targets(product_types={A.lower(): ProductTarget(ratio=0.3)}), 0.3),
        (Targets(product_types={A: ProductTarget(ratio=None)}), None),
        (Targets(product_types={B: ProductTarget(ratio=0.3)}), 0.5),
    ],
)
def test_a_target_stands_where_it_applies(targets: Targets, expected: float | None) -> None:
    """target_ratio is there for a product type with a target and enough assigned users, and nowhere else."""
    known = tenant(targets=targets)
    states = ReportStates({known.keys[0]: Standing()})
    record(states, known.keys[0], good((A, (100, 2, 1))))
    assert shown(known, states, Clock()).get(("target_ratio", (A,))) == expected


def test_a_rename_changes_the_label_and_nothing_else() -> None:
    """product_names gives a product type the configured label, whatever the case it comes in."""
    report = products(A.title(), "X")
    assert report.labels({A: B}) == {A.title(): B, "X": "X"}
    assert report.kept_names({A: B}) == ()


@pytest.mark.parametrize("other", [B, B.title()])
def test_a_rename_onto_a_product_type_of_the_same_report_is_left_out(other: str) -> None:
    """Where both names stand in one report nothing is summed: each keeps the name that Microsoft gave it."""
    report = products(A, other)
    assert report.labels({A: B}) == {A: A, other: other}
    assert report.kept_names({A: B}) == (A,)


def test_two_renames_onto_one_label_are_both_left_out() -> None:
    """Two product types never share a label."""
    assert products("X", "Y", A).labels({"X": B, "Y": B}) == {"X": "X", "Y": "Y", A: A}


def test_a_rename_to_another_case_of_the_same_name_is_taken() -> None:
    """A label may change no more than the case."""
    assert products(A).labels({A: A.title()}) == {A: A.title()}


def test_the_budget_stays_under_the_limit_in_every_window() -> None:
    """No ten minutes ever hold more calls than the budget, whatever asks for them."""
    clock, made = Clock(), []
    budget = Budget(clock, record=lambda _key, at: made.append(at))
    for _ in range(500):
        clock.now += 13
        budget.spend(KEY, "csv")
    assert all(sum(at - WINDOW < other <= at for other in made) <= LIMITS["csv"] for at in made)
    assert len(made) > 70


def test_a_spent_budget_says_when_it_is_free_again() -> None:
    """free_at is the moment from which a call succeeds, and not one second earlier."""
    clock = Clock()
    budget = Budget(clock)
    assert budget.free_at(KEY, "csv") == clock.now
    while budget.spend(KEY, "csv"):
        clock.now += 1
    assert budget.remaining(KEY, "csv") == 0
    frees = budget.free_at(KEY, "csv")
    clock.now = frees - 0.001
    assert not budget.spend(KEY, "csv")
    clock.now = frees
    assert budget.spend(KEY, "csv")


def test_the_budget_remembers_the_calls_of_an_earlier_process_and_survives_a_clock_that_jumps_back() -> None:
    """Calls made before a restart count; calls "in the future" count as made now, for ten minutes at most."""
    clock = Clock()
    budget = Budget(clock, {KEY: [clock.now + 86400] * LIMITS["csv"]})
    assert budget.remaining(KEY, "csv") == 0
    clock.now += WINDOW
    assert budget.remaining(KEY, "csv") == LIMITS["csv"]
