"""The login host's refusals, whatever the credential is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.login import (
    EXPIRED_SECRET,
    UNKNOWN_APP,
    UNKNOWN_TENANT,
    WRONG_SECRET,
    Aadsts,
    form_fields,
    refusal,
)
from exporter.simulator.simulator import html
from exporter.simulator.state import Response, json_response
from tests.full_simulator.assertions import WRONG_CERTIFICATE
from tests.full_simulator.devices import BLOCKED
from tests.full_simulator.faults.fault import Fault, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.state import Call


_NO_PRINCIPAL = Aadsts(
    7000229,
    401,
    "invalid_client",
    "The client application {app} is missing service principal in the tenant {tenant}. See instructions here:"
    " https://go.microsoft.com/fwlink/?linkid=2225119",
)
_NO_CONSENT = Aadsts(
    65001,
    400,
    "invalid_grant",
    "The user or administrator has not consented to use the application with ID '{app}'. Send an interactive"
    " authorization request for this user and resource.",
)


def _refused(name: str, error: Aadsts, **words: str) -> Fault:
    def answer(call: Call, _good: Callable[[], Response]) -> Response:
        known = {"app": form_fields(call).get("client_id", ""), "tenant": call.tenant.name if call.tenant else ""}
        return refusal(call, error, **(known | words))

    return Fault(f"token-{name}", Stage.TOKEN, f"AADSTS{error.code}", answer)


def _plain(name: str, summary: str, response: Response) -> Fault:
    return Fault(f"token-{name}", Stage.TOKEN, summary, lambda _call, _good: response)


LOGIN_FAULTS = (
    _refused("wrong-secret", WRONG_SECRET),
    _refused("expired-secret", EXPIRED_SECRET),
    _refused("unknown-app", UNKNOWN_APP),
    _refused("no-principal", _NO_PRINCIPAL),
    _refused("no-consent", _NO_CONSENT),
    _refused("unknown-tenant", UNKNOWN_TENANT),
    _refused("certificate", WRONG_CERTIFICATE, reason="The key was not found.", thumbprint="00"),
    _refused("conditional-access", BLOCKED),
    _plain(
        "429",
        "the login host is throttled",
        json_response(429, {"error": "temporarily_unavailable"}, (("Retry-After", "600"),)),
    ),
    _plain("500", "the login host has failed", json_response(500, {"error": "server_error", "error_description": ""})),
    _plain("503-html", "a gateway's page", html(503, "Service Unavailable")),
    _plain("html", "another page, with success", html(200, "Welcome to the guest network")),
    _plain("empty", "success without content", Response(200, (("Content-Type", "application/json"),))),
    _plain("no-token", "success without a token", json_response(200, {"token_type": "Bearer", "expires_in": 3599})),
)
