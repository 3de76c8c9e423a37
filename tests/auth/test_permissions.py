"""What tokens tell of the accounts behind them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from exporter.auth.hints import REPORT_ROLES, Token, account_error, advice, consent_url
from exporter.config import Auth
from exporter.config.types import PERSONAL_TENANT
from tests.builders import tenant
from tests.full_simulator import READERS

if TYPE_CHECKING:
    from exporter.config import Tenant

PERMISSION = "Reports.Read.All"
NO_ROLE = "the signed-in account has none of the roles that can read reports"


def delegated() -> Tenant:
    """Return a tenant that a person signs in for."""
    return tenant(auth=Auth.model_validate({"device_code": {}}))


def token(**claims: Any) -> Token:
    """Return a token with these claims."""
    return Token(f"x.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.x", 0)


def test_the_roles_are_those_that_the_simulation_knows() -> None:
    """Both lists were written down from Microsoft's pages, and agree."""
    assert REPORT_ROLES.keys() == READERS


@pytest.mark.parametrize("role", REPORT_ROLES)
def test_each_role_is_enough(role: str) -> None:
    """An account that holds one of the nine roles, among others, is ok."""
    assert account_error(delegated(), {"wids": ["b79fbf4d-3ef9-4689-8143-76b194e85509", role]}) is None


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"tid": PERSONAL_TENANT}, "a personal Microsoft account signed in"),
        ({"tid": PERSONAL_TENANT, "wids": list(REPORT_ROLES)}, "a personal Microsoft account signed in"),
        ({"wids": []}, NO_ROLE),
        ({"wids": ["b79fbf4d-3ef9-4689-8143-76b194e85509", 1, None]}, NO_ROLE),
    ],
)
def test_an_account_that_cannot_read_reports_is_named(claims: dict[str, Any], message: str) -> None:
    """Personal accounts and accounts without a role are recognised by the token."""
    error = account_error(delegated(), claims)
    assert error is not None
    assert error.message.startswith(f"contoso: {message}")
    assert error.hint


@pytest.mark.parametrize("claims", [{}, {"wids": None}, {"wids": "text"}, {"tid": "x"}])
def test_a_token_that_does_not_say_accuses_nobody(claims: dict[str, Any]) -> None:
    """Where roles are not in the token, nothing is known."""
    assert account_error(delegated(), claims) is None


def test_advice_for_an_app() -> None:
    """A missing role of the app is named with the address to consent at; where it is there, no consent is advised."""
    known = tenant()
    assert advice(known, PERMISSION, token(roles=["Other"])) == (
        f"{PERMISSION} is missing from the token's roles: an administrator of the tenant must open {consent_url(known)}"
    )
    assert advice(known, PERMISSION, token(roles=[PERMISSION], wids=[])).startswith(
        f"the token has {PERMISSION}, so no"
    )
    assert advice(known, PERMISSION, Token("opaque", 0)) == ""
    assert advice(known, PERMISSION, None) == ""


def test_advice_for_a_managed_identity() -> None:
    """A managed identity has no consent page: its role is assigned, and no address is given."""
    identity = tenant(client_id="", auth=Auth.model_validate({"managed_identity": {}}))
    said = advice(identity, PERMISSION, token(roles=[]))
    assert (
        said
        == f"{PERMISSION} is missing from the token's roles: assign this app role of Microsoft Graph to the identity"
    )
    assert consent_url(identity) == ""


def test_advice_for_a_person() -> None:
    """What is wrong with the account goes before a missing scope."""
    known = delegated()
    assert advice(known, PERMISSION, token(scp="openid", wids=[])).startswith(f"{NO_ROLE}: give it one of: ")
    reader = ["4a5d8f65-41da-4de4-8968-e035b65339cf"]
    assert "missing from the token's scp" in advice(known, PERMISSION, token(scp="openid", wids=reader))
    assert "no consent is missing" in advice(known, PERMISSION, token(scp=f"openid {PERMISSION}", wids=reader))


def test_the_address_to_consent_at_is_the_clouds() -> None:
    """It names tenant and app, at the login of the tenant's cloud."""
    assert consent_url(tenant(tenant_id="contoso.onmicrosoft.com")) == (
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/adminconsent"
        "?client_id=22222222-2222-2222-2222-222222222222"
    )
