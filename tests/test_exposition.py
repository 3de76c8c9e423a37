"""The bytes of /metrics."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.auth.credentials import CredentialExpiry
from exporter.errors import Reason
from exporter.exposition import Exposition, UnknownTenantError
from exporter.metrics import OWN_FAMILIES, TENANT_FAMILIES, Family, Sample, TenantSamples
from exporter.process_metrics import OwnMetrics, ProcessMetrics
from exporter.quota import Budget
from exporter.state import Failure, Outcome, ReportStates, Standing
from exporter.storage import Storage
from tests.builders import NOON, PLATFORMS, USERS, Clock, snapshot, tenant
from tests.formats import openmetrics_latest, parse_openmetrics, parse_text, text_latest
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client.metrics_core import Metric

GOLDEN = Path(__file__).parent / "golden" / "exposition"
any_text = st.text(st.characters(codec="utf-8"), max_size=20)
any_value = st.floats(allow_nan=False) | st.integers(0, 2**53).map(float)


def collected(table: Iterable[Family], samples: Iterable[Sample]) -> list[Metric]:
    """Return prometheus-client's families for the samples, in the table's order; none without samples."""
    made: dict[str, Metric] = {}
    for family in table:
        kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
        made[family.name] = kind(family.full_name, family.help, labels=family.labels)
    for sample in samples:
        made[sample.family].add_metric(sample.labels, sample.value)  # type: ignore[attr-defined]
    return [metric for metric in made.values() if metric.samples]


class Fixed(Collector):
    """Gives prometheus-client the families it is made with."""

    def __init__(self, made: Iterable[Metric]) -> None:
        self._made = list(made)

    def collect(self) -> list[Metric]:
        """Return them."""
        return self._made


def peer(samples: Sequence[Sample], table: Sequence[Family] = TENANT_FAMILIES) -> CollectorRegistry:
    """Return a registry with which prometheus-client itself renders the samples."""
    made = CollectorRegistry()
    made.register(Fixed(collected(table, samples)))
    return made


def example() -> tuple[Exposition, OwnMetrics]:
    """Return two tenants in every state that a report can be in, and the exporter's own counts."""
    clock = Clock()
    contoso, fabrikam = (
        tenant("contoso", reports=(USERS, PLATFORMS)),
        tenant('fabrikam "1"\n', tenant_id="fabrikam.com"),
    )
    good = snapshot(("MICROSOFT 365 APPS FOR ENTERPRISE", (2679, 1710, 1024)), ("VISIO PLAN 2", (10, 12, 0)))
    platforms = snapshot(("MICROSOFT 365 APPS FOR ENTERPRISE", (2000, 100, 50, 70, 0)))
    failure = Failure(Reason.PERMISSION, "no", "fix")
    outcomes = {
        contoso.keys[0]: Outcome(NOON, 0.5, good, rejected_rows=1),
        contoso.keys[1]: Outcome(NOON, 0.25, platforms, rejected_rows=0),
        fabrikam.keys[0]: Outcome(NOON, 0.125, failure=failure),
    }
    states = ReportStates(dict.fromkeys(outcomes, Standing()))
    for key, outcome in outcomes.items():
        states.record(key, Standing().after(outcome))
    own = OwnMetrics("0123456")
    own.reloaded_at = NOON
    own.tenants_pending = 0
    made = Exposition()
    samples = TenantSamples(states, Budget(clock), clock)
    for known in (contoso, fabrikam):
        made.put(known.name, samples.of(known))
    made.publish()
    return made, own


def whole(*, openmetrics: bool = False) -> str:
    """Return an uncompressed scrape of the example."""
    exposition, own = example()
    return body(exposition, own.text(openmetrics=openmetrics), openmetrics=openmetrics)


def chosen(*tenants: str, openmetrics: bool = False, gzip: bool = False) -> bytes:
    """Return a scrape of some of the example's tenants."""
    return example()[0].of_tenants(tenants, openmetrics=openmetrics, gzip=gzip)


def body(exposition: Exposition, own: bytes = b"", *, openmetrics: bool = False) -> str:
    """Return an uncompressed scrape."""
    return b"".join(exposition.body(own, openmetrics=openmetrics, gzip=False)).decode()


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_exposition_is_as_its_golden_file(golden: Callable[[Path, str], None], *, openmetrics: bool) -> None:
    """Every family, label and HELP text of /metrics is as the golden file has it, in both formats."""
    text = whole(openmetrics=openmetrics)
    text = text.replace(__import__("platform").python_version(), "3.x")
    golden(GOLDEN / ("openmetrics.txt" if openmetrics else "text.txt"), text)


def test_promtool_finds_nothing_to_say() -> None:
    """`promtool check metrics` is clean on the text format."""
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"], input=whole(), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_prometheus_clients_parsers_read_both_formats_alike() -> None:
    """Both formats parse, and hold the same samples."""

    def samples(parsed: Iterable[Metric]) -> list[tuple[str, list[tuple[str, str]], float]]:
        return sorted((one.name, sorted(one.labels.items()), one.value) for family in parsed for one in family.samples)

    text = samples(parse_text(whole()))
    assert samples(parse_openmetrics(whole(openmetrics=True))) == text
    assert len(text) > 40


@given(st.lists(st.tuples(any_text, any_text, any_value), max_size=5, unique_by=lambda one: one[:2]))
def test_lines_written_by_hand_are_prometheus_clients_to_the_byte(given_samples: list[tuple[str, str, float]]) -> None:
    """For any label text and value, our lines are byte for byte those of prometheus-client, in both formats."""
    samples = [
        Sample(family, (a, b), value)
        for family in ("assigned_users", "polls_total")
        for a, b, value in given_samples
        if family == "assigned_users" or value >= 0
    ]
    exposition = Exposition()
    exposition.put("any", samples)
    exposition.publish()
    assert body(exposition).encode() == text_latest(peer(samples))
    assert body(exposition, openmetrics=True).encode() == openmetrics_latest(peer(samples))


@given(any_text, any_text.filter(bool))
def test_any_label_text_survives_the_way_through_the_formats(product_type: str, name: str) -> None:
    """A product type or tenant name of any UTF-8 text is read back as it was, from both formats."""
    exposition = Exposition()
    exposition.put(name, [Sample("assigned_users", (name, product_type), 1)])
    exposition.publish()
    for parsed in (parse_text(body(exposition)), parse_openmetrics(body(exposition, openmetrics=True))):
        (family,) = parsed
        assert family.samples[0].labels == {"tenant": name, "product_type": product_type}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 200_000])
def test_gzip_is_one_member_with_the_same_content(size: int, *, openmetrics: bool) -> None:
    """The compressed body is exactly one gzip member, and holds the uncompressed one, however long its end is."""
    exposition, _ = example()
    own = (b"process_cpu_seconds_total 1.0\n" * (size // 30 + 1))[:size]
    packed = b"".join(exposition.body(own, openmetrics=openmetrics, gzip=True))
    unpack = zlib.decompressobj(wbits=31)
    assert unpack.decompress(packed).decode() == body(exposition, own, openmetrics=openmetrics)
    assert (unpack.eof, unpack.unused_data) == (True, b"")
    assert gzip.decompress(packed)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_gzip_of_one_tenant_is_one_member_with_the_same_content(*, openmetrics: bool) -> None:
    """The compressed page of a tenant is exactly one gzip member, and holds the uncompressed one."""
    unpack = zlib.decompressobj(wbits=31)
    packed = chosen("contoso", openmetrics=openmetrics, gzip=True)
    assert unpack.decompress(packed) == chosen("contoso", openmetrics=openmetrics)
    assert (unpack.eof, unpack.unused_data) == (True, b"")


def test_one_tenants_page_holds_its_series_only() -> None:
    """`?tenant=` gives that tenant's lines, of every family, and none of the process's own."""
    everything = [line for line in whole().splitlines() if 'tenant="contoso"' in line]
    page = chosen("contoso", "contoso").decode()
    assert [line for line in page.splitlines() if not line.startswith("#")] == everything
    assert list(parse_openmetrics(chosen("contoso", openmetrics=True).decode()))


def test_an_unknown_tenant_is_an_error() -> None:
    """Asking for a tenant that is not there is no empty page."""
    with pytest.raises(UnknownTenantError):
        chosen("contoso", "nobody")


@given(st.lists(st.tuples(st.integers(0, 150), st.none() | st.integers(0, 9)), max_size=60))
def test_any_order_of_changes_shows_the_last_state_of_each_tenant(changes: list[tuple[int, int | None]]) -> None:
    """However tenants come, change and go, a scrape shows each one's newest samples, all in one valid page."""
    exposition = Exposition()
    state = {str(number): 0 for number in range(100)}
    for name in state:
        exposition.put(name, [Sample("up", (name, USERS), 0)])
    for number, value in changes:
        name = str(number)
        if value is None:
            exposition.drop(name)
            state.pop(name, None)
        else:
            exposition.put(name, [Sample("up", (name, USERS), value)] if value else [])
            state[name] = value
        exposition.publish()  # each change alone: what is kept of the others must still be true
    exposition.publish()
    text = b"".join(exposition.body(b"", openmetrics=False, gzip=True))
    shown = {s.labels["tenant"]: s.value for f in parse_text(gzip.decompress(text).decode()) for s in f.samples}
    assert shown == {
        name: value for name, value in state.items() if value or not any(n == int(name) for n, _ in changes)
    }


def test_every_sample_of_the_process_belongs_to_a_family_of_the_table() -> None:
    """The exporter's own samples are those of the documented families, and every count shows."""
    storage = Storage.open(None, clock=Clock())
    own = OwnMetrics(storage=storage)
    own.count_request("graph", "302")
    assert 'exporter_failures_total{reason="network"} 0.0' in own.text(openmetrics=False).decode()
    own.count_failure(Reason.NETWORK)
    own.count_stale_report()
    storage.errors += 1
    assert {sample.family for sample in own.samples()} <= {family.name for family in OWN_FAMILIES}
    text = own.text(openmetrics=False).decode()
    assert 'exporter_failures_total{reason="network"} 1.0' in text
    assert 'exporter_failures_total{reason="throttled"} 0.0' in text
    assert 'exporter_http_requests_total{code="302",endpoint="graph"} 1.0' in text
    assert "exporter_stale_reports_total 1.0" in text
    assert "exporter_storage_errors_total 1.0" in text
    storage.close()


@given(st.lists(st.tuples(any_text, st.integers(0, 2**53)), max_size=3, unique_by=lambda one: one[0]), any_value)
def test_process_metrics_are_prometheus_clients_to_the_byte(requests: list[tuple[str, int]], seconds: float) -> None:
    """The process's own series, and what prometheus-client's collectors add, are as prometheus-client writes them."""
    own = OwnMetrics(revision='a "revision"\\')
    own.expiries = tuple(CredentialExpiry(client, "secret", at) for client, at in requests)
    own.scrape_seconds = seconds
    process = ProcessMetrics()
    values = process._values()
    process._values = lambda: values  # type: ignore[method-assign]
    metrics = [*ProcessCollector(registry=None).collect(), *PlatformCollector(registry=None).collect()]
    for metric in metrics:
        metric.samples = [sample._replace(value=values[sample.name]) for sample in metric.samples]
    samples = [*own.samples(), *([Sample("exporter_scrape_duration_seconds", (), seconds)] if seconds else [])]
    registry = peer(samples, OWN_FAMILIES)
    registry.register(Fixed(metrics))
    for _ in range(2):  # the second time, what could be kept was kept
        for openmetrics, latest in ((False, text_latest), (True, openmetrics_latest)):
            made = own.text(openmetrics=openmetrics) + process.text(openmetrics=openmetrics)
            assert made + (b"# EOF\n" if openmetrics else b"") == latest(registry)
