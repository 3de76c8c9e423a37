"""Managed identities: what goes wrong inside Azure, and outside of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.errors import Reason
from tests.full_simulator import Fault, Response, Stage
from tests.http.servers import answering, serving

if TYPE_CHECKING:
    import socket

    from exporter.config import Tenant
    from tests.auth.harness import Harness

UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"
ASSIGN = (
    "assign the identity to this machine or app; set auth.managed_identity.client_id for a user-assigned identity, "
    "leave it out for the system-assigned one"
)
ELSEWHERE = (
    "managed identities are available inside Azure only, and to pods only where the network allows it: "
    "elsewhere, use a certificate, a federated token or a client secret"
)


def identity(harness: Harness, client_id: str = "") -> Tenant:
    """Return the tenant polled by a managed identity, the machine's own where none is named."""
    chosen = {"client_id": client_id} if client_id else {}
    return harness.tenant({"managed_identity": chosen}, client_id=client_id)


@pytest.mark.parametrize(
    ("app_service", "message"),
    [
        (False, f"the managed identity returned no token (identity {UNKNOWN_ID}): Identity not found"),
        (
            True,
            f"the managed identity returned no token (identity {UNKNOWN_ID}): 400, No User Assigned or Delegated",
        ),
    ],
    ids=["IMDS", "App Service"],
)
def test_an_identity_that_nobody_assigned_says_so(harness: Harness, *, app_service: bool, message: str) -> None:
    """An unknown identity is a credentials error, with the fix."""
    harness.give_identity(app_service=app_service)
    failure = harness.fail(identity(harness, UNKNOWN_ID))
    assert (failure.reason, failure.hint) == (Reason.CREDENTIALS, ASSIGN)
    assert failure.message.startswith(f"{harness.known.name}: {message}")


def test_a_machine_without_an_identity_of_its_own_says_so(harness: Harness) -> None:
    """Where no system-assigned identity is, the message says which was asked for."""
    harness.give_identity()
    harness.microsoft.system_identity = UNKNOWN_ID
    failure = harness.fail(identity(harness))
    assert (failure.reason, failure.hint) == (Reason.CREDENTIALS, ASSIGN)
    assert "(system-assigned identity): Identity not found" in failure.message


def test_a_wrong_header_of_app_service_says_so(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that does not know this app is an error of the credential."""
    harness.give_identity(app_service=True)
    monkeypatch.setenv("IDENTITY_HEADER", "hush, wrong")
    failure = harness.fail(identity(harness))
    assert failure.reason is Reason.CREDENTIALS
    assert failure.message.endswith("401, Unauthorized")


@pytest.mark.parametrize(
    ("status", "body", "reason", "message"),
    [
        (404, b"", Reason.SERVER, "the managed identity's endpoint answered 404: Azure is renewing it"),
        (410, b"", Reason.SERVER, "the managed identity's endpoint answered 410: Azure is renewing it"),
        (429, b"", Reason.THROTTLED, "the managed identity's endpoint answered 429; wait 300 s"),
        (500, b"{}", Reason.SERVER, "the managed identity's endpoint answered 500"),
        (200, b"<html>", Reason.SERVER, "endpoint answered with something that is not a JSON object"),
        (403, b"unreachable network", Reason.SERVER, "endpoint answered with something that is not a JSON object"),
        (200, b"[]", Reason.SERVER, "endpoint answered with something that is not a JSON object"),
        (200, b'{"access_token": "x", "expires_in": "soon"}', Reason.SERVER, "something that is not a JSON object"),
        (
            400,
            b'{"error": "invalid_resource"}',
            Reason.CREDENTIALS,
            "returned no token (system-assigned identity): inv",
        ),
        (400, b"{}", Reason.CREDENTIALS, "returned no token (system-assigned identity): no reason given"),
    ],
)
def test_each_answer_of_the_endpoint_has_its_reason(
    harness: Harness, status: int, body: bytes, reason: Reason, message: str
) -> None:
    """A passing failure is distinguished from one that needs an operator, and from an unreadable answer."""
    harness.give_identity()
    bad = Fault("bad", Stage.TOKEN, "the test's answer", lambda _call, _good: Response(status, (), body))
    harness.microsoft.inject(harness.known, bad, times=None)
    tenant = identity(harness)
    failure = harness.fail(replace(tenant, poll=tenant.poll.model_copy(update={"timeout": 1.0})))
    harness.microsoft.clear(harness.known)
    assert failure.reason is reason
    assert message in failure.message
    assert failure.message.startswith(f"{tenant.name}: ")


def test_a_passing_error_of_the_endpoint_costs_no_poll(harness: Harness) -> None:
    """While Azure renews the endpoint, the poll tries again."""
    harness.give_identity()
    gone = Fault("gone", Stage.TOKEN, "410", lambda _call, _good: Response(410))
    harness.microsoft.inject(harness.known, gone, times=1)
    harness.succeed(identity(harness))


def test_a_number_of_microsofts_picks_the_hint(harness: Harness) -> None:
    """Where the endpoint hands on an AADSTS error, the fix for that error is given."""
    harness.give_identity()
    body = b'{"error": "invalid_resource", "error_description": "AADSTS500011: The resource principal was not found."}'
    bad = Fault("bad", Stage.TOKEN, "wrong cloud", lambda _call, _good: Response(400, (), body))
    harness.microsoft.inject(harness.known, bad)
    failure = harness.fail(identity(harness))
    assert failure.hint == "this cloud's Microsoft Graph does not exist in the tenant: check cloud and tenant_id"


def test_outside_azure_nobody_answers(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the endpoint is a network failure that says what managed identities need."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    tenant = identity(harness)
    failure = harness.fail(replace(tenant, poll=tenant.poll.model_copy(update={"timeout": 1.0})))
    assert (failure.reason, failure.hint) == (Reason.NETWORK, ELSEWHERE)
    assert failure.message.startswith(f"{tenant.name}: managed identity: token host 127.0.0.1:1: cannot connect")


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        (
            {
                "IDENTITY_ENDPOINT": "https://localhost:1/fabric",
                "IDENTITY_HEADER": "hush",
                "IDENTITY_SERVER_THUMBPRINT": "0" * 40,
            },
            "managed identities of Azure Service Fabric are not supported",
        ),
        (
            {"AZUREPS_HOST_ENVIRONMENT": "cloud-shell/1.0", "MSI_ENDPOINT": "http://localhost:1/token"},
            "Azure Cloud Shell has no managed identity that an app can use",
        ),
    ],
    ids=["Service Fabric", "Cloud Shell"],
)
def test_where_managed_identities_cannot_work_it_is_an_error_of_the_configuration(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], what: str
) -> None:
    """On Service Fabric and Cloud Shell nothing is requested or retried, and the alternative is named."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    failure = harness.fail(identity(harness))
    assert (failure.reason, failure.hint) == (
        Reason.CONFIG,
        "use a certificate, a federated token or a client secret here",
    )
    assert failure.message == f"{harness.known.name}: auth.managed_identity: {what}"
    assert harness.counted == []


def arc(challenge: bytes) -> bytes:
    """Return what Azure Arc's agent answers first."""
    return b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: %b\r\nContent-Length: 0\r\n\r\n" % challenge


@pytest.mark.parametrize(
    ("challenge", "message"),
    [(b"Nonsense", "Unrecognizable WWW-Authenticate header"), (b"Basic realm=/x/nobody.key", "No such file")],
)
def test_azure_arc_without_its_key_says_so(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, challenge: bytes, message: str
) -> None:
    """Arc's agent wants a key from a file that only some users may read: what is wrong with it is said."""
    with serving(answering(arc(challenge))) as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/metadata/identity/oauth2/token")
        monkeypatch.setenv("IMDS_ENDPOINT", f"http://127.0.0.1:{port}")
        failure = harness.fail(identity(harness))
    assert failure.reason is Reason.CREDENTIALS
    assert message in failure.message


def test_an_identitys_endpoint_is_never_asked_through_a_proxy(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address means this very machine: a proxy would hand out another's identity, or ours to others."""
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}")

    with serving(handle) as port:
        # No name that NO_PROXY of this test exempts.
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{port}")
        harness.fail(identity(harness))
    assert [request[:37] for request in asked if request] == [b"GET /metadata/identity/oauth2/token?a"]
    assert harness.proxy.asked == []


def test_azure_arc_that_gives_another_identity_says_so(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent without user-assigned identities gives the machine's own: its token is not used, and the fix is said."""
    key = harness.file("arc.key", "hush")
    body = b'{"access_token": "x", "expires_in": "3600"}'

    def handle(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            if b"authorization:" in request.lower():
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                connection.sendall(head + body)
            else:
                connection.sendall(arc(b"Basic realm=arc.key"))

    with serving(handle) as port:
        monkeypatch.setattr(
            "msal.managed_identity._supported_arc_platforms_and_their_prefixes", {"linux": str(key.parent)}
        )
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/metadata/identity/oauth2/token")
        monkeypatch.setenv("IMDS_ENDPOINT", f"http://127.0.0.1:{port}")
        failure = harness.fail(identity(harness, UNKNOWN_ID))
    assert failure.reason is Reason.CREDENTIALS
    assert "Azure Arc did not confirm the requested user-assigned managed identity" in failure.message
    assert failure.hint.startswith("update the Azure Arc agent")
