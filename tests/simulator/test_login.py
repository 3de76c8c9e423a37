"""The login host's answers, good and bad, in Microsoft's shape."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.full_simulator import CLOUDS, Federation, Simulator, federated_assertion, read_claims
from tests.simulator.certificates import Pair, assertion, make_pair
from tests.simulator.plain import Clock, Plain, in_process

if TYPE_CHECKING:
    import httpx

FEDERATION = Federation("https://oidc.example.net/cluster", "system:serviceaccount:monitoring:exporter")
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def assert_aadsts(answer: httpx.Response, code: int, status: int, name: str) -> None:
    """Hold an answer against the shape of every error of the token endpoint."""
    document = answer.json()
    assert (answer.status_code, document["error"], document["error_codes"]) == (status, name, [code])
    assert document["error_description"].startswith(f"AADSTS{code}: ")
    for key in ("trace_id", "correlation_id"):
        assert re.fullmatch(r"[0-9a-f-]{36}", document[key])
        assert document[key] in document["error_description"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", document["timestamp"])
    assert document["error_uri"].endswith(f"/error?code={code}")
    assert "{" not in document["error_description"]


def ask_with(plain: Plain, token: str) -> httpx.Response:
    """Return the token endpoint's answer to an assertion."""
    return plain.ask_token(client_secret="", client_assertion=token, client_assertion_type=JWT_BEARER)


def signed(plain: Plain, pair: Pair, now: float, *, path: str = "", **how: str) -> str:
    """Return an assertion for the tenant's token endpoint, or for another path of the login host."""
    audience = f"{plain.cloud.login}/{path or f'{plain.tenant.tenant_id}/oauth2/v2.0/token'}"
    return assertion(pair, plain.tenant.client_id, audience, now, **how)


def test_an_application_token_says_who_may_do_what(plain: Plain, clock: Clock) -> None:
    """The access token is a JWT with tid, appid, aud, exp and roles."""
    answer = plain.ask_token().json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    claims = read_claims(answer["access_token"])
    assert claims["tid"] == plain.tenant.tenant_id
    assert claims["appid"] == plain.tenant.client_id
    assert claims["aud"] == "https://graph.microsoft.com"
    assert claims["exp"] == int(clock()) + 3599
    assert claims["roles"] == ["Reports.Read.All"]
    assert "scp" not in claims


@pytest.mark.parametrize("cloud", sorted(CLOUDS))
def test_discovery_names_the_clouds_own_addresses(simulator: Simulator, clock: Clock, cloud: str) -> None:
    """The OpenID configuration points at the tenant by id, also where it was asked by domain."""
    plain = in_process(simulator, clock, cloud)
    url = f"{plain.cloud.login}/{plain.tenant.domain}/v2.0/.well-known/openid-configuration"
    document = plain.client.get(url).json()
    base = f"{plain.cloud.login}/{plain.tenant.tenant_id}"
    assert document["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert document["device_authorization_endpoint"] == f"{base}/oauth2/v2.0/devicecode"
    assert document["issuer"] == f"{base}/v2.0"


def test_the_tenant_may_be_named_by_domain(plain: Plain) -> None:
    """A domain in the path is as good as the id, in any case of letters."""
    answer = plain.ask_token(tenant="Contoso.OnMicrosoft.com")
    assert read_claims(answer.json()["access_token"])["tid"] == plain.tenant.tenant_id


@pytest.mark.parametrize(
    ("form", "code", "status", "name"),
    [
        ({"client_secret": "wrong"}, 7000215, 401, "invalid_client"),
        ({"client_secret": ""}, 7000218, 401, "invalid_client"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, 700016, 400, "unauthorized_client"),
        ({"client_id": ""}, 900144, 400, "invalid_request"),
        ({"tenant": "nobody.example.net"}, 90002, 400, "invalid_request"),
        ({"grant_type": "password"}, 70003, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 900144, 400, "invalid_request"),
        ({"scope": ""}, 900144, 400, "invalid_request"),
        ({"scope": "https://graph.microsoft.com/Reports.Read.All"}, 1002012, 400, "invalid_scope"),
        ({"scope": "https://graph.microsoft.us/.default"}, 500011, 400, "invalid_resource"),
        ({"client_secret": "", "client_assertion": "nonsense"}, 5002723, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, 70000, 400, "invalid_grant"),
        ({"grant_type": "device_code", "device_code": "nonsense"}, 70000, 400, "invalid_grant"),
    ],
)
def test_each_refusal_has_its_number(plain: Plain, form: dict[str, str], code: int, status: int, name: str) -> None:
    """The token endpoint's errors are distinguished as at Microsoft."""
    assert_aadsts(plain.ask_token(**form), code, status, name)


def test_an_unknown_tenant_has_no_discovery(plain: Plain) -> None:
    """Discovery of an unknown tenant is a 400, too."""
    answer = plain.client.get(f"{plain.cloud.login}/nobody/v2.0/.well-known/openid-configuration")
    assert_aadsts(answer, 90002, 400, "invalid_request")


def test_other_paths_are_not_there(plain: Plain) -> None:
    """What MSAL does not need is 404."""
    assert plain.client.get(f"{plain.cloud.login}/common/userrealm/somebody").status_code == 404


def test_another_tenants_app_is_unknown(plain: Plain, simulator: Simulator) -> None:
    """An app is known only in the tenants that registered it."""
    other = simulator.tenants[1]
    assert_aadsts(
        plain.ask_token(client_id=other.client_id, client_secret=other.secret), 700016, 400, "unauthorized_client"
    )


def test_a_secret_expires_and_is_replaced(plain: Plain, simulator: Simulator) -> None:
    """An expired secret is 7000222, a new one is taken, the old one is then wrong."""
    simulator.expire_secret(plain.tenant)
    assert_aadsts(plain.ask_token(), 7000222, 401, "invalid_client")
    simulator.set_secret(plain.tenant, "fresh")
    assert plain.ask_token(client_secret="fresh").status_code == 200
    assert_aadsts(plain.ask_token(), 7000215, 401, "invalid_client")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize("thumbprint", ["x5t", "x5t#S256"])
@pytest.mark.parametrize("audience", ["{id}/oauth2/v2.0/token", "{domain}/oauth2/v2.0/token", "{id}/v2.0"])
def test_a_registered_certificate_is_as_good_as_a_secret(
    *, plain: Plain, simulator: Simulator, clock: Clock, pair: Pair, algorithm: str, thumbprint: str, audience: str
) -> None:
    """Both algorithms, both thumbprints and every spelling of the audience are taken."""
    simulator.register_certificate(plain.tenant, pair.certificate)
    path = audience.format(id=plain.tenant.tenant_id, domain=plain.tenant.domain)
    token = signed(plain, pair, clock(), path=path, algorithm=algorithm, thumbprint=thumbprint)
    assert ask_with(plain, token).status_code == 200


def test_a_certificate_that_is_not_registered_is_refused(plain: Plain, clock: Clock, pair: Pair) -> None:
    """700027 names the thumbprint."""
    answer = ask_with(plain, signed(plain, pair, clock()))
    assert_aadsts(answer, 700027, 401, "invalid_client")
    assert f"'{pair.thumbprint}'" in answer.json()["error_description"]


def test_a_signature_is_checked(plain: Plain, simulator: Simulator, clock: Clock, pair: Pair) -> None:
    """An assertion that another key signed under the registered thumbprint is refused."""
    simulator.register_certificate(plain.tenant, pair.certificate)
    answer = ask_with(plain, signed(plain, pair, clock())[:-8] + "AAAAAAAA")
    assert_aadsts(answer, 700027, 401, "invalid_client")
    assert "signature failed" in answer.json()["error_description"]


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_an_algorithm_of_the_senders_choice_is_not_taken(
    plain: Plain, simulator: Simulator, clock: Clock, pair: Pair, algorithm: str
) -> None:
    """An assertion that says it is signed by nothing, or by something else, is refused."""
    simulator.register_certificate(plain.tenant, pair.certificate)
    answer = ask_with(plain, signed(plain, pair, clock(), algorithm=algorithm))
    assert_aadsts(answer, 700027, 401, "invalid_client")


def test_an_expired_certificate_is_refused(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """A registered certificate past its end is 700027, with that reason."""
    old = make_pair(until=datetime.fromtimestamp(clock(), UTC) - timedelta(days=1))
    simulator.register_certificate(plain.tenant, old.certificate)
    answer = ask_with(plain, signed(plain, old, clock()))
    assert_aadsts(answer, 700027, 401, "invalid_client")
    assert "expired" in answer.json()["error_description"]


@pytest.mark.parametrize(("late", "code"), [(0, None), (800, None), (1000, 700024), (-1000, 700024)])
def test_an_assertion_has_its_time(
    *, plain: Plain, simulator: Simulator, clock: Clock, pair: Pair, late: float, code: int | None
) -> None:
    """An assertion of ten minutes is taken until five minutes after its end, and not before its start."""
    simulator.register_certificate(plain.tenant, pair.certificate)
    answer = ask_with(plain, signed(plain, pair, clock() - late))
    if code is None:
        assert answer.status_code == 200
    else:
        assert_aadsts(answer, code, 401, "invalid_client")


def test_an_assertion_for_somebody_else_is_refused(
    plain: Plain, simulator: Simulator, clock: Clock, pair: Pair
) -> None:
    """The audience must be this tenant's endpoint."""
    simulator.register_certificate(plain.tenant, pair.certificate)
    elsewhere = f"{simulator.tenants[1].tenant_id}/oauth2/v2.0/token"
    answer = ask_with(plain, signed(plain, pair, clock(), path=elsewhere))
    assert_aadsts(answer, 700023, 401, "invalid_client")


def test_a_federated_token_is_as_good_as_a_secret(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """A token of a registered issuer for a registered subject is taken."""
    simulator.register_federation(plain.tenant, FEDERATION)
    assert ask_with(plain, federated_assertion(FEDERATION, clock())).status_code == 200


@pytest.mark.parametrize(
    ("federation", "code"),
    [
        (Federation("https://elsewhere.example.net", FEDERATION.subject), 700211),
        (Federation(FEDERATION.issuer, FEDERATION.subject, "api://elsewhere"), 700212),
        (Federation(FEDERATION.issuer, "system:serviceaccount:default:default"), 700213),
    ],
)
def test_a_federated_token_must_fit(
    plain: Plain, simulator: Simulator, clock: Clock, federation: Federation, code: int
) -> None:
    """Another issuer, subject or audience each have their number."""
    simulator.register_federation(plain.tenant, FEDERATION)
    assert_aadsts(ask_with(plain, federated_assertion(federation, clock())), code, 401, "invalid_client")


def test_an_old_federated_token_is_refused(plain: Plain, simulator: Simulator, clock: Clock) -> None:
    """A token whose hour is over is 700024."""
    simulator.register_federation(plain.tenant, FEDERATION)
    token = federated_assertion(FEDERATION, clock())
    clock.sleep(4000)
    assert_aadsts(ask_with(plain, token), 700024, 401, "invalid_client")
