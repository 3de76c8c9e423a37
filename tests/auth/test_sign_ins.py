"""Sign-ins that are kept: for whom, how safely, and what is said once they are worth nothing."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from msal_extensions import CrossPlatLock, FilePersistence

from exporter.auth import Credentials, TokenSource
from exporter.errors import ConfigError, ExporterError, Reason
from exporter.http import Deadline
from exporter.state import Standing
from tests.auth.world import login
from tests.builders import Clock
from tests.full_simulator import Decision, Fault, Plan, Response, Stage

if TYPE_CHECKING:
    from exporter.config.tenants import Tenant
    from tests.auth.world import World

APPROVED = Plan(Decision.APPROVED)


def test_a_sign_in_outlives_the_process(world: World, delegated: Tenant) -> None:
    """Another process with the same storage reads the report, and refreshes the token silently."""
    world.sign_in(delegated)
    world.restart()
    first = world.succeed(delegated)
    world.microsoft.revoke_consent(world.known)  # only a new token shows it
    world.microsoft.grant_consent(world.known)
    assert world.token(delegated, fresh=True) is not first


def test_a_running_poller_picks_a_sign_in_up(world: World, delegated: Tenant) -> None:
    """A poll before the sign-in says which command to run; the one after it reads the report."""
    outcome = world.poll(delegated)
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.hint) == (Reason.CREDENTIALS, login(delegated))
    assert "nobody has signed in" in outcome.failure.message
    assert list(world.folder.iterdir()) == []
    other = TokenSource(world.clients, Credentials(), clock=time.time, folder=world.folder)
    world.microsoft.plan_sign_in(APPROVED)
    other.sign_in(delegated, show=lambda _code: None, wait=lambda *_: None)
    world.succeed(delegated, Standing().after(outcome))


def test_a_sign_in_is_for_its_owner_only(world: World, delegated: Tenant) -> None:
    """The file is 0600 whatever the umask, also after a refresh, its folder 0700, and how it is kept is said."""
    world.tokens._folder = folder = world.folder / "storage"
    mask = os.umask(0)
    try:
        _, protection = world.sign_in(delegated)
        modes = [stat.S_IMODE(folder.stat().st_mode)]
        (path,) = folder.glob("*.bin")
        modes.append(stat.S_IMODE(path.stat().st_mode))
        before = path.read_bytes()
        world.token(delegated, fresh=True)
        modes.append(stat.S_IMODE(path.stat().st_mode))
    finally:
        os.umask(mask)
    assert modes == [0o700, 0o600, 0o600]
    assert path.read_bytes() != before
    assert [each.name for each in folder.iterdir()] == [path.name]
    assert protection == f"in {path}, not encrypted, readable by its owner only (0600)"


def test_a_platform_that_can_encrypt_does(world: World, delegated: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where msal-extensions finds a key store, that is used, and said."""

    class KeyStore(FilePersistence):  # type: ignore[misc]  # msal-extensions has no types
        is_encrypted = True

    monkeypatch.setattr("exporter.auth.device.build_encrypted_persistence", KeyStore)
    assert world.sign_in(delegated)[1] == "encrypted by this platform's key store"
    world.restart()
    world.succeed(delegated)


def test_each_tenant_has_a_file_of_its_own(world: World, delegated: Tenant) -> None:
    """Login host and tenant name the file; the custom cloud's port is part of it."""
    world.sign_in(delegated)
    world.sign_in(replace(delegated, cloud=world.cloud("custom")))
    port = world.server.cloud.login.rpartition(":")[2]
    assert {path.name for path in world.folder.iterdir()} == {
        f"sign-in-login.microsoftonline.com-{world.known.tenant_id}.bin",
        f"sign-in-localhost_{port}-{world.known.tenant_id}.bin",
    }


def test_a_new_sign_in_replaces_the_former(world: World, delegated: Tenant) -> None:
    """Whoever signs in last is the one: the account before is forgotten."""
    world.sign_in(delegated, replace(APPROVED, roles=()))
    world.sign_in(delegated)
    assert len(json.loads(world.kept().read_text(encoding="utf-8"))["Account"]) == 1
    world.restart()
    world.succeed(delegated)


def test_a_revoked_sign_in_says_which_command_to_run(world: World, delegated: Tenant) -> None:
    """A refresh token that Microsoft takes no more is the credential's fault, at this poll and at the next ones."""
    world.sign_in(delegated)
    world.restart()
    world.microsoft.revoke_tokens(world.known)
    failures = [world.fail(delegated) for _ in range(2)]
    assert [failure.reason for failure in failures] == [Reason.CREDENTIALS] * 2
    assert failures[0].hint == f"the account's password or sessions were reset since it signed in; {login(delegated)}"
    assert "AADSTS50173" in failures[0].message
    world.sign_in(delegated)
    world.succeed(delegated)


def test_a_refresh_token_that_ended_says_which_command_to_run(world: World, delegated: Tenant) -> None:
    """What was not used for too long is told apart from what was revoked."""
    world.sign_in(delegated)
    world.restart()
    body = {"error": "invalid_grant", "error_description": "AADSTS700082: Unused for too long. Trace ID: 1"}
    ended = Fault("ended", Stage.TOKEN, "unused", lambda *_: Response(400, (), json.dumps(body).encode()))
    world.microsoft.inject(world.known, ended)
    assert world.fail(delegated).hint == f"the sign-in was not used for too long; {login(delegated)}"


def test_a_sign_in_without_its_refresh_token_is_worth_nothing(world: World, delegated: Tenant) -> None:
    """An account whose refresh token is gone, as after a sign-out, is no sign-in, and the mend is the same."""
    world.sign_in(delegated)
    world.restart()
    document = json.loads(world.kept().read_text(encoding="utf-8"))
    world.kept().write_text(json.dumps(document | {"RefreshToken": {}, "AccessToken": {}}), encoding="utf-8")
    failure = world.fail(delegated)
    assert failure.message.endswith("the kept sign-in is worth nothing any more")
    assert failure.hint == login(delegated)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"Account": 1}', b"\xff\xfe", b'{"Account": {}}'])
def test_a_file_that_holds_no_sign_in_says_which_command_to_run(
    world: World, delegated: Tenant, content: bytes
) -> None:
    """Empty, broken and foreign files are the credential's fault, at once."""
    world.sign_in(delegated)
    world.kept().write_bytes(content)
    world.restart()
    failure = world.fail(delegated)
    assert (failure.reason, failure.hint) == (Reason.CREDENTIALS, login(delegated))


def test_a_file_that_cannot_be_used_says_why(world: World, delegated: Tenant) -> None:
    """A folder where the file should be, and a file where the folder should be, are faults of the configuration."""
    world.sign_in(delegated)
    path = world.kept()
    path.unlink()
    path.mkdir()
    world.restart()
    mend = "check storage.path: the exporter and `login` must run as one user, who may write there"
    failure = world.fail(delegated)
    assert (failure.reason, failure.hint) == (Reason.CONFIG, mend)
    assert failure.message == f"{delegated.name}: the sign-in's file {path}: Is a directory; {mend}"
    with pytest.raises(ConfigError, match="Is a directory"):
        world.sign_in(delegated)
    world.tokens._folder = world.file("no folder", "") / "storage"
    with pytest.raises(ConfigError, match="Not a directory"):
        world.sign_in(delegated)


def test_without_storage_there_is_no_sign_in(world: World, delegated: Tenant) -> None:
    """A delegated tenant without storage.path says what to set."""
    world.tokens._folder = None
    failure = world.fail(delegated)
    assert failure.reason is Reason.CREDENTIALS
    assert failure.hint == f"set storage.path, then {login(delegated)}"


def test_two_processes_share_a_sign_in(world: World, delegated: Tenant) -> None:
    """Whoever refreshes holds the lock: two that do so at once both get a token, and the file stays whole."""
    world.sign_in(delegated)
    sources = [TokenSource(world.clients, Credentials(), clock=time.time, folder=world.folder) for _ in range(4)]
    errors: list[Exception] = []

    def refresh(source: TokenSource) -> None:
        try:
            source.token(delegated, Deadline(30), fresh=True)
        except ExporterError as error:
            errors.append(error)

    threads = [threading.Thread(target=refresh, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    world.restart()
    world.succeed(delegated)


def test_a_lock_that_is_held_says_so(world: World, delegated: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never gives the lock back is a fault of the configuration that names the lock."""
    clock = Clock()
    monkeypatch.setattr(
        f"{CrossPlatLock.__module__}.time", SimpleNamespace(time=clock, monotonic=clock, sleep=clock.sleep)
    )
    world.sign_in(delegated)
    world.restart()
    path = world.kept()
    with CrossPlatLock(f"{path}.lockfile"):
        failure = world.fail(delegated)
    assert failure.reason is Reason.CONFIG
    assert failure.message.endswith(
        f"another process holds its lock; if none does, a crash left it behind: remove {path}.lockfile"
    )
