"""`login TENANT`: what a person reads, from the code to the end."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from exporter import cli
from tests.full_simulator import Decision, Plan, Simulator, SimulatorServer
from tests.http.leaks import assert_clean
from tests.process import COMMAND, Running, configure, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPROVED = Plan(Decision.APPROVED)
CODE = re.compile(
    r"Open https://localhost:\d+/device and enter the code [B-Z2-9]{9} \(within 15 minutes\)\.\n"
    r"Sign in with a work or school account that has the role Reports Reader\.\n"
)


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    """Serve two simulated tenants, whose codes may be looked at without waiting."""
    with SimulatorServer(Simulator(seed=1, tenants=2)) as started:
        started.simulator.poll_interval = 0
        yield started


@pytest.fixture
def path(server: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration where a person signs in for the first tenant, and the second has a secret."""
    for name in list(os.environ):
        if name.startswith(("OFFICE365_", "AZURE_")):
            monkeypatch.delenv(name)
    first, second = server.simulator.tenants
    auths: tuple[dict[str, Any], ...] = ({"device_code": {}}, {"client_secret": second.secret})
    tenants = [
        {"name": one.name, "tenant_id": one.tenant_id, "client_id": one.client_id, "auth": auth}
        for one, auth in zip((first, second), auths, strict=True)
    ]
    return configure(server, tmp_path, {"tenants": tenants, "storage": {"path": str(tmp_path / "storage")}})


class Said:
    """What `login` printed in this process, and its exit code."""

    def __init__(self, path: Path, capfd: pytest.CaptureFixture[str], name: str = "contoso") -> None:
        capfd.readouterr()
        self.code = cli.run(["login", name, "--config.file", str(path)])
        self.out, self.err = capfd.readouterr()
        assert_clean(self.out + self.err)


def kept(path: Path) -> list[Path]:
    """Return the files that sign-ins are kept in."""
    return list((path.parent / "storage").glob("sign-in-*"))


def test_login_shows_the_code_and_says_how_the_sign_in_is_kept(
    server: SimulatorServer, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The code goes to stderr, the result with its protection to stdout, the sign-in to a file for its owner only."""
    server.simulator.plan_sign_in(APPROVED)
    said = Said(path, capfd)
    assert said.code == 0
    assert CODE.fullmatch(said.err)
    (file,) = kept(path)
    assert said.out == (
        f"contoso: signed in; the sign-in is stored in {file}, not encrypted, readable by its owner only (0600)\n"
        "A running exporter uses it from its next poll on; SIGHUP makes it poll at once.\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("plan", "message", "hint"),
    [
        (Plan(Decision.DECLINED), "AADSTS65004, User declined to consent to access the app", "to try again, run: "),
        (Plan(Decision.EXPIRED), "AADSTS70020", "the code expired before it was used; for a new one, run: "),
        (
            Plan(Decision.BLOCKED),
            "AADSTS53003, Access has been blocked by Conditional Access policies",
            "a Conditional Access policy blocks this sign-in, as many organisations do with device codes: ",
        ),
        (
            Plan(Decision.APPROVED, personal=True),
            "contoso: a personal Microsoft account signed in, and personal accounts have no such report",
            "sign in with a work or school account of the tenant",
        ),
    ],
    ids=["declined", "expired", "blocked", "personal"],
)
def test_login_says_why_there_is_no_sign_in(  # noqa: PLR0917 - a table's columns
    server: SimulatorServer, path: Path, capfd: pytest.CaptureFixture[str], plan: Plan, message: str, hint: str
) -> None:
    """An interruption is reported on stderr with its fix, the exit code is 1, and nothing is stored."""
    server.simulator.plan_sign_in(plan)
    said = Said(path, capfd)
    assert said.code == 1
    shown, reason, fix, end = re.split(r"(?<=Reader\.)\n|\n", CODE.sub("shown\n", said.err))
    assert (shown, end, said.out) == ("shown", "", "")
    assert message in reason
    assert fix.strip().startswith(hint) or hint in fix
    assert kept(path) == []


def test_login_names_the_roles_that_an_account_lacks(
    server: SimulatorServer, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An account without a role is kept, for the role may be given to it, and the roles are named."""
    server.simulator.plan_sign_in(Plan(Decision.APPROVED, roles=()))
    said = Said(path, capfd)
    assert said.code == 1
    assert said.out.startswith("contoso: signed in; ")
    assert "contoso: the signed-in account has none of the roles that can read reports\n" in said.err
    assert "Reports Reader (the last one has the fewest rights)" in said.err
    assert len(kept(path)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contoos", "TENANT: there is no enabled tenant 'contoos'; did you mean contoso?\n"),
        ("x", "TENANT: there is no enabled tenant 'x'; check the name, and --config.file\n"),
        ("fabrikam", "fabrikam: its auth is client_secret, not device_code: no sign-in is needed\n"),
    ],
)
def test_login_says_where_there_is_nothing_to_sign_in_for(
    path: Path, capfd: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    """An unknown tenant and one with another credential are bad usage."""
    said = Said(path, capfd, name)
    assert (said.code, said.out, said.err) == (2, "", message)


def test_login_counts_down_on_a_terminal(server: SimulatorServer, path: Path) -> None:
    """On a terminal the time that is left is shown and counts down, and the line is gone at the end."""
    harness = server.simulator
    harness.poll_interval = 2
    harness.plan_sign_in(Plan(Decision.APPROVED, polls=1))
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "login", "contoso", "--config.file", str(path)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(),
        text=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        os.close(ours)
        out = process.communicate(timeout=30)[0]
    text = shown.decode().replace("\r\n", "\n")
    assert process.returncode == 0
    assert out.startswith("contoso: signed in; ")
    assert CODE.match(text)
    left = re.findall(r"\rwaiting, (\d+):(\d\d) left\x1b\[K", text)
    seconds = [60 * int(minutes) + int(rest) for minutes, rest in left]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) >= 2
    assert 880 <= seconds[-1] < seconds[0] <= 900
    assert text.endswith("\r\x1b[K")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


def test_a_running_exporter_picks_the_sign_in_up(
    server: SimulatorServer, path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A `serve` that failed for want of a sign-in reads the report at the poll after `login`; SIGHUP hurries it."""
    server.simulator.plan_sign_in(APPROVED)
    with Running("serve", "--config.file", str(path), "--log.level=debug", log=tmp_path / "log") as running:
        running.wait_until(
            r'^office365_activations_failing\{.*reason="credentials".*tenant="contoso"|tenant="contoso".*reason="credentials"'
        )
        assert Said(path, capfd).code == 0
        running.process.send_signal(signal.SIGHUP)
        running.wait_until(r'^office365_activations_up\{[^}]*tenant="contoso"[^}]*\} 1')
        running.stop()
        log = running.log
    assert "run: office365-activations-exporter login contoso" in log
    assert_clean(log)
