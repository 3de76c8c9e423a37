"""The backfill is what /metrics showed, and Prometheus' own tools take it."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import tempfile
from bisect import bisect_right
from collections import defaultdict
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.cli.history import _labels, _step, openmetrics_lines
from exporter.config import CLOUDS, Prices, Report, Targets
from exporter.errors import ConfigError
from exporter.metrics import PREFIX
from exporter.state import Key, Outcome, Standing
from exporter.storage import Storage
from exporter.storage.database import FILE_NAME
from exporter.storage.history import History
from tests.builders import tenant
from tests.storage.samples import CONTOSO, DAY, FABRIKAM, START, Clock, failed, good, report, standing
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.config import Tenant

USERS, PLATFORMS = "activations_user_counts", "activations_platform_counts"
HOUR = 3600.0


def save(folder: Path, polls: Sequence[tuple[Key, str, Outcome]], max_age: float = float("inf")) -> None:
    """Save polls in their order."""
    standings: dict[Key, Standing] = {}
    with closing(Storage.open(folder, clock=Clock())) as storage:
        for key, name, outcome in polls:
            standings[key] = standings.get(key, Standing()).after(outcome)
            storage.save(key, name, standings[key], outcome.snapshot, max_age)


def text_of(folder: Path, *configured: Tenant, until: float, since: float = 0.0, **options: Any) -> str:
    """Return the whole backfill; nothing is withdrawn for its age, unless `options` say so."""
    options = {"max_age": math.inf, "step": 240.0, "extra_labels": {}, **options}
    with History(folder) as history:
        return "".join(openmetrics_lines(history, history.series(configured), since, until, **options))


def samples_of(text: str) -> dict[tuple[str, ...], list[tuple[float, float]]]:
    """Return each series' (time, value), as prometheus-client's parser reads them; names without the prefix."""
    found: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            series = (
                sample.name.removeprefix(PREFIX),
                *(f"{name}={value}" for name, value in sorted(sample.labels.items())),
            )
            found[series].append((float(sample.timestamp), sample.value))
    return dict(found)


def test_a_report_is_repeated_until_it_is_replaced(folder: Path) -> None:
    """Each report stands from its publication to the next one's, revisions included, without gap or overlap."""
    save(
        folder,
        [
            (CONTOSO, "contoso", good(report(0, START - 1, OFFICE=(10, 5, 1), VISIO=(3, 2, 0)))),
            (CONTOSO, "contoso", good(report(0, START + 599, OFFICE=(11, 5, 1)))),
            (CONTOSO, "contoso", good(report(0, START + 799, OFFICE=(11, 5, 1)))),
            (CONTOSO, "contoso", good(report(1, START + 899, OFFICE=(12, 6, 1)))),
        ],
    )
    text = text_of(folder, until=START + 1500, extra_labels={"job": "office365"}, step=240)
    assert text.replace(PREFIX, "").startswith(
        "# HELP assigned_users Users who were assigned a licence (Microsoft's column Assigned), as of"
        " the last successful poll.\n"
        "# TYPE assigned_users gauge\n"
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 10 1772344800.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 10 1772345040.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 10 1772345280.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 11 1772345400.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 11 1772345640.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 12 1772345700.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 12 1772345940.000\n'
        'assigned_users{job="office365",product_type="OFFICE",tenant="contoso"} 12 1772346180.000\n'
        'assigned_users{job="office365",product_type="VISIO",tenant="contoso"} 3 1772344800.000\n'
        'assigned_users{job="office365",product_type="VISIO",tenant="contoso"} 3 1772345040.000\n'
        'assigned_users{job="office365",product_type="VISIO",tenant="contoso"} 3 1772345280.000\n'
        "# HELP activated_users "
    )
    assert text.endswith("# EOF\n")


def test_what_was_withdrawn_is_not_made_up(folder: Path) -> None:
    """A report ends max_age after its last good poll, an older report keeps the held one up, and nothing else does."""
    save(
        folder,
        [
            (CONTOSO, "contoso", good(report(3, START - 1))),
            (CONTOSO, "contoso", good(report(2, START + HOUR - 1))),
            (CONTOSO, "contoso", failed(START + 2 * HOUR)),
            (CONTOSO, "contoso", good(report(4, START + DAY - 1))),
        ],
    )
    samples = samples_of(text_of(folder, until=START + 9 * DAY, max_age=3 * HOUR, step=60))
    times = samples["assigned_users", "product_type=OFFICE", "tenant=contoso"]
    assert [(at - START) / 60 for at, value in times if value == 103] == list(range(4 * 60))
    assert [(at - START - DAY) / 60 for at, value in times if value == 104] == list(range(3 * 60))
    assert len(times) == 7 * 60, "the report of day 2 was never on /metrics"


def test_numbers_that_came_back_have_a_gap(folder: Path, clock: Clock) -> None:
    """A report withdrawn for want of good polls and confirmed by a later one is not drawn through the time between."""
    storage = Storage.open(folder, clock=clock)
    polls = [good(report(1, START + hours * HOUR - 1)) for hours in (0, 2, 10, 11, 20)]
    for number, poll in enumerate(polls, start=1):
        storage.save(CONTOSO, "contoso", standing(*polls[:number]), poll.snapshot, max_age=3 * HOUR)
    storage.close()
    samples = samples_of(text_of(folder, until=START + 9 * DAY, max_age=3 * HOUR, step=HOUR))
    times = samples["assigned_users", "product_type=OFFICE", "tenant=contoso"]
    assert [(at - START) / HOUR for at, _ in times] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 20, 21, 22]


def test_slices_make_the_whole(folder: Path) -> None:
    """A run until a moment and one since it give the samples of one run over both."""
    save(folder, [(CONTOSO, "contoso", good(report(n, START + n * DAY))) for n in range(3)])
    whole = samples_of(text_of(folder, until=START + 4 * DAY))
    seam = START + 1.5 * DAY + 7
    before, after = (
        samples_of(text_of(folder, **part)) for part in ({"until": seam}, {"since": seam, "until": START + 4 * DAY})
    )
    assert {series: before[series] + after[series] for series in whole} == whole


def test_a_name_is_one_series_whoever_bore_it(folder: Path) -> None:
    """A tenant that was set up again under its old name, or renamed, continues its series without overlap."""
    domain = Key("global", "contoso.com", USERS)
    save(
        folder,
        [
            (domain, "contoso", good(report(0, START))),
            (CONTOSO, "contoso", good(report(1, START + HOUR))),
            (FABRIKAM, "fabrikam", good(report(2, START + HOUR))),
        ],
    )
    woodgrove = tenant("woodgrove", tenant_id=FABRIKAM.tenant_id, cloud=CLOUDS["usgov"])
    samples = samples_of(text_of(folder, woodgrove, until=START + 2 * HOUR + 1, step=HOUR / 2))
    assert [value for _, value in samples["assigned_users", "product_type=OFFICE", "tenant=contoso"]] == [
        100, 100, 101, 101,
    ]  # fmt: skip
    assert ("assigned_users", "product_type=OFFICE", "tenant=woodgrove") in samples


def test_what_is_configured_now_holds_for_the_past(folder: Path) -> None:
    """A product type whose name changed is one series under its label, with the target and price that it has now."""
    save(
        folder,
        [
            (CONTOSO, "contoso", good(report(0, START - 1, PROPLUS=(1, 1, 1), VISIO=(9, 9, 9)))),
            (CONTOSO, "contoso", good(report(1, START + HOUR - 1, APPS=(2, 2, 2)))),
        ],
    )
    configured = tenant(
        "contoso",
        tenant_id=CONTOSO.tenant_id,
        report=Report(product_names={"proplus": "APPS"}),
        targets=Targets(ratio=0.75, min_assigned=2),
        prices=Prices(currency="EUR", product_types={"apps": 12.5}),
    )
    samples = samples_of(text_of(folder, configured, until=START + 2 * HOUR, step=HOUR))
    times = (START, START + HOUR)
    apps, visio = "product_type=APPS", "product_type=VISIO"
    expected = {
        ("assigned_users", apps): [(times[0], 1), (times[1], 2)],
        ("assigned_users", visio): [(times[0], 9)],
        ("target_ratio", apps): [(times[1], 0.75)],
        ("target_ratio", visio): [(times[0], 0.75)],
        ("license_price", "currency=EUR", apps): [(times[0], 12.5), (times[1], 12.5)],
        ("report_refresh_timestamp_seconds", f"report={USERS}"): [
            (times[0], START - 6 * HOUR - 2 * DAY),
            (times[1], START - 6 * HOUR - DAY),
        ],
    }
    for series, values in expected.items():
        assert samples[*series, "tenant=contoso"] == values
    assert len(samples) == len(expected) + 4, "activated_users and shared_computer_users of both"


def test_what_is_configured_now_holds_for_a_report_that_is_no_longer_read(folder: Path) -> None:
    """The past of a report that was taken from `reports` has the labels, targets and max_age of its tenant."""
    save(folder, [(CONTOSO, "contoso", good(report(0, START - 1, PROPLUS=(9, 1, 1))))])
    changes = {
        "report": Report.model_validate({"product_names": {"proplus": "APPS"}, "max_age": "1h"}),
        "targets": Targets(min_assigned=2),
    }
    configured = tenant("contoso", tenant_id=CONTOSO.tenant_id, reports=(PLATFORMS,), **changes)
    samples = samples_of(text_of(folder, configured, until=START + DAY, step=HOUR / 2))
    for name in ("assigned_users", "target_ratio"):
        assert [at for at, _ in samples[name, "product_type=APPS", "tenant=contoso"]] == [START, START + HOUR / 2]


def test_an_unreadable_report_is_a_gap(folder: Path) -> None:
    """Where a stored report cannot be read, nothing is written for its time: not even the numbers before it."""
    save(folder, [(CONTOSO, "contoso", good(report(n, START + n * HOUR - 1))) for n in range(3)])
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE product SET counts = '?' WHERE edition = 2")
    samples = samples_of(text_of(folder, until=START + 3 * HOUR, step=HOUR))
    assert samples["assigned_users", "product_type=OFFICE", "tenant=contoso"] == [(START, 100), (START + 2 * HOUR, 102)]


def test_a_metric_of_many_columns_is_one_family(folder: Path) -> None:
    """The platforms' samples stand together under one TYPE, told apart by their label."""
    platforms = Key("global", CONTOSO.tenant_id, PLATFORMS)
    save(
        folder,
        [
            (platforms, "contoso", good(report(0, START, OFFICE=(7, 8)))),
            (CONTOSO, "contoso", good(report(0, START))),
            (Key("global", "1", "report_of_another_version"), "other", good(report(0, START))),
        ],
    )
    text = text_of(folder, until=START + 10)
    assert text.count("# TYPE office365_activations_platform_activations gauge\n") == 1
    values = {series[1]: samples[0][1] for series, samples in samples_of(text).items() if "platform" in series[0]}
    assert values == {"platform=windows": 7, "platform=mac": 8}
    assert "another_version" not in text


NOT_A_NAME = "not a label name; use letters, digits and _, such as job=office365"


@pytest.mark.parametrize(
    ("pairs", "errors"),
    [
        (["0=", "__name__=x"], (f"--label 0: {NOT_A_NAME}", f"--label __name__: {NOT_A_NAME}")),
        (["job=o365\udcff"], ("--label job: 'o365\\udcff' is not UTF-8; choose another value",)),
        (["currency=x"], ("--label currency: the reports already have this label; choose another name",)),
    ],
)
def test_labels_that_cannot_be_used_are_refused(pairs: list[str], errors: tuple[str, ...]) -> None:
    """A bad label is a usage error that says which and why."""
    with pytest.raises(ConfigError) as caught:
        _labels(pairs)
    assert caught.value.errors == errors


def test_steps_below_a_second_are_refused() -> None:
    """A step that is too short is a usage error, whatever the format."""
    with pytest.raises(ConfigError) as caught:
        _step("500ms")
    assert caught.value.errors == ("--step 0.5s: at most one sample a second",)


POLLS = st.lists(
    st.tuples(
        st.integers(1, 8 * 3600),  # seconds since the poll before
        st.one_of(
            st.none(),
            st.tuples(
                st.integers(0, 3),
                st.dictionaries(st.sampled_from("AB"), st.integers(0, 3).map(lambda n: (n,)), min_size=1),
            ),
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(POLLS, st.integers(60, 7200))
@settings(max_examples=100)
def test_the_backfill_is_what_metrics_showed(
    polls: list[tuple[int, tuple[int, dict[str, tuple[int, ...]]] | None]], step: int
) -> None:
    """At any moment of any sequence of polls the last sample within a step is what /metrics showed then, or none is."""
    max_age = 10 * HOUR
    at, outcomes = START, []
    for wait, read in polls:
        at += wait
        outcomes.append(failed(at) if read is None else good(report(read[0], at - 1, **read[1])))
    now = at + 2 * max_age
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), [(CONTOSO, "contoso", outcome) for outcome in outcomes], max_age)
        text = text_of(Path(folder), until=now, step=step, max_age=max_age)
    series = {
        key[1].removeprefix("product_type="): found for key, found in samples_of(text).items() if "assigned" in key[0]
    }
    moments = {at for found in series.values() for at, _ in found} | {
        START + n * 1800 for n in range(int((now - START) / 1800))
    }
    for moment in moments:
        shown = published(outcomes, moment, max_age)
        for product in "AB":
            samples = series.get(product, [])
            until = bisect_right(samples, moment, key=itemgetter(0))
            at, value = samples[until - 1] if until else (-math.inf, None)
            if product in shown:
                assert moment - step < at, (moment - START, product)
                assert value == shown[product], (moment - START, product)
            else:
                assert at != moment, (moment - START, product)


def published(outcomes: list[Outcome], moment: float, max_age: float) -> dict[str, int]:
    """Return what /metrics showed at `moment`, worked out the other way: from the outcomes until then."""
    held = Standing()
    for outcome in outcomes:
        if outcome.at <= moment:
            held = held.after(outcome)
    if held.snapshot is None or held.last_success is None or moment >= held.last_success + max_age:
        return {}
    return {row.product_type: row.counts[0] for row in held.snapshot.rows}


def test_promtool_makes_blocks_of_it(folder: Path, tmp_path: Path) -> None:
    """`promtool tsdb create-blocks-from openmetrics` takes a backfill with every odd name, and keeps each sample."""
    promtool = require("promtool")
    odd = {'a "quoted" \\ name\n': (1, 2, 3), "日本語 ü \t": (2**53, 0, 1), "{}=,#": (0, 0, 0)}
    save(
        folder,
        [(CONTOSO, "contoso", good(report(n, START + n * DAY, **odd))) for n in range(2)]
        + [(FABRIKAM, 'fabri"kam', good(report(n, START + n * DAY + 7))) for n in range(2)],
    )
    text = text_of(folder, until=START + 2 * DAY, extra_labels={"job": "office365", "instance": "a:9365"})
    (tmp_path / "backfill").write_text(text, encoding="utf-8", newline="")
    blocks = tmp_path / "blocks"
    run(promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "backfill", blocks)
    (blocks / "wal").mkdir()  # the dump looks for one
    stored = [line for line in run(promtool, "tsdb", "dump", blocks).splitlines() if line.startswith("{")]
    assert len(stored) == sum(map(len, samples_of(text).values()))
    assert (
        len(
            [
                line
                for line in stored
                if '__name__="office365_activations_assigned_users"' in line and 'tenant="contoso"' in line
            ]
        )
        == 3 * 720
    )


def run(*command: object) -> str:
    """Run a program and return what it says."""
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout
