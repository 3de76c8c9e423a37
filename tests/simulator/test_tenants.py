"""The simulated tenants and their numbers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator.tenants import make_tenants
from tests.full_simulator import Simulator

REPORTS = ("activations_user_counts", "activations_platform_counts")
DAYS = st.dates(date(2020, 1, 1), date(2035, 12, 31))
SEEDS = st.integers(0, 2**32)


def test_the_first_tenants_bear_the_names_of_microsofts_sample_companies() -> None:
    """Few tenants are named as in Microsoft's own examples."""
    assert [tenant.name for tenant in Simulator().tenants] == ["contoso", "fabrikam", "northwind"]
    assert Simulator().tenants[0].domain == "contoso.onmicrosoft.com"


def test_a_thousand_tenants_share_nothing() -> None:
    """Names, ids, domains, apps and secrets are unique."""
    tenants = make_tenants(7, 1000)
    for field in ("name", "tenant_id", "domain", "client_id", "secret"):
        assert len({getattr(tenant, field) for tenant in tenants}) == 1000


def test_a_shared_app_is_one_app() -> None:
    """A provider's customers know one app with one secret."""
    tenants = make_tenants(7, 5, shared_app=True)
    assert len({(tenant.client_id, tenant.secret) for tenant in tenants}) == 1
    assert len({tenant.tenant_id for tenant in tenants}) == 5


def test_another_process_sees_the_same_numbers() -> None:
    """Tenants and numbers depend on the seed alone."""
    program = (
        "import datetime, json; from tests.full_simulator import Simulator; s = Simulator(5);"
        "rows = s.rows('contoso', 'activations_user_counts', datetime.date(2026, 2, 3));"
        "print(json.dumps([s.tenants[0].secret, [[row.product_type, row.counts] for row in rows]]))"
    )
    seen = json.loads(subprocess.check_output([sys.executable, "-c", program]))
    simulator = Simulator(5)
    rows = simulator.rows("contoso", REPORTS[0], date(2026, 2, 3))
    assert seen == [simulator.tenants[0].secret, [[row.product_type, list(row.counts)] for row in rows]]


@given(seed=SEEDS, day=DAYS, number=st.integers(0, 2))
def test_the_numbers_of_any_day_are_plausible(seed: int, day: date, number: int) -> None:
    """Three to six products, perhaps the plan without activations; healthy ratios well above a half."""
    simulator = Simulator(seed)
    rows = simulator.rows(simulator.tenants[number], REPORTS[0], day)
    if rows[-1].product_type == "Microsoft Excel Advanced Analytics":
        assert rows[-1].counts == (rows[0].counts[0], 0, 0)
        rows = rows[:-1]
    assert 3 <= len(rows) <= 6
    assert len({row.product_type for row in rows}) == len(rows)
    for assigned, activated, shared in (row.counts for row in rows):
        assert assigned >= 1
        assert 0 <= shared <= assigned
        assert 0.5 * assigned - 1 <= activated <= assigned + 2
    assert rows[0].counts[0] >= 25
    assert rows[0].counts[1] > 0.55 * rows[0].counts[0]


@given(seed=SEEDS, day=DAYS)
def test_low_activation_is_low_in_every_tenant(seed: int, day: date) -> None:
    """At least one product of every tenant, with enough users for a target, is well under a half."""
    simulator = Simulator(seed, scenario="low-activation")
    for tenant in simulator.tenants:
        rows = simulator.rows(tenant, REPORTS[0], day)
        assert any(row.counts[0] >= 50 and row.counts[1] < 0.45 * row.counts[0] for row in rows)


@given(seed=SEEDS, day=DAYS)
def test_both_reports_speak_of_the_same_products(seed: int, day: date) -> None:
    """The report by platform has the products of the report by user, and five platforms."""
    simulator = Simulator(seed)
    users, platforms = (simulator.rows("contoso", report, day) for report in REPORTS)
    assert [row.product_type for row in users] == [row.product_type for row in platforms]
    assert all(len(row.counts) == 5 and min(row.counts) >= 0 for row in platforms)


def test_numbers_grow_and_decline_over_days() -> None:
    """Ninety days show more than one number, up as well as down."""
    simulator = Simulator(3)
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(720)]
    assigned = [simulator.rows("contoso", REPORTS[0], day)[0].counts[0] for day in days]
    steps = {after - before for before, after in itertools.pairwise(assigned)}
    assert min(steps) < 0 < max(steps)
    assert len(set(assigned[:90])) > 10


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_the_newest_report_is_two_days_behind(hour: int) -> None:
    """The report's date is that of the day before yesterday, by UTC."""
    now = datetime(2026, 3, 10, hour, 59, tzinfo=UTC).timestamp()
    assert Simulator().refresh_date(now) == date(2026, 3, 8)
