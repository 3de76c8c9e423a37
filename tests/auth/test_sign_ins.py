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

from exporter.auth.credentials import Credentials
from exporter.auth.tokens import TokenSource
from exporter.errors import ConfigError, ExporterError, Reason
from exporter.http import Deadline
from exporter.state import Standing
from tests.auth.harness import login
from tests.builders import Clock
from tests.full_simulator import Decision, Fault, Plan, Response, Stage

if TYPE_CHECKING:
    from exporter.config import Tenant
    from tests.auth.harness import Harness

APPROVED = Plan(Decision.APPROVED)


def test_a_sign_in_outlives_the_process(harness: Harness, delegated: Tenant) -> None:
    """Another process with the same storage reads the report, and refreshes the token silently."""
    harness.sign_in(delegated)
    harness.restart()
    first = harness.succeed(delegated)
    harness.microsoft.revoke_consent(harness.known)  # only a new token shows it
    harness.microsoft.grant_consent(harness.known)
    assert harness.token(delegated, fresh=True) is not first


def test_a_running_poller_picks_a_sign_in_up(harness: Harness, delegated: Tenant) -> None:
    """A poll before the sign-in says which command to run; the one after it reads the report."""
    outcome = harness.poll(delegated)
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.hint) == (Reason.CREDENTIALS, login(delegated))
    assert "no sign-in is stored" in outcome.failure.message
    assert list(harness.folder.iterdir()) == []
    other = TokenSource(harness.clients, Credentials(), clock=time.time, folder=harness.folder)
    harness.microsoft.plan_sign_in(APPROVED)
    other.sign_in(delegated, show=lambda _code: None, wait=lambda *_: None)
    harness.succeed(delegated, Standing().after(outcome))


def test_a_sign_in_is_for_its_owner_only(harness: Harness, delegated: Tenant) -> None:
    """The file is 0600 whatever the umask, also after a refresh, its folder 0700, and how it is kept is said."""
    harness.tokens._folder = folder = harness.folder / "storage"
    mask = os.umask(0)
    try:
        _, protection = harness.sign_in(delegated)
        modes = [stat.S_IMODE(folder.stat().st_mode)]
        (path,) = folder.glob("*.bin")
        modes.append(stat.S_IMODE(path.stat().st_mode))
        before = path.read_bytes()
        harness.token(delegated, fresh=True)
        modes.append(stat.S_IMODE(path.stat().st_mode))
    finally:
        os.umask(mask)
    assert modes == [0o700, 0o600, 0o600]
    assert path.read_bytes() != before
    assert [each.name for each in folder.iterdir()] == [path.name]
    assert protection == f"in {path}, not encrypted, readable by its owner only (0600)"


def test_a_platform_that_can_encrypt_does(harness: Harness, delegated: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where msal-extensions finds a key store, that is used, and said."""

    class KeyStore(FilePersistence):  # type: ignore[misc]  # msal-extensions has no types
        is_encrypted = True

    monkeypatch.setattr("exporter.auth.device.build_encrypted_persistence", KeyStore)
    assert harness.sign_in(delegated)[1] == "encrypted by this platform's key store"
    harness.restart()
    harness.succeed(delegated)


def test_each_tenant_has_a_file_of_its_own(harness: Harness, delegated: Tenant) -> None:
    """Login host and tenant name the file; the custom cloud's port is part of it."""
    harness.sign_in(delegated)
    harness.sign_in(replace(delegated, cloud=harness.cloud("custom")))
    port = harness.server.cloud.login.rpartition(":")[2]
    assert {path.name for path in harness.folder.iterdir()} == {
        f"sign-in-login.microsoftonline.com-{harness.known.tenant_id}.bin",
        f"sign-in-localhost_{port}-{harness.known.tenant_id}.bin",
    }


def test_a_new_sign_in_replaces_the_former(harness: Harness, delegated: Tenant) -> None:
    """The last account that signed in is used: the one before is forgotten."""
    harness.sign_in(delegated, replace(APPROVED, roles=()))
    harness.sign_in(delegated)
    assert len(json.loads(harness.kept().read_text(encoding="utf-8"))["Account"]) == 1
    harness.restart()
    harness.succeed(delegated)


def test_a_revoked_sign_in_says_which_command_to_run(harness: Harness, delegated: Tenant) -> None:
    """A refresh token that Microsoft takes no more is an error of the credential, at this poll and at the next ones."""
    harness.sign_in(delegated)
    harness.restart()
    harness.microsoft.revoke_tokens(harness.known)
    failures = [harness.fail(delegated) for _ in range(2)]
    assert [failure.reason for failure in failures] == [Reason.CREDENTIALS] * 2
    assert failures[0].hint == f"the account's password or sessions were reset since it signed in; {login(delegated)}"
    assert "AADSTS50173" in failures[0].message
    harness.sign_in(delegated)
    harness.succeed(delegated)


def test_a_refresh_token_that_ended_says_which_command_to_run(harness: Harness, delegated: Tenant) -> None:
    """What was not used for too long is distinguished from what was revoked."""
    harness.sign_in(delegated)
    harness.restart()
    body = {"error": "invalid_grant", "error_description": "AADSTS700082: Unused for too long. Trace ID: 1"}
    ended = Fault("ended", Stage.TOKEN, "unused", lambda *_: Response(400, (), json.dumps(body).encode()))
    harness.microsoft.inject(harness.known, ended)
    assert harness.fail(delegated).hint == f"the sign-in was not used for too long; {login(delegated)}"


def test_a_sign_in_without_its_refresh_token_is_worth_nothing(harness: Harness, delegated: Tenant) -> None:
    """An account whose refresh token is gone, as after a sign-out, is no sign-in, and the fix is the same."""
    harness.sign_in(delegated)
    harness.restart()
    document = json.loads(harness.kept().read_text(encoding="utf-8"))
    harness.kept().write_text(json.dumps(document | {"RefreshToken": {}, "AccessToken": {}}), encoding="utf-8")
    failure = harness.fail(delegated)
    assert failure.message.endswith("the stored sign-in is no longer valid")
    assert failure.hint == login(delegated)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"Account": 1}', b"\xff\xfe", b'{"Account": {}}'])
def test_a_file_that_holds_no_sign_in_says_which_command_to_run(
    harness: Harness, delegated: Tenant, content: bytes
) -> None:
    """Empty, broken and foreign files are the credential's fault, at once."""
    harness.sign_in(delegated)
    harness.kept().write_bytes(content)
    harness.restart()
    failure = harness.fail(delegated)
    assert (failure.reason, failure.hint) == (Reason.CREDENTIALS, login(delegated))


def test_a_file_that_cannot_be_used_says_why(harness: Harness, delegated: Tenant) -> None:
    """A folder where the file should be, and a file where the folder should be, are configuration errors."""
    harness.sign_in(delegated)
    path = harness.kept()
    path.unlink()
    path.mkdir()
    harness.restart()
    fix = "check storage.path: the exporter and `login` must run as the same user, with write access there"
    failure = harness.fail(delegated)
    assert (failure.reason, failure.hint) == (Reason.CONFIG, fix)
    assert failure.message == f"{delegated.name}: the sign-in's file {path}: Is a directory"
    with pytest.raises(ConfigError, match="Is a directory"):
        harness.sign_in(delegated)
    harness.tokens._folder = harness.file("no folder", "") / "storage"
    with pytest.raises(ConfigError, match="Not a directory"):
        harness.sign_in(delegated)


def test_without_storage_there_is_no_sign_in(harness: Harness, delegated: Tenant) -> None:
    """A delegated tenant without storage.path says what to set."""
    harness.tokens._folder = None
    failure = harness.fail(delegated)
    assert failure.reason is Reason.CREDENTIALS
    assert failure.hint == f"set storage.path, then {login(delegated)}"


def test_two_processes_share_a_sign_in(harness: Harness, delegated: Tenant) -> None:
    """A refresh holds the lock: two at once both get a token, and the file is never half written."""
    harness.sign_in(delegated)
    sources = [TokenSource(harness.clients, Credentials(), clock=time.time, folder=harness.folder) for _ in range(4)]
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
    harness.restart()
    harness.succeed(delegated)


def test_a_lock_that_is_held_says_so(harness: Harness, delegated: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never gives the lock back is a configuration error that names the lock."""
    clock = Clock()
    monkeypatch.setattr(
        f"{CrossPlatLock.__module__}.time", SimpleNamespace(time=clock, monotonic=clock, sleep=clock.sleep)
    )
    harness.sign_in(delegated)
    harness.restart()
    path = harness.kept()
    with CrossPlatLock(f"{path}.lockfile"):
        failure = harness.fail(delegated)
    assert failure.reason is Reason.CONFIG
    assert failure.message.endswith("another process holds its lock")
    assert failure.hint == f"if none does, a crash left it behind: remove {path}.lockfile"
