"""Wrong credentials: each ends in its reason, and in a hint that a tired person understands."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.auth.hints import consent_url, hint_for, refusal
from exporter.errors import CredentialsError, Reason
from exporter.http import MAX_BODY
from tests.auth.kinds import FEDERATION, pair
from tests.builders import tenant as any_tenant
from tests.full_simulator import Fault, Federation, Response, Stage, federated_assertion
from tests.http.leaks import said
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Tenant
    from tests.auth.harness import Harness

UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"
REGISTRATION = "in the app registration (Certificates & secrets"


@dataclass(frozen=True)
class Wrong:
    """A credential that is refused, and what is said of it."""

    make: Callable[[Harness], Tenant]
    hint: str
    said: str
    reason: Reason = Reason.CREDENTIALS


def expired_secret(harness: Harness) -> Tenant:
    """Let the secret expire."""
    harness.microsoft.expire_secret(harness.known)
    return harness.tenant()


def certificate(harness: Harness, **changes: Any) -> Tenant:
    """Use a certificate that is not registered."""
    made = harness.file("certificate.pem", pair().certificate + pair().key)
    return harness.tenant({"certificate_file": made}, **changes)


def expired_certificate(harness: Harness) -> Tenant:
    """Use a registered certificate that ended yesterday."""
    ended = make_pair(until=datetime.now(UTC) - timedelta(days=1))
    harness.microsoft.register_certificate(harness.known, ended.certificate)
    return harness.tenant({"certificate_file": harness.file("old.pem", ended.certificate + ended.key)})


def federated(
    harness: Harness, *, registered: Federation = FEDERATION, now: float | None = None, text: str = ""
) -> Tenant:
    """Use a federated token where the app trusts `registered`."""
    harness.microsoft.register_federation(harness.known, registered)
    content = text or federated_assertion(FEDERATION, now or time.time())
    return harness.tenant({"federated_token_file": harness.file("token", content)})


WRONG = {
    "expired secret": Wrong(
        expired_secret,
        f"the client secret has expired: make a new one {REGISTRATION})",
        "AADSTS7000222, The provided client secret keys for app",
    ),
    "wrong secret": Wrong(
        lambda harness: harness.tenant({"client_secret": "hush, wrong"}),
        "the client secret is wrong; often its Secret ID was copied instead of its Value: "
        f"make a new one {REGISTRATION}), and copy its Value",
        "AADSTS7000215, Invalid client secret provided",
    ),
    "unknown app": Wrong(
        lambda harness: harness.tenant(client_id=UNKNOWN_ID),
        "the app is not known in the tenant: check client_id and tenant_id; if both are right, "
        "an administrator of the tenant must consent to the app at "
        f"https://login.microsoftonline.com/{{tenant}}/adminconsent?client_id={UNKNOWN_ID}",
        "AADSTS700016, Application with identifier",
    ),
    "unknown tenant": Wrong(
        lambda harness: harness.tenant(tenant_id=UNKNOWN_ID),
        "check tenant_id; and cloud, if the tenant is in a national cloud",
        f"Microsoft's login has no such tenant: AADSTS90002, Tenant '{UNKNOWN_ID}' not found",
        Reason.TENANT,
    ),
    "unregistered certificate": Wrong(
        certificate,
        f"the certificate is not registered with the app, or has expired: upload its public part {REGISTRATION}), "
        "or point auth.certificate_file at the registered one",
        "AADSTS700027, The certificate with identifier used to sign the client assertion is not registered",
    ),
    "expired certificate": Wrong(
        expired_certificate,
        f"the certificate is not registered with the app, or has expired: upload its public part {REGISTRATION}), "
        "or point auth.certificate_file at the registered one",
        "AADSTS700027",
    ),
    "federated token of another issuer": Wrong(
        lambda harness: federated(harness, registered=replace(FEDERATION, issuer="https://other")),
        f"the app does not trust tokens from this issuer: compare the issuer {REGISTRATION}, Federated credentials)",
        "AADSTS700211",
    ),
    "federated token of another subject": Wrong(
        lambda harness: federated(harness, registered=replace(FEDERATION, subject="other")),
        f"the app does not trust tokens for this subject: compare the subject {REGISTRATION}, Federated credentials)",
        "AADSTS700213",
    ),
    "federated token for another audience": Wrong(
        lambda harness: federated(harness, registered=replace(FEDERATION, audience="other")),
        f"the app does not trust tokens for this audience: compare the audience {REGISTRATION}, Federated credentials)",
        "AADSTS700212",
    ),
    "federated token that has ended": Wrong(
        lambda harness: federated(harness, now=time.time() - 86400),
        "the assertion is not valid at this time: check this machine's clock, and that the token file is renewed",
        "AADSTS700024, Client assertion is not within its valid time range",
    ),
    "federated token that is none": Wrong(
        lambda harness: federated(harness, text="hush, this is no token"),
        "auth.federated_token_file does not contain a token: check that it is the file the platform writes",
        "AADSTS5002723",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_credential_ends_in_its_reason_and_its_fix(harness: Harness, name: str) -> None:
    """A refused credential is not retried, names tenant and app, and says what to do, in exactly these words."""
    wrong = WRONG[name]
    tenant = wrong.make(harness)
    failure = harness.fail(tenant)
    assert (failure.reason, failure.hint) == (wrong.reason, wrong.hint.replace("{tenant}", tenant.tenant_id))
    assert failure.message.startswith(f"{tenant.name}: Microsoft's login ")
    assert wrong.said in failure.message
    assert tenant.client_id in failure.message or wrong.reason is Reason.TENANT
    # The id is Entra's, not Graph's.
    assert re.search(r" \(Trace ID [\w-]{36}\)$", failure.message)
    assert failure.request_id == ""
    assert harness.calls(Stage.GRAPH) == 0
    assert harness.calls() <= 1


@pytest.mark.parametrize("name", WRONG)
def test_a_refusal_is_not_remembered(harness: Harness, name: str) -> None:
    """The next poll asks again, though MSAL would hold the refusal for a minute."""
    tenant = WRONG[name].make(harness)
    first = harness.fail(tenant)
    asked = len(harness.counted)
    assert harness.fail(tenant).reason == first.reason
    assert len(harness.counted) > asked


def test_what_is_no_login_host_says_so(harness: Harness) -> None:
    """A custom cloud whose authority is something else is distinguished from a wrong credential."""
    cloud = replace(harness.cloud("custom"), authority=harness.server.cloud.download)
    failure = harness.fail(replace(harness.tenant(), cloud=cloud))
    assert failure.reason is Reason.CREDENTIALS
    assert failure.hint == "check cloud.authority: the server there does not behave like Microsoft's login"
    assert failure.message.endswith(f"the credential of client {harness.known.client_id}: 403 without giving a reason")


def answer(status: int, body: bytes, stage: Stage = Stage.TOKEN) -> Fault:
    """Return a fault that answers so."""
    return Fault("mine", stage, "an answer of the test's", lambda _call, _good: Response(status, (), body))


@pytest.mark.parametrize(
    ("status", "body", "stage", "reason", "message"),
    [
        (
            200,
            b"<html>hush</html>",
            Stage.TOKEN,
            Reason.SERVER,
            "answered 200 with something that is not a JSON object",
        ),
        (200, b"[]", Stage.TOKEN, Reason.SERVER, "answered 200 with something that is not a JSON object"),
        (200, b"[" * 100_000, Stage.TOKEN, Reason.SERVER, "answered 200 with something that is not a JSON object"),
        (302, b"", Stage.TOKEN, Reason.SERVER, "answered 302 with something that is not a JSON object"),
        (403, b"<html>hush</html>", Stage.TOKEN, Reason.CREDENTIALS, ": 403 without giving a reason"),
        (403, b'{"message": "hush"}', Stage.TOKEN, Reason.CREDENTIALS, ": 403 without giving a reason"),
        (200, b"{}", Stage.TOKEN, Reason.SERVER, "the token endpoint's answer contains no usable token"),
        (302, b"{}", Stage.TOKEN, Reason.SERVER, "the token endpoint's answer contains no usable token"),
        (200, b'{"access_token": 1}', Stage.TOKEN, Reason.SERVER, "answer contains no usable token"),
        (200, b'{"access_token": ""}', Stage.TOKEN, Reason.SERVER, "answer contains no usable token"),
        (200, b'{"access_token": "x "}', Stage.TOKEN, Reason.SERVER, "answer contains no usable token"),
        (200, b'{"access_token": "a\\nb"}', Stage.TOKEN, Reason.SERVER, "answer contains no usable token"),
        (200, b"x" * (MAX_BODY + 1), Stage.TOKEN, Reason.SERVER, "the token host's answer is larger than 2 MiB"),
        (503, b"x" * (MAX_BODY + 1), Stage.TOKEN, Reason.SERVER, "the login host answered 503"),
        (200, b'{"access_token": "x", "expires_in": "soon"}', Stage.TOKEN, Reason.SERVER, "not a valid OAuth answer"),
        (200, b'{"access_token": "x", "expires_in": 1e999}', Stage.TOKEN, Reason.SERVER, "not a valid OAuth answer"),
        (200, b'{"access_token": "x", "expires_in": NaN}', Stage.TOKEN, Reason.SERVER, "not a valid OAuth answer"),
        (200, b'{"access_token": "x", "expires_in": -5}', Stage.TOKEN, Reason.SERVER, "expired (expires_in is -5)"),
        (200, b'{"access_token": "x", "expires_in": 0}', Stage.TOKEN, Reason.SERVER, "expired (expires_in is 0)"),
        (200, b'{"access_token": "x", "scope": 1}', Stage.TOKEN, Reason.SERVER, "not a valid OAuth answer"),
        (400, b'{"error": "temporarily_unavailable"}', Stage.TOKEN, Reason.CREDENTIALS, ": temporarily_unavailable"),
        (400, b'{"error": {"code": 1}, "error_codes": "x"}', Stage.TOKEN, Reason.CREDENTIALS, "refused the credential"),
        (200, b"{}", Stage.DISCOVERY, Reason.SERVER, "answered a discovery document without its endpoints"),
        (
            200,
            b'{"authorization_endpoint": "https://x/a", "token_endpoint": "http://x/t"}',
            Stage.DISCOVERY,
            Reason.SERVER,
            "answered a discovery document without its endpoints",
        ),
        (
            200,
            b'{"authorization_endpoint": "https://x/a", "token_endpoint": "https://"}',
            Stage.DISCOVERY,
            Reason.SERVER,
            "not a valid OAuth answer",
        ),
        (404, b"<html>", Stage.DISCOVERY, Reason.CREDENTIALS, ": 404 without giving a reason"),
        (500, b"hush", Stage.DISCOVERY, Reason.SERVER, "the login host answered 500"),
        (429, b"hush", Stage.DISCOVERY, Reason.THROTTLED, "the login host answered 429; wait 300 s"),
    ],
)
def test_an_answer_that_is_none_is_recognised(  # noqa: PLR0917 - a table's columns
    harness: Harness, status: int, body: bytes, stage: Stage, reason: Reason, message: str
) -> None:
    """Whatever the login host answers, the poll ends in one of the known reasons, and quotes no page."""
    harness.microsoft.inject(harness.known, answer(status, body, stage), times=None)
    tenant = harness.tenant()
    failure = harness.fail(replace(tenant, poll=tenant.poll.model_copy(update={"timeout": 1.0})))
    assert failure.reason is reason
    assert message in failure.message
    harness.microsoft.clear(harness.known)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (
            {"error_codes": [7000222], "error_description": "AADSTS7000222: Gone. Trace ID: 1"},
            "7000222, Gone",
            "expired",
        ),
        ({"error_description": "AADSTS7000215: Wrong.\r\nTrace ID: 1"}, "AADSTS7000215, Wrong", "Secret ID"),
        ({"error_description": "AADSTS999999: New. More."}, "AADSTS999999, New", "client_id and auth"),
        ({"error": "invalid_client"}, "invalid_client", "client_id and auth"),
        ({"error_codes": [900382], "error": "x"}, "AADSTS900382, x", "the tenant is in another cloud of Microsoft's"),
        ({"error_codes": [90033], "error": "x"}, "AADSTS90033, x", "passes by itself: nothing to fix"),
        ({"error_codes": [], "error_description": "x" * 999}, "x" * 200, "client_id and auth"),
        ({"error": "a\x1b[31mred\u202eder", "trace_id": "\x1b[0m"}, "a [31mred der", "client_id and auth"),
        ({"error": "a", "trace_id": "0-1"}, "a (Trace ID 0-1)", "client_id and auth"),
        ({"error_description": "secret=a&client_secret=hush"}, "client_secret=[redacted]", "client_id and auth"),
    ],
)
def test_how_a_refusal_is_read(body: dict[str, Any], message: str, hint: str) -> None:
    """The number comes from error_codes or from the description; only the first sentence is shown, redacted."""
    error = refusal(any_tenant(), body)
    said(error)
    assert error.message.endswith(message)
    assert hint in error.hint
    assert isinstance(error, CredentialsError)


def test_the_command_that_a_hint_names_can_be_pasted() -> None:
    """A tenant's name with spaces is quoted for the shell."""
    tenant = any_tenant("it's ours")
    assert hint_for(tenant, {"error_codes": [50173]}).endswith("""login 'it'"'"'s ours'""")


@pytest.mark.parametrize("code", [700016, 7000229, 65001])
def test_a_missing_consent_names_the_address_to_consent_at(code: int) -> None:
    """Where the tenant has never consented to the app, the hint holds the URL that its administrator opens."""
    tenant = any_tenant()
    assert hint_for(tenant, {"error_codes": [code]}).endswith(f" at {consent_url(tenant)}")
