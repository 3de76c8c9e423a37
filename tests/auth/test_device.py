"""Sign-ins by device code: from the code to a token, how they are kept, and how they end."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.errors import CredentialsError, Reason
from exporter.log import set_up
from tests.auth.harness import login
from tests.full_simulator import Decision, Fault, Plan, Response, Stage
from tests.http.leaks import said

if TYPE_CHECKING:
    from exporter.auth.device import Code
    from exporter.config import Tenant
    from tests.auth.harness import Harness

APPROVED = Plan(Decision.APPROVED)
BLOCKED = (
    "a Conditional Access policy blocks this sign-in, as many organisations do with device codes: "
    "let an administrator exempt it, or use a certificate, a federated token or a client secret instead"
)


def test_a_sign_in_is_waited_for(harness: Harness, delegated: Tenant) -> None:
    """The code is shown once with its end; between two looks there is the pause that Microsoft asks for."""
    harness.microsoft.poll_interval = 7
    harness.microsoft.plan_sign_in(replace(APPROVED, polls=3))
    shown: list[Code] = []
    waited: list[tuple[float, float]] = []
    token, _ = harness.tokens.sign_in(delegated, show=shown.append, wait=lambda *seconds: waited.append(seconds))
    (code,) = shown
    assert code.address == "https://login.microsoftonline.com/device"
    assert len(code.text) == 9
    assert 890 < code.ends - time.time() <= 900
    assert [pause for pause, _ in waited] == [7, 7, 7]
    assert all(890 < left <= 900 for _, left in waited)
    assert "Reports.Read.All" in (token.permissions or ())


@pytest.mark.parametrize(
    ("decision", "hint", "message"),
    [
        (Decision.DECLINED, "the person declined; to try again, run: ", "AADSTS65004, User declined"),
        (Decision.EXPIRED, "the code expired before it was used; for a new one, run: ", "AADSTS70020"),
        (
            Decision.BLOCKED,
            BLOCKED,
            "AADSTS53003, Access has been blocked by Conditional Access policies",
        ),
    ],
)
def test_a_sign_in_that_comes_to_nothing_says_why(
    harness: Harness, delegated: Tenant, decision: Decision, hint: str, message: str
) -> None:
    """Declined, too late and blocked by Conditional Access are distinguished; nothing is stored."""
    with pytest.raises(CredentialsError) as caught:
        harness.sign_in(delegated, Plan(decision, polls=1))
    said(caught.value)
    assert caught.value.hint.startswith(hint)
    assert message in caught.value.message
    assert list(harness.folder.iterdir()) == []


def test_a_code_that_nobody_uses_ends_by_our_own_clock(harness: Harness, delegated: Tenant) -> None:
    """Where the login host would let us wait for ever, the code's end is the end."""
    harness.tokens._clock = iter([0.0, 100.0, 899.0, 900.0]).__next__
    waited: list[tuple[float, float]] = []
    harness.microsoft.plan_sign_in(Plan(Decision.PENDING))
    with pytest.raises(CredentialsError, match="The code expired before it was used") as caught:
        harness.tokens.sign_in(delegated, show=lambda _code: None, wait=lambda *seconds: waited.append(seconds))
    assert caught.value.hint == f"the code expired before it was used; for a new one, {login(delegated)}"
    assert waited == [(1.0, 800.0), (1.0, 1.0)]


def test_what_passes_does_not_end_a_sign_in(harness: Harness, delegated: Tenant) -> None:
    """A cut connection, a 5xx or a 429 while a person types is waited out; slow_down makes the pauses longer."""
    slow = Fault("slow", Stage.TOKEN, "slow_down", lambda *_: Response(400, (), b'{"error": "slow_down"}'))
    for fault in ("cut", "503", "429", slow):
        harness.microsoft.inject(harness.known, fault, stage=Stage.TOKEN)
    waited: list[float] = []
    harness.microsoft.plan_sign_in(replace(APPROVED, polls=1))  # the one that is cut on its way
    harness.tokens.sign_in(delegated, show=lambda _code: None, wait=lambda pause, _left: waited.append(pause))
    assert waited == [1, 1, 1, 6]


def test_a_tenant_that_is_gone_ends_a_sign_in(harness: Harness, delegated: Tenant) -> None:
    """What does not pass ends the wait, however it is answered."""
    gone = Fault("gone", Stage.TOKEN, "a page", lambda *_: Response(404, (), b"<html>hush"))
    harness.microsoft.inject(harness.known, gone)
    with pytest.raises(CredentialsError, match="404 without giving a reason"):
        harness.sign_in(delegated)


def test_an_app_that_allows_no_device_codes_says_so(harness: Harness, delegated: Tenant) -> None:
    """The app registration's switch is named."""
    body = b'{"error": "invalid_client", "error_codes": [7000218], "error_description": "AADSTS7000218: No. X"}'
    harness.microsoft.inject(harness.known, Fault("confidential", Stage.TOKEN, "", lambda *_: Response(401, (), body)))
    with pytest.raises(CredentialsError) as caught:
        harness.sign_in(delegated)
    assert caught.value.hint == (
        "the app does not allow device codes: in the app registration (Authentication), allow public client flows"
    )


def test_an_unknown_app_is_refused_before_a_code_is_shown(harness: Harness, delegated: Tenant) -> None:
    """Whatever refuses the code itself is an error of the tree."""
    stranger = replace(delegated, client_id="00000000-0000-0000-0000-000000000000")
    with pytest.raises(CredentialsError, match="AADSTS700016"):
        harness.sign_in(stranger)


def test_a_personal_account_is_refused_and_not_kept(harness: Harness, delegated: Tenant) -> None:
    """It can never read the report: it does not drive out a sign-in that can."""
    harness.sign_in(delegated)
    before = harness.kept().read_bytes()
    with pytest.raises(CredentialsError) as caught:
        harness.sign_in(delegated, replace(APPROVED, personal=True))
    assert "a personal Microsoft account signed in" in caught.value.message
    assert caught.value.hint == "sign in with a work or school account of the tenant"
    assert harness.kept().read_bytes() == before


def test_an_account_without_a_role_is_named_at_the_poll(harness: Harness, delegated: Tenant) -> None:
    """Graph's 403 for an account without one of the report's roles names them; the claims only explain."""
    harness.sign_in(delegated, replace(APPROVED, roles=()))
    failure = harness.fail(delegated)
    assert failure.reason is Reason.PERMISSION
    assert "Graph answered 403, Authentication_RequestFromUnsupportedUserRole" in failure.message
    assert failure.hint.startswith(
        "the signed-in account has none of the roles that can read reports: give it one of: Global Administrator, "
    )
    assert failure.hint.endswith("Reports Reader (the last one has the fewest rights); no new sign-in is needed")
    assert harness.calls(Stage.GRAPH) == 1


def test_claims_never_keep_a_poll_from_asking(harness: Harness, delegated: Tenant) -> None:
    """A report that Graph gives is taken, whatever the token says of the account."""
    harness.sign_in(delegated, replace(APPROVED, roles=()))
    header = "Report Refresh Date,Product Type,Assigned,Activated,Shared Computer Activation"
    csv = f"{header}\r\n2026-09-01,PRODUCT,3,2,1\r\n".encode()
    harness.microsoft.inject(harness.known, Fault("given", Stage.GRAPH, "", lambda *_: Response(200, (), csv)))
    assert harness.poll(delegated).failure is None


def test_a_missing_delegated_permission_is_named(harness: Harness, delegated: Tenant) -> None:
    """Where consent is missing, the hint names scp and the address to consent at."""
    harness.microsoft.revoke_consent(harness.known)
    harness.sign_in(delegated)
    failure = harness.fail(delegated)
    assert failure.reason is Reason.PERMISSION
    assert failure.hint == (
        "Reports.Read.All is missing from the token's scp: an administrator of the tenant must open "
        f"https://login.microsoftonline.com/{delegated.tenant_id}/adminconsent?client_id={delegated.client_id}"
    )


def test_msal_is_not_heard_at_debug() -> None:
    """At debug, MSAL logs codes and accounts: whatever our own level, it is heard from warnings on."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        set_up("debug")
        for name in ("msal", "msal.token_cache", "msal_extensions"):
            assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING
    finally:
        root.handlers = handlers
        root.setLevel(level)
