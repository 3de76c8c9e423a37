"""Microsoft's own library for tokens gets them from the simulation over TLS, by every kind of credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msal
import pytest
import requests

from tests.full_simulator import Decision, Federation, Plan, federated_assertion, read_claims
from tests.simulator.plain import error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.full_simulator import Simulator, SimulatorServer
    from tests.simulator.certificates import Pair
    from tests.simulator.plain import Clock, Plain

FEDERATION = Federation("https://oidc.example.net/cluster", "system:serviceaccount:monitoring:exporter")


@pytest.fixture
def session(server: SimulatorServer) -> Iterator[requests.Session]:
    """Return a session of requests, msal's default client, that trusts the server."""
    with requests.Session() as made:
        made.trust_env = False
        made.verify = str(server.ca_file)
        yield made


def confidential(over_tls: Plain, session: requests.Session, credential: object) -> dict[str, Any]:
    """Return what a confidential client of msal gets."""
    app = msal.ConfidentialClientApplication(
        over_tls.tenant.client_id,
        client_credential=credential,
        authority=f"{over_tls.cloud.login}/{over_tls.tenant.domain}",
        instance_discovery=False,
        http_client=session,
    )
    result: dict[str, Any] = app.acquire_token_for_client([f"{over_tls.cloud.graph}/.default"])
    return result


def sign_in(
    over_tls: Plain, session: requests.Session, simulator: Simulator, plan: Plan
) -> tuple[msal.PublicClientApplication, dict[str, Any]]:
    """Return a public client of msal, and what it gets by a device code when the user does as planned."""
    simulator.poll_interval = 0
    simulator.plan_sign_in(plan)
    app = msal.PublicClientApplication(
        over_tls.tenant.client_id,
        authority=f"{over_tls.cloud.login}/{over_tls.tenant.tenant_id}",
        instance_discovery=False,
        http_client=session,
    )
    flow = app.initiate_device_flow([f"{over_tls.cloud.graph}/Reports.Read.All"])
    assert flow["user_code"] in flow["message"]
    return app, app.acquire_token_by_device_flow(flow)


def test_a_client_secret(over_tls: Plain, session: requests.Session) -> None:
    """A secret gets a token that reads the report."""
    result = confidential(over_tls, session, over_tls.tenant.secret)
    assert over_tls.csv(result["access_token"]).status_code == 200


def test_a_wrong_secret(over_tls: Plain, session: requests.Session) -> None:
    """A wrong secret is the error that msal hands on."""
    result = confidential(over_tls, session, "wrong")
    assert (result["error"], result["error_codes"]) == ("invalid_client", [7000215])


@pytest.mark.parametrize("form", ["key object", "PEM", "PEM with SHA-1"])
def test_a_certificate(
    over_tls: Plain, session: requests.Session, server: SimulatorServer, pair: Pair, form: str
) -> None:
    """A certificate's key, in every form that msal takes, gets a token that reads the report."""
    server.simulator.register_certificate(over_tls.tenant, pair.certificate)
    forms: dict[str, dict[str, Any]] = {
        "key object": {
            "private_key": pair.private,
            "thumbprint": None,
            "public_certificate": pair.certificate.decode(),
        },
        "PEM": {"private_key": pair.key.decode(), "public_certificate": pair.certificate.decode()},
        "PEM with SHA-1": {"private_key": pair.key.decode(), "thumbprint": pair.sha1},
    }
    result = confidential(over_tls, session, forms[form])
    assert over_tls.csv(result["access_token"]).status_code == 200


def test_a_certificate_that_is_not_registered(over_tls: Plain, session: requests.Session, pair: Pair) -> None:
    """An unregistered certificate is 700027."""
    credential = {"private_key": pair.key.decode(), "public_certificate": pair.certificate.decode()}
    assert confidential(over_tls, session, credential)["error_codes"] == [700027]


def test_a_federated_token(over_tls: Plain, session: requests.Session, server: SimulatorServer) -> None:
    """A token of a trusted issuer gets a token that reads the report."""
    server.simulator.register_federation(over_tls.tenant, FEDERATION)
    made = federated_assertion(FEDERATION, server.now())
    result = confidential(over_tls, session, {"client_assertion": lambda: made})
    assert over_tls.csv(result["access_token"]).status_code == 200


def test_a_device_code_and_its_refresh_token(over_tls: Plain, session: requests.Session, simulator: Simulator) -> None:
    """A person approves after two polls; the token reads the report, and is refreshed silently until it is revoked."""
    app, result = sign_in(over_tls, session, simulator, Plan(Decision.APPROVED, polls=2))
    claims = read_claims(result["access_token"])
    assert "Reports.Read.All" in claims["scp"].split()
    assert "4a5d8f65-41da-4de4-8968-e035b65339cf" in claims["wids"]
    assert over_tls.csv(result["access_token"]).status_code == 200
    (account,) = app.get_accounts()
    assert account["username"] == f"reader@{over_tls.tenant.domain}"
    scopes = [f"{over_tls.cloud.graph}/Reports.Read.All"]
    renewed = app.acquire_token_silent(scopes, account, force_refresh=True)
    assert renewed["access_token"] != result["access_token"]
    assert over_tls.csv(renewed["access_token"]).status_code == 200
    simulator.revoke_tokens(over_tls.tenant)
    refused = app.acquire_token_silent_with_error(scopes, account, force_refresh=True)
    assert (refused["error"], refused["error_codes"]) == ("invalid_grant", [50173])


@pytest.mark.parametrize(
    ("decision", "name", "code"),
    [
        (Decision.DECLINED, "authorization_declined", 65004),
        (Decision.EXPIRED, "expired_token", 70020),
        (Decision.BLOCKED, "invalid_grant", 53003),
    ],
)
def test_a_sign_in_that_comes_to_nothing(
    *, over_tls: Plain, session: requests.Session, simulator: Simulator, decision: Decision, name: str, code: int
) -> None:
    """Declined, expired and blocked by Conditional Access are distinguished."""
    _, result = sign_in(over_tls, session, simulator, Plan(decision, polls=1))
    assert (result["error"], result["error_codes"]) == (name, [code])


def test_a_device_code_lives_for_fifteen_minutes(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """A code that was never used is pending, then expired, then unknown."""
    flow = plain.post("devicecode", client_id=plain.tenant.client_id, scope="openid offline_access").json()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": flow["device_code"]}
    seen = []
    for seconds in (0, 899, 1, 0):
        clock.sleep(seconds)
        seen.append(plain.post("token", client_id=plain.tenant.client_id, **form).json()["error"])
    assert seen == ["authorization_pending", "authorization_pending", "expired_token", "invalid_grant"]


@pytest.mark.parametrize(
    "plan",
    [Plan(Decision.APPROVED, roles=()), Plan(Decision.APPROVED, personal=True)],
    ids=["without a role", "personal account"],
)
def test_not_everybody_may_read_reports(
    over_tls: Plain, session: requests.Session, simulator: Simulator, plan: Plan
) -> None:
    """A user without one of the report's roles, and a personal account, get a token that Graph refuses."""
    _, result = sign_in(over_tls, session, simulator, plan)
    token = result["access_token"]
    assert over_tls.graph(token).status_code == 403
    if plan.personal:
        assert read_claims(token)["tid"] == "9188040d-6c67-4c5b-b112-36a304b66dad"


def test_a_person_cannot_give_what_the_tenant_did_not(
    over_tls: Plain, session: requests.Session, simulator: Simulator
) -> None:
    """Without consent a delegated token lacks the scope, and Graph refuses it."""
    simulator.set_scenario(over_tls.tenant, "no-consent")
    _, result = sign_in(over_tls, session, simulator, Plan(Decision.APPROVED))
    answer = over_tls.graph(result["access_token"])
    assert (answer.status_code, error(answer)["message"]) == (403, "Invalid scope claims/roles.")


@pytest.mark.parametrize("user_assigned", [False, True])
@pytest.mark.parametrize("service", ["IMDS", "App Service"])
def test_a_managed_identity(
    *,
    over_tls: Plain,
    session: requests.Session,
    server: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    user_assigned: bool,
    service: str,
) -> None:
    """The machine's identity, and one of the user's, get a token that reads the report from both services."""
    server.simulator.system_identity = over_tls.tenant.tenant_id
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.identity)
    if service == "App Service":
        for name, value in server.identity_environment.items():
            monkeypatch.setenv(name, value)
    kind = msal.UserAssignedManagedIdentity(client_id=over_tls.tenant.client_id)
    client = msal.ManagedIdentityClient(
        kind if user_assigned else msal.SystemAssignedManagedIdentity(), http_client=session
    )
    result = client.acquire_token_for_client(resource=over_tls.cloud.graph)
    assert over_tls.csv(result["access_token"]).status_code == 200


def test_an_unknown_managed_identity(
    over_tls: Plain, session: requests.Session, server: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity that was never assigned is not found."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.identity)
    identity = msal.UserAssignedManagedIdentity(client_id="00000000-0000-0000-0000-000000000000")
    client = msal.ManagedIdentityClient(identity, http_client=session)
    result = client.acquire_token_for_client(resource=over_tls.cloud.graph)
    assert result["error_description"] == "Identity not found"


def test_managed_identities_want_their_headers(over_tls: Plain, server: SimulatorServer) -> None:
    """IMDS insists on `Metadata: true`, App Service on its own header."""
    query = {"resource": over_tls.cloud.graph}
    imds = f"{server.identity}/metadata/identity/oauth2/token"
    assert over_tls.client.get(imds, params=query).status_code == 400
    assert over_tls.client.get(imds, params=query, headers={"Metadata": "true"}).status_code == 200
    service = server.identity_environment["IDENTITY_ENDPOINT"]
    assert over_tls.client.get(service, params=query, headers={"X-IDENTITY-HEADER": "wrong"}).status_code == 401
    right = {"X-IDENTITY-HEADER": server.identity_environment["IDENTITY_HEADER"]}
    assert over_tls.client.get(service, params=query, headers=right).status_code == 200
    unknown = query | {"client_id": "nobody"}
    assert over_tls.client.get(service, params=unknown, headers=right).json()["statusCode"] == 400
    elsewhere = {"resource": "https://vault.azure.net"}
    assert over_tls.client.get(service, params=elsewhere, headers=right).status_code == 500
