"""The login host's refusals, whatever the credential is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.aadsts import refusal
from exporter.simulator.faults.fault import Fault
from exporter.simulator.faults.refusals import html
from exporter.simulator.messages import Response, Stage, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.call import Call


def _refused(name: str, summary: str, code: int, **words: str) -> Fault:
    def answer(call: Call, _good: Callable[[], Response]) -> Response:
        known = {"app": call.form().get("client_id", ""), "tenant": call.tenant.name if call.tenant else ""}
        return refusal(call, code, **(known | words))

    return Fault(f"token-{name}", Stage.TOKEN, summary, answer)


def _plain(name: str, summary: str, response: Response) -> Fault:
    return Fault(f"token-{name}", Stage.TOKEN, summary, lambda _call, _good: response)


LOGIN_FAULTS = (
    _refused("wrong-secret", "AADSTS7000215", 7000215),
    _refused("expired-secret", "AADSTS7000222", 7000222),
    _refused("unknown-app", "AADSTS700016", 700016),
    _refused("no-principal", "AADSTS7000229", 7000229),
    _refused("no-consent", "AADSTS65001", 65001),
    _refused("unknown-tenant", "AADSTS90002", 90002),
    _refused("certificate", "AADSTS700027", 700027, reason="The key was not found.", thumbprint="00"),
    _refused("conditional-access", "AADSTS53003", 53003),
    _plain(
        "429",
        "the login host is throttled",
        json_response(429, {"error": "temporarily_unavailable"}, (("Retry-After", "600"),)),
    ),
    _plain("500", "the login host has failed", json_response(500, {"error": "server_error", "error_description": ""})),
    _plain("503-html", "a gateway's page", html(503, "Service Unavailable")),
    _plain("html", "somebody else's page, with success", html(200, "Welcome to the guest network")),
    _plain("empty", "success without content", Response(200, (("Content-Type", "application/json"),))),
    _plain("no-token", "success without a token", json_response(200, {"token_type": "Bearer", "expires_in": 3599})),
)
