"""The running exporter, in process: what `serve` does between its signals."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import yaml

from exporter.cli.serve import PeriodicTasks, Systemd, _Service
from exporter.config import Web, load
from exporter.errors import Reason
from exporter.exporter import Exporter
from exporter.files import Watch
from exporter.http import Clients
from exporter.state import Failure, Outcome
from exporter.storage import Storage
from tests.builders import PLATFORMS, USERS
from tests.full_simulator import Simulator, SimulatorServer, Stage
from tests.process import configure
from tests.soak.disk import FailingConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.config import Config
    from exporter.microsoft import Microsoft


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    """Serve two simulated tenants."""
    with SimulatorServer(Simulator(tenants=2)) as made:
        yield made


class Service:
    """An exporter that polls a simulation, without a web server.

    Args:
        path: its configuration.
        storage: where it keeps reports.
        clock: Unix seconds.
        monotonic: seconds.
    """

    def __init__(
        self,
        path: Path,
        storage: Storage | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.exporter = Exporter(
            self.load(),
            self.load,
            storage or Storage.open(None, clock=clock),
            environ={},
            clock=clock,
            monotonic=monotonic,
        )

    def load(self) -> Config:
        """Read the configuration."""
        return load({"config.file": str(self.path)}, {})

    def start(self) -> Service:
        """Render and poll."""
        assert not self.exporter.ready()
        self.exporter.render_first()
        self.exporter.start_polling()
        return self

    def stop(self) -> None:
        """Stop, and close what polls that were still running then have open."""
        self.exporter.stop()
        schedule, microsoft = self.exporter._schedule, self.exporter._microsoft
        if schedule is not None and microsoft is not None:
            while schedule._running:
                time.sleep(0.02)
            microsoft.close()

    def metrics(self, *tenants: str) -> str:
        """Return a scrape."""
        return b"".join(self.exporter.scrape(openmetrics=False, gzip=False, tenants=tenants)).decode()

    def wait_until(self, holds: Callable[[str], bool], what: str, seconds: float = 120) -> str:
        """Return the first scrape for which `holds`."""
        end = time.monotonic() + seconds
        while not holds(text := self.metrics()):
            assert time.monotonic() < end, f"{what} in:\n{text}"
            time.sleep(0.02)
        return text

    def wait_for(self, *parts: str) -> str:
        """Return the first scrape with a line that holds every part."""

        def holds(text: str) -> bool:
            return any(all(part in line for part in parts) for line in text.splitlines())

        return self.wait_until(holds, f"no line with {parts}")

    def wait_for_polls(self, tenant: str, polls: int) -> None:
        """Wait until so many polls of the tenant's report have ended, or more."""
        series = f'polls_total{{report="{USERS}",tenant="{tenant}"}} '

        def holds(text: str) -> bool:
            return series in text and float(text.partition(series)[2].split()[0]) >= polls

        self.wait_until(holds, f"fewer than {polls} polls of {tenant}", seconds=20)

    def wait_without(self, part: str) -> None:
        """Wait for the first scrape without `part`."""
        self.wait_until(lambda text: part not in text, part)

    def run_tasks(self, times: int = 1) -> None:
        """Run every periodic task."""
        for _ in range(times):
            PeriodicTasks(self.exporter.periodic_tasks()).run_due()

    def check_files(self) -> None:
        """Check the files twice: a change counts once it is seen twice alike."""
        self.run_tasks(2)


def edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change a configuration file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def with_secret_file(server: SimulatorServer, path: Path, secret: Path) -> None:
    """Let the first tenant's secret come from a file."""

    def change(document: dict[str, object]) -> None:
        document["tenants"][0]["auth"] = {"client_secret_file": str(secret)}  # type: ignore[index]

    secret.write_text(server.simulator.tenants[0].secret + "\n", encoding="utf-8")
    edit(path, change)


def test_a_rotated_secret_needs_no_restart(server: SimulatorServer, tmp_path: Path) -> None:
    """A tenant whose secret was refused is polled at once when its file changes, without restart or reload by hand."""
    path, secret = configure(server, tmp_path), tmp_path / "secret"
    with_secret_file(server, path, secret)
    server.simulator.set_secret("contoso", "a-new-secret")
    service = Service(path).start()
    service.wait_for("failing", 'reason="credentials"', 'tenant="contoso"')
    secret.write_text("a-new-secret\n", encoding="utf-8")
    service.check_files()
    service.wait_for("office365_activations_up", 'tenant="contoso"', " 1.0")
    service.stop()


@pytest.mark.parametrize("where", ["file", "configuration"])
def test_changed_credentials_are_tried_at_once(server: SimulatorServer, tmp_path: Path, where: str) -> None:
    """A tenant that does not fail is polled at once when its secret changes, in its file or in the configuration."""
    path, secret = configure(server, tmp_path), tmp_path / "secret"
    if where == "file":
        with_secret_file(server, path, secret)
    service = Service(path).start()
    service.wait_for('up{report="activations_user_counts",tenant="contoso"} 1.0')
    server.simulator.set_secret("contoso", "a-new-secret")
    if where == "file":
        secret.write_text("a-new-secrets\n", encoding="utf-8")
        service.check_files()
    else:
        edit(path, lambda document: document["tenants"][0]["auth"].update(client_secret="a-new-secrets"))  # type: ignore[index]
        service.check_files()
    service.wait_for("failing", 'reason="credentials"', 'tenant="contoso"')
    assert server.simulator.count("fabrikam", Stage.GRAPH) == 1
    service.stop()


def test_a_changed_file_is_noticed_and_an_unchanged_one_is_not(server: SimulatorServer, tmp_path: Path) -> None:
    """A changed file means a reload, an unchanged one does not."""
    path = configure(server, tmp_path)
    service = Service(path).start()
    service.wait_for('up{report="activations_user_counts",tenant="fabrikam"} 1.0')
    calls = server.simulator.count("contoso", Stage.GRAPH)
    loaded = "\noffice365_activations_exporter_config_last_reload_success_timestamp_seconds "
    first = service.metrics().split(loaded)[1].split()[0]
    service.check_files()
    assert first in service.metrics()
    edit(path, lambda document: document["tenants"].pop())  # type: ignore[attr-defined]
    service.check_files()
    service.wait_for("tenant_info", 'tenant="contoso"')
    assert 'tenant="fabrikam"' not in service.metrics()
    assert first not in service.metrics()
    assert server.simulator.count("contoso", Stage.GRAPH) == calls
    service.stop()


def test_a_file_that_breaks_keeps_the_old_configuration(server: SimulatorServer, tmp_path: Path) -> None:
    """A broken file changes nothing, and the next good one is taken."""
    path = configure(server, tmp_path)
    good = path.read_text(encoding="utf-8")
    service = Service(path).start()
    path.write_text("tenants: [", encoding="utf-8")
    service.check_files()
    service.wait_for("config_last_reload_successful 0.0")
    assert 'tenant="contoso"' in service.metrics()
    path.write_text(good, encoding="utf-8")
    service.check_files()
    service.wait_for("config_last_reload_successful 1.0")
    service.stop()


def test_a_reload_with_an_unreadable_ca_is_refused(server: SimulatorServer, tmp_path: Path) -> None:
    """What would keep the new configuration from working is found before the old one is given up."""
    path = configure(server, tmp_path)
    service = Service(path).start()
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    ok, sentence = service.exporter.reload()
    assert not ok
    assert "http.ca_file" in sentence
    service.stop()


def test_a_tenant_that_comes_back_gets_its_stored_report_back(server: SimulatorServer, tmp_path: Path) -> None:
    """A tenant removed and configured again shows its last good report before it is polled again."""
    path = configure(server, tmp_path, {"storage": {"path": str(tmp_path / "storage")}})
    storage = Storage.open(tmp_path / "storage", clock=time.time)
    service = Service(path, storage).start()
    service.wait_for('up{report="activations_user_counts",tenant="fabrikam"} 1.0')
    removed: list[object] = []
    edit(path, lambda document: removed.append(document["tenants"].pop()))  # type: ignore[attr-defined]
    assert service.exporter.reload()[0]
    server.simulator.set_scenario("fabrikam", "outage")
    calls = server.simulator.count("fabrikam", Stage.GRAPH)
    edit(path, lambda document: document["tenants"].extend(removed))  # type: ignore[attr-defined]
    assert service.exporter.reload()[0]
    service.wait_for("assigned_users", 'tenant="fabrikam"')
    assert server.simulator.count("fabrikam", Stage.GRAPH) == calls
    service.stop()


def test_a_credential_that_ends_soon_is_shown_and_warned_about(
    server: SimulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of a secret is on /metrics, and in the log from 30 days before on."""

    def change(document: dict[str, object]) -> None:
        for tenant, expires in zip(document["tenants"], ("2001-01-01", "2999-01-01"), strict=True):  # type: ignore[call-overload]
            tenant["auth"]["expires"] = expires

    path = configure(server, tmp_path)
    edit(path, change)
    service = Service(path).start()
    contoso, fabrikam = server.simulator.tenants
    service.wait_for("credential_expiry_timestamp_seconds", contoso.client_id, 'kind="secret"', " 9.783072e+08")
    service.run_tasks()
    warnings = [line for line in caplog.text.splitlines() if "has expired" in line]
    assert len(warnings) == 1
    assert contoso.client_id in warnings[0]
    assert fabrikam.client_id not in warnings[0]
    service.stop()


@pytest.mark.parametrize("trouble", ["hang", "429", "500-empty", "gzip-bomb", "drip"])
def test_a_tenant_in_trouble_delays_no_other(server: SimulatorServer, tmp_path: Path, trouble: str) -> None:
    """While one tenant hangs, is throttled or broken, the others are polled next to it, on time."""
    server.simulator.inject("contoso", trouble, times=None)
    path = configure(server, tmp_path, {"poll": {"interval": "1s", "jitter": "0s", "timeout": "2s", "concurrency": 2}})
    service = Service(path).start()
    service.wait_for_polls("fabrikam", 3)
    assert 'tenant="fabrikam"} 1.0' in service.wait_for("office365_activations_up{", 'tenant="fabrikam"')
    server.simulator.clear("contoso")
    service.stop()


def test_storage_that_fails_stops_neither_polling_nor_serving(server: SimulatorServer, tmp_path: Path) -> None:
    """With a storage on which nothing works, every tenant is still polled and served, and the errors are counted."""
    storage = Storage.open(tmp_path / "storage", clock=time.time)
    assert storage._connection is not None
    storage._connection = FailingConnection(storage._connection)  # type: ignore[assignment]
    service = Service(configure(server, tmp_path), storage).start()
    service.wait_for('up{report="activations_user_counts",tenant="fabrikam"} 1.0')
    text = service.wait_for('up{report="activations_user_counts",tenant="contoso"} 1.0')
    assert float(text.split("\noffice365_activations_exporter_storage_errors_total ")[1].split()[0]) >= 5
    assert "exporter_storage_up 0.0" in text
    service.check_files()
    service.stop()


def test_a_report_that_grows_too_old_is_withdrawn_though_no_poll_runs(server: SimulatorServer, tmp_path: Path) -> None:
    """Time alone withdraws the gauges of a report whose last good poll is max_age ago."""
    passed = [0.0]
    service = Service(
        configure(server, tmp_path, {"poll": {"timeout": "1s"}}),
        clock=lambda: time.time() + passed[0],
        monotonic=lambda: time.monotonic() + passed[0],
    ).start()
    for name in ("contoso", "fabrikam"):  # a poll still in flight would succeed at the new time
        service.wait_for("assigned_users{", f'tenant="{name}"')
    server.latency = 3600
    passed[0] += 73 * 3600
    service.wait_without("assigned_users{")
    assert "last_success_timestamp_seconds{" in service.metrics()
    service.stop()


def test_a_clock_that_jumps_ahead_withdraws_nothing_before_the_polls_due_then_had_their_time(
    server: SimulatorServer, tmp_path: Path
) -> None:
    """Numbers read a moment ago outlast a jump by days; where no poll replaces them, they go five minutes later."""
    ahead, passed = [0.0], [0.0]
    service = Service(
        configure(server, tmp_path, {"poll": {"timeout": "1s"}}),
        clock=lambda: time.time() + ahead[0] + passed[0],
        monotonic=lambda: time.monotonic() + passed[0],
    ).start()
    for name in ("contoso", "fabrikam"):
        service.wait_for("assigned_users{", f'tenant="{name}"')
    server.latency = 3600
    ahead[0] = 73 * 3600
    for _ in range(3):
        service.run_tasks()
        service.exporter._renderer.render()
    assert service.metrics().count("assigned_users{") > 2
    assert service.exporter.status().tenants[0].reports[USERS].products
    passed[0] = 301
    service.wait_without("assigned_users{")
    assert not service.exporter.status().tenants[0].reports[USERS].products
    service.stop()


def test_a_clock_that_jumps_back_stops_no_poll(server: SimulatorServer, tmp_path: Path) -> None:
    """After a clock goes back by a year, every report is polled at once, not in a year."""
    ahead = [0.0]
    service = Service(configure(server, tmp_path), clock=lambda: time.time() + ahead[0]).start()
    for name in ("contoso", "fabrikam"):
        service.wait_for_polls(name, 1)
    ahead[0] = -365 * 86400
    service.run_tasks()
    for name in ("contoso", "fabrikam"):
        service.wait_for_polls(name, 2)
    service.stop()


def test_a_clock_that_jumps_gives_no_calls_back(server: SimulatorServer, tmp_path: Path) -> None:
    """The quota's window is ten minutes of real time, whatever the clock says."""
    ahead = [0.0]
    path = configure(server, tmp_path, {"poll": {"timeout": "1s"}})
    service = Service(path, clock=lambda: time.time() + ahead[0]).start()
    remaining = 'quota_remaining_calls{report="activations_user_counts",tenant="fabrikam"} '
    service.wait_for("assigned_users{", 'tenant="fabrikam"')
    before = service.metrics().split(remaining)[1].split()[0]
    server.latency = 3600
    ahead[0] = 3600
    service.exporter._renderer.replace(service.exporter._config.tenants)
    service.exporter._renderer.render()
    assert before == service.metrics().split(remaining)[1].split()[0] != "7.0"
    service.stop()


def test_pending_tenants_show_once_they_are_counted(server: SimulatorServer, tmp_path: Path) -> None:
    """Before the first rendering no scrape says how many tenants are pending, after it each says the truth."""
    service = Service(configure(server, tmp_path))
    assert "tenants_pending" not in service.metrics()
    service.exporter.render_first()
    assert "tenants_pending 2.0" in service.metrics()
    service.stop()


def test_a_half_written_configuration_is_not_adopted(server: SimulatorServer, tmp_path: Path) -> None:
    """A file that is valid but still being written changes nothing: only what is seen twice alike counts."""
    path = configure(server, tmp_path)
    whole = path.read_text(encoding="utf-8")
    service = Service(path).start()
    service.wait_for("assigned_users{", 'tenant="fabrikam"')
    edit(path, lambda document: document["tenants"].pop())  # type: ignore[attr-defined]
    service.run_tasks()
    path.write_text(whole + "\n", encoding="utf-8")
    service.run_tasks()
    assert "assigned_users{" in service.wait_for("assigned_users{", 'tenant="fabrikam"')
    assert len(service.exporter.status().tenants) == 2
    service.stop()


def test_a_reload_answers_when_metrics_show_it(server: SimulatorServer, tmp_path: Path) -> None:
    """Of 35 reloads, each is on /metrics when it answers: removed tenants are gone, added ones there."""
    path = configure(server, tmp_path)
    whole = path.read_text(encoding="utf-8")
    edit(path, lambda document: document["tenants"].pop())  # type: ignore[attr-defined]
    one = path.read_text(encoding="utf-8")
    service = Service(path).start()
    service.wait_for("assigned_users{", 'tenant="contoso"')
    for number in range(35):
        path.write_text(one if number % 2 else whole, encoding="utf-8")
        assert service.exporter.reload()[0]
        assert ('tenant="fabrikam"' in service.metrics()) == (number % 2 == 0)
    service.stop()


def test_a_reload_polls_what_fails_at_once(server: SimulatorServer, tmp_path: Path) -> None:
    """A report that fails for want of a download host is polled at once when a reload brings it."""
    path = configure(server, tmp_path)
    edit(path, lambda document: document["http"].update(download_hosts=[".example.com"]))  # type: ignore[attr-defined]
    service = Service(path).start()
    service.wait_for("failing", 'reason="redirect"', 'tenant="contoso"')
    service.wait_for("failing", 'reason="redirect"', 'tenant="fabrikam"')
    configure(server, tmp_path)
    assert service.exporter.reload()[0]
    for name in ("contoso", "fabrikam"):
        service.wait_for(f'up{{report="activations_user_counts",tenant="{name}"}} 1.0')
    service.stop()


def test_a_reload_respects_retry_after(server: SimulatorServer, tmp_path: Path) -> None:
    """A report that Microsoft throttles is not polled by a reload before the time that Microsoft named."""
    server.simulator.inject("contoso", "429", times=None)
    service = Service(configure(server, tmp_path, {"poll": {"timeout": "1s"}})).start()
    service.wait_for("failing", 'reason="throttled"', 'tenant="contoso"')
    calls = server.simulator.count("contoso", Stage.GRAPH)
    edit(service.path, lambda document: document["tenants"][1].update(name="renamed"))  # type: ignore[index]
    assert service.exporter.reload()[0]
    edit(service.path, lambda document: document["poll"].update(interval="1s", jitter="0s"))  # type: ignore[attr-defined]
    assert service.exporter.reload()[0]
    service.wait_for_polls("renamed", 3)
    assert server.simulator.count("contoso", Stage.GRAPH) == calls
    service.stop()


def test_a_poll_that_a_reload_overtakes_is_repeated(server: SimulatorServer, tmp_path: Path) -> None:
    """A poll that began before a reload and failed after it is repeated at once by the new configuration."""
    path = configure(server, tmp_path, {"poll": {"timeout": "3s"}})
    edit(path, lambda document: document["http"].update(download_hosts=[".example.com"]))  # type: ignore[attr-defined]
    server.latency = 0.3
    service = Service(path).start()
    while not server.simulator.count("contoso", Stage.TOKEN):
        time.sleep(0.01)
    configure(server, tmp_path)
    assert service.exporter.reload()[0]
    server.latency = 0
    service.wait_for('up{report="activations_user_counts",tenant="contoso"} 1.0')
    service.stop()


def test_what_a_reload_replaces_is_closed_after_the_last_poll_that_uses_it(
    server: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll keeps its connections over a reload, however long it takes; without a poll they are closed at once."""
    closed: list[Clients] = []

    def close(clients: Clients) -> None:
        closed.append(clients)

    monkeypatch.setattr(Clients, "close", close)
    service = Service(configure(server, tmp_path))
    exporter = service.exporter
    exporter.connect()
    assert exporter._microsoft is not None
    first, poller, (tenant, key) = exporter._microsoft.clients, exporter._microsoft.poller, exporter.reports[0]

    def reload_during_poll(*_: object) -> Outcome:
        assert exporter.reload()[0]
        assert closed == []
        return Outcome(time.time(), 0.0, failure=Failure(Reason.NETWORK, "no answer", "check the network"))

    monkeypatch.setattr(poller, "poll", reload_during_poll)
    exporter.poll(tenant, key)
    assert closed == [first]
    second = exporter._microsoft.clients
    assert exporter.reload()[0]
    assert closed == [first, second]
    service.stop()


def test_a_reload_during_the_start_is_what_polls_follow(
    server: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that is read again while the first one's libraries are imported is the one that remains."""
    path = configure(server, tmp_path)
    exporter = Service(path).exporter
    make, reload = exporter._new_microsoft, threading.Thread(target=exporter.reload)
    made: dict[Microsoft, Config] = {}

    def slowly(config: Config) -> Microsoft:
        if not reload.ident:
            edit(path, lambda document: document.update(reports=[PLATFORMS]))
            reload.start()
            reload.join(0.5)  # over by then, unless it waits for the start
        microsoft = make(config)
        made[microsoft] = config
        return microsoft

    monkeypatch.setattr(exporter, "_new_microsoft", slowly)
    exporter.connect()
    reload.join()
    assert exporter._microsoft is not None
    assert made[exporter._microsoft].root.reports == exporter._config.root.reports == (PLATFORMS,)
    exporter.stop()


@pytest.mark.parametrize("wrong", ["tenant file", "CA"])
def test_a_file_that_only_the_refused_configuration_names_is_noticed(
    server: SimulatorServer, tmp_path: Path, wrong: str
) -> None:
    """After a refused reload, correcting the file that was wrong is enough, also where the one in force has it not."""
    path = configure(server, tmp_path)
    service = Service(path)
    file = tmp_path / "more.yml"
    file.write_text("tenants: half of it")
    good = yaml.safe_dump({"tenants": []}) if wrong == "tenant file" else path.with_name("ca.pem").read_text()
    http = yaml.safe_load(path.read_text(encoding="utf-8"))["http"]
    change = {"tenant_files": [str(file)]} if wrong == "tenant file" else {"http": http | {"ca_file": str(file)}}
    edit(path, lambda document: document.update(change))
    assert not service.exporter.reload()[0]
    service.check_files()
    assert "last_reload_successful 0.0" in service.metrics()
    file.write_text(good)
    service.run_tasks()
    assert "last_reload_successful 0.0" in service.metrics(), "it may still be being written"
    service.run_tasks()
    assert "last_reload_successful 1.0" in service.metrics()
    service.stop()


def test_the_reason_of_a_failed_reload_is_shown(server: SimulatorServer, tmp_path: Path) -> None:
    """The status says why the last reload failed, until one succeeds."""
    path = configure(server, tmp_path)
    good = path.read_text(encoding="utf-8")
    service = Service(path)
    assert service.exporter.status().reload.problem is None
    path.write_text(good + "extra: 1\n", encoding="utf-8")
    assert not service.exporter.reload()[0]
    assert "extra: is not a known key" in str(service.exporter.status().reload.problem)
    path.write_text(good, encoding="utf-8")
    assert service.exporter.reload()[0]
    assert service.exporter.status().reload.problem is None
    service.stop()


def test_a_periodic_task_that_raises_stops_no_other() -> None:
    """Tasks go on after one that failed, and each runs again only when it is due."""
    now, done = [0.0], []

    def fail() -> None:
        raise RuntimeError("a bug")

    tasks = PeriodicTasks([(10, fail), (30, lambda: done.append(now[0]))], lambda: now[0])
    for second in range(0, 100, 5):
        now[0] = float(second)
        tasks.run_due()
    assert done == [0, 30, 60, 90]


def test_a_change_counts_when_seen_twice_alike(tmp_path: Path) -> None:
    """A file that is rewritten, replaced, removed or gets other permissions counts once, at the second equal check."""
    path, other = tmp_path / "file", tmp_path / "other"

    def replace() -> None:
        other.write_text("b", encoding="utf-8")
        other.replace(path)

    watch = Watch(lambda: [path])
    for change in (
        lambda: path.write_text("a", encoding="utf-8"),
        lambda: path.chmod(0o600),
        replace,
        path.unlink,
    ):
        assert not watch.changed()
        change()
        assert [watch.changed() for _ in range(3)] == [False, True, True]
        assert watch.differences(watch.now()) == {path}
        watch.accept(watch.now())
        assert not watch.changed()
    for text in ("1", "12", "123"):
        path.write_text(text, encoding="utf-8")
        assert not watch.changed()
    assert watch.changed()


def test_a_change_while_files_are_read_is_noticed(tmp_path: Path) -> None:
    """A file that changes between the start of a reload and its end counts, a new file that it brought does not."""
    path, other = tmp_path / "file", tmp_path / "other"
    path.touch()
    files = [path]
    watch = Watch(lambda: files)
    before = watch.now()
    other.touch()
    files.append(other)
    watch.accept(before)
    assert not any(watch.changed() for _ in range(3))
    before = watch.now()
    path.write_text("changed", encoding="utf-8")
    watch.accept(before)
    assert any(watch.changed() for _ in range(3))


def test_of_many_signals_to_reload_two_reloads_come() -> None:
    """While one reload runs, one more waits, which reads the newest files: a storm of SIGHUP is no storm of threads."""
    begun, go_on, reloads = threading.Semaphore(0), threading.Semaphore(0), []

    def reload() -> None:
        reloads.append(threading.current_thread())
        begun.release()
        go_on.acquire()

    service = _Service(
        SimpleNamespace(periodic_tasks=tuple, reload=reload),  # type: ignore[arg-type]  # all that is used of it
        Web(),
        Systemd({}),
        lambda _addresses: None,
    )
    service._reload_soon()
    begun.acquire()
    for _ in range(100):
        service._reload_soon()
    go_on.release(2)
    begun.acquire()
    for thread in reloads:
        thread.join()
    assert len(reloads) == 2


def test_without_systemd_nothing_is_sent() -> None:
    """Outside systemd, telling it anything does nothing, and there is no watchdog to feed."""
    systemd = Systemd({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    systemd.tell("READY=1")
    assert systemd.watchdog_seconds == 0
    Systemd({"NOTIFY_SOCKET": "@nobody-listens-here"}).tell("READY=1")
