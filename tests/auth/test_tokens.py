"""Tokens: how often they are asked for, how long they are kept, and what they say of themselves."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.auth.credentials import Credentials
from exporter.auth.hints import Token
from exporter.auth.tokens import TokenSource
from exporter.errors import CredentialsError, ExporterError, Reason, ServerError
from exporter.http import Clients, Deadline
from exporter.quota import Budget
from exporter.state import Standing
from tests.auth.kinds import KINDS, prepare
from tests.builders import Clock, simulated
from tests.full_simulator import Fault, Response, Simulator, SimulatorTransport, Stage
from tests.http.leaks import assert_clean, said

if TYPE_CHECKING:
    from tests.auth.harness import Harness


class Virtual:
    """Tokens of simulated tenants, in process, on a clock that moves only when a test moves it."""

    def __init__(self, tenants: int = 1, *, shared_app: bool = False) -> None:
        self.clock = Clock()
        self.simulator = Simulator(tenants=tenants, shared_app=shared_app)
        transport = SimulatorTransport(self.simulator, self.clock, self.clock.sleep)
        self.tokens = TokenSource(Clients(transport=transport), Credentials(), clock=self.clock)
        self.tenants = [simulated(known) for known in self.simulator.tenants]

    def token(self, number: int = 0, *, fresh: bool = False) -> Token:
        """Ask for a tenant's token."""
        return self.tokens.token(self.tenants[number], Deadline(30, self.clock), fresh=fresh)

    def calls(self, stage: Stage = Stage.TOKEN) -> int:
        """Return how often all tenants' hosts were asked."""
        return sum(self.simulator.count(known, stage) for known in self.simulator.tenants)


def test_what_serves_needs_no_temporary_folder() -> None:
    """All that `serve` imports, but for a sign-in by device code, does without a folder for temporary files."""
    code = "import tempfile; tempfile._candidate_tempdir_list = list; import exporter.cli.serve, exporter.microsoft"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_asked_for_once(harness: Harness, kind: str) -> None:
    """Whatever the credential, the second poll uses the first one's token."""
    tenant = prepare(harness, kind, "global")
    before = harness.calls()
    assert harness.succeed(tenant) is harness.succeed(tenant)
    assert harness.calls() - before == 1


def test_a_token_is_renewed_five_minutes_before_it_ends() -> None:
    """No poll goes out with a token that ends under its hands."""
    virtual = Virtual()
    first = virtual.token()
    virtual.clock.sleep(3599 - 301)
    assert virtual.token() is first
    virtual.clock.sleep(2)
    assert virtual.token() is not first
    assert virtual.calls() == 2


def test_discovery_documents_are_kept_for_a_day() -> None:
    """The addresses of a tenant's endpoints are asked for once a day, however many tokens there are."""
    virtual = Virtual()
    for _ in range(23):
        virtual.token()
        virtual.clock.sleep(3600)
    assert (virtual.calls(), virtual.calls(Stage.DISCOVERY)) == (23, 1)
    virtual.clock.sleep(3600)
    virtual.token()
    assert (virtual.calls(), virtual.calls(Stage.DISCOVERY)) == (24, 2)


def test_a_discovery_document_that_leads_to_no_token_is_not_kept() -> None:
    """One that a broken gateway gave is read again at the next poll, and not used for a day."""
    virtual = Virtual()
    wrong = b'{"authorization_endpoint": "https://gateway.example/a", "token_endpoint": "https://gateway.example/t"}'
    broken = Fault("broken", Stage.DISCOVERY, "another's addresses", lambda _call, _good: Response(200, (), wrong))
    virtual.simulator.inject("contoso", broken)
    with pytest.raises(ExporterError):
        virtual.token()
    assert virtual.token().claims["tid"] == virtual.tenants[0].tenant_id


def test_the_discovery_document_of_a_refused_tenant_is_kept() -> None:
    """However often Microsoft refuses a tenant's credential, its addresses are asked for once a day."""
    virtual = Virtual()
    virtual.simulator.inject("contoso", "token-wrong-secret", times=None)
    for _ in range(5):
        with pytest.raises(CredentialsError):
            virtual.token()
    assert (virtual.calls(), virtual.calls(Stage.DISCOVERY)) == (5, 1)


def test_each_tenant_of_a_shared_app_has_its_own_token() -> None:
    """A provider's one app gets a token for each customer, and never one customer's for another."""
    virtual = Virtual(tenants=5, shared_app=True)
    assert len({tenant.client_id for tenant in virtual.tenants}) == 1
    for _ in range(2):
        claims = [virtual.token(number).claims["tid"] for number in range(5)]
        assert claims == [tenant.tenant_id for tenant in virtual.tenants]
    assert virtual.calls() == 5


def test_two_apps_of_one_tenant_have_a_token_each(harness: Harness) -> None:
    """A tenant polled with two apps has two tokens, and neither drives the other out."""
    app = "12345678-1234-4234-8234-123456789abc"
    harness.microsoft.register_app(harness.known, app, "hush, second app")
    one, two = harness.tenant(), harness.tenant({"client_secret": "hush, second app"}, client_id=app)
    tokens = [harness.token(tenant) for tenant in (one, two, one, two)]
    assert [token.claims["appid"] for token in tokens[:2]] == [harness.known.client_id, app]
    assert tokens[:2] == tokens[2:]
    assert harness.calls() == 2


def test_a_revoked_token_costs_exactly_one_new_one(harness: Harness) -> None:
    """After Graph's 401 there is one new token and one more call, and no failed poll."""
    tenant = harness.tenant()
    first = harness.succeed(tenant)
    harness.microsoft.revoke_tokens(harness.known)
    assert harness.succeed(tenant) is not first
    assert (harness.calls(), harness.calls(Stage.GRAPH)) == (2, 3)


def test_a_second_refusal_has_the_reason_credentials(harness: Harness) -> None:
    """Where Graph refuses the new token too, the poll ends: one new token, never more."""
    harness.microsoft.inject(harness.known, "401-expired", times=None)
    failure = harness.fail(harness.tenant())
    harness.microsoft.clear(harness.known)
    assert failure.reason is Reason.CREDENTIALS
    assert failure.message.endswith("with a new token")
    assert (harness.calls(), harness.calls(Stage.GRAPH)) == (2, 2)


def test_consent_is_seen_at_the_next_poll(harness: Harness) -> None:
    """A token without the permission is not used again after the refusal: a grant needs no restart and no waiting."""
    tenant = harness.tenant()
    harness.microsoft.revoke_consent(harness.known)
    outcome = harness.poll(tenant)
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.PERMISSION
    harness.microsoft.grant_consent(harness.known)
    harness.succeed(tenant, Standing().after(outcome))
    assert harness.calls() == 2


def test_a_missing_lifetime_is_an_hour(harness: Harness) -> None:
    """A token without `expires_in` is taken to live for an hour."""
    body = b'{"access_token": "opaque", "token_type": "Bearer"}'
    opaque = Fault("opaque", Stage.TOKEN, "a token of its own kind", lambda _call, _good: Response(200, (), body))
    harness.microsoft.inject(harness.known, opaque)
    token = harness.token(harness.tenant())
    assert 3590 < token.expires_at - harness.server.now() <= 3600
    assert token.claims == {}
    assert token.permissions is None


def test_a_token_that_is_asked_for_too_late_is_a_network_failure(harness: Harness) -> None:
    """A login host that hangs is held to the poll's deadline."""
    harness.microsoft.inject(harness.known, "hang", stage=Stage.TOKEN)
    tenant = harness.tenant()
    failure = harness.fail(replace(tenant, poll=tenant.poll.model_copy(update={"timeout": 0.5})))
    assert failure.reason is Reason.NETWORK
    assert "token host login.microsoftonline.com" in failure.message
    harness.microsoft.clear(harness.known)


def jwt(claims: object) -> Token:
    """Return a token with these claims."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return Token(f"header.{payload}.signature", 0)


@pytest.mark.parametrize(
    ("claims", "permissions"),
    [
        ({"roles": ["Reports.Read.All", "Other"]}, ("Reports.Read.All", "Other")),
        ({"scp": "openid Reports.Read.All"}, ("openid", "Reports.Read.All")),
        ({"aud": "x"}, ()),
        ({"roles": "no list", "scp": ["no", "text"]}, ()),
        ({}, None),
        ([], None),
    ],
)
def test_what_a_token_permits(claims: object, permissions: tuple[str, ...] | None) -> None:
    """Roles of an app and scopes of a person are read from the token; None where it cannot be read."""
    assert jwt(claims).permissions == permissions


@given(st.text())
def test_any_token_can_be_looked_at(value: str) -> None:
    """A token in no known form has no claims, and that is all."""
    assert isinstance(Token(value, 0).claims, dict)


def test_a_token_hides_itself(harness: Harness) -> None:
    """The repr of a token shows when it ends, and nothing else."""
    assert_clean(repr(harness.token(harness.tenant())))


def test_a_refusal_without_budget_has_the_reason_credentials(harness: Harness) -> None:
    """A 401 with the last call of the budget ends the poll without a second one."""
    budget = Budget(harness.server.now)
    harness.poller._budget = budget
    tenant = harness.tenant()
    for _ in range(6):
        harness.succeed(tenant)
    harness.microsoft.revoke_tokens(harness.known)
    assert harness.fail(tenant).reason is Reason.CREDENTIALS


def test_an_answer_that_msal_cannot_read_has_the_reason_server() -> None:
    """An error of MSAL's own is an error of the tree, without MSAL's words."""
    virtual = Virtual()
    bad = Fault(
        "bad", Stage.TOKEN, "no number", lambda _c, _g: Response(200, (), b'{"access_token": "hush", "expires_in": []}')
    )
    virtual.simulator.inject("contoso", bad)
    with pytest.raises(ServerError) as caught:
        virtual.token()
    assert "not a valid OAuth answer" in said(caught.value)
