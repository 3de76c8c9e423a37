"""Credentials that are replaced while the exporter runs: no restart, and no failed poll between."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from exporter.auth.credentials import CredentialExpiry
from exporter.errors import Reason
from tests.auth.kinds import FEDERATION, PASSWORD, pair, pem, pfx
from tests.full_simulator import Stage, federated_assertion, read_claims
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from tests.auth.harness import Harness

NEW_SECRET = "hush, the new one"


@pytest.mark.parametrize("revoked", [False, True], ids=["", "token revoked"])
def test_a_rotated_secret_is_used_by_the_next_poll(harness: Harness, *, revoked: bool) -> None:
    """The file changes, the old secret ends, the old token too: the poll after it uses the new secret."""
    path = harness.file("secret", harness.known.secret)
    tenant = harness.tenant({"client_secret_file": path})
    first = harness.succeed(tenant)
    path.write_text(NEW_SECRET, encoding="utf-8")
    harness.microsoft.set_secret(harness.known, NEW_SECRET)
    if revoked:
        harness.microsoft.revoke_tokens(harness.known)
    assert harness.succeed(tenant) is not first
    assert harness.calls() == 2
    harness.succeed(tenant)
    assert harness.calls() == 2


def test_an_old_secret_may_end_before_the_file_changes(harness: Harness) -> None:
    """While the old token lives, a poll between the two is none that fails."""
    path = harness.file("secret", harness.known.secret)
    tenant = harness.tenant({"client_secret_file": path})
    harness.succeed(tenant)
    harness.microsoft.set_secret(harness.known, NEW_SECRET)
    harness.succeed(tenant)
    path.write_text(NEW_SECRET, encoding="utf-8")
    harness.succeed(tenant)


def test_a_wrong_new_secret_is_seen_at_once(harness: Harness) -> None:
    """A mistake in the new file shows at the next poll, not when the old token ends."""
    path = harness.file("secret", harness.known.secret)
    tenant = harness.tenant({"client_secret_file": path})
    harness.succeed(tenant)
    path.write_text("hush, mistaken", encoding="utf-8")
    assert harness.fail(tenant).reason is Reason.CREDENTIALS
    path.write_text(harness.known.secret, encoding="utf-8")
    harness.succeed(tenant)


@pytest.mark.parametrize("form", ["PEM", "PFX"])
def test_a_rotated_certificate_is_used_by_the_next_poll(harness: Harness, form: str) -> None:
    """A new certificate in the same file, with a new password, is read and used without a restart."""
    renewed = make_pair(until=datetime.now(UTC) + timedelta(days=90))
    harness.microsoft.register_certificate(harness.known, pair().certificate)
    harness.microsoft.register_certificate(harness.known, renewed.certificate)
    old = pair().certificate + pem(pair().private, PASSWORD) if form == "PEM" else pfx(PASSWORD)
    new = renewed.certificate + pem(renewed.private, "hush, new") if form == "PEM" else pfx("hush, new", made=renewed)
    path, password = harness.file("certificate", old), harness.file("password", PASSWORD)
    tenant = harness.tenant({"certificate_file": path, "certificate_password_file": password})
    first = harness.succeed(tenant)
    path.write_bytes(new)
    password.write_text("hush, new", encoding="utf-8")
    harness.microsoft.revoke_tokens(harness.known)
    assert harness.succeed(tenant) is not first
    expected = CredentialExpiry(harness.known.client_id, "certificate", renewed.parsed.not_valid_after_utc.timestamp())
    assert harness.credentials.expiries([tenant]) == (expected,)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"-----BEGIN CERTIFICATE-----\nMII", "it contains no private key"), (None, "No such file")],
    ids=["empty", "half written", "gone"],
)
def test_a_file_in_the_middle_of_its_rotation_fails_no_poll(
    harness: Harness, caplog: pytest.LogCaptureFixture, content: bytes | None, said: str
) -> None:
    """A poll that meets a half-written file uses the token in hand, says so in the log, and is well again after."""
    whole = pair().certificate + pair().key
    harness.microsoft.register_certificate(harness.known, pair().certificate)
    by_secret = content in {b"", None}
    path = harness.file("rotated", harness.known.secret if by_secret else whole)
    tenant = harness.tenant({"client_secret_file" if by_secret else "certificate_file": path})
    token = harness.succeed(tenant)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert harness.succeed(tenant) is token
    warnings = [record.getMessage() for record in caplog.records if "its last token is used" in record.getMessage()]
    assert len(warnings) == 1
    assert said in warnings[0]
    path.write_bytes(harness.known.secret.encode() if by_secret else whole)
    assert harness.succeed(tenant) is token


def test_a_lost_file_fails_once_its_token_is_worth_nothing(harness: Harness) -> None:
    """The token in hand hides a lost file no longer than it lives."""
    path = harness.file("secret", harness.known.secret)
    tenant = harness.tenant({"client_secret_file": path})
    harness.succeed(tenant)
    path.unlink()
    harness.microsoft.revoke_tokens(harness.known)
    assert harness.fail(tenant).reason is Reason.CONFIG


def test_a_federated_token_is_read_again_for_each_assertion(harness: Harness) -> None:
    """Each new token is asked for with what the file holds then; between, the file is not needed."""
    harness.microsoft.register_federation(harness.known, FEDERATION)
    path = harness.file("token", federated_assertion(FEDERATION, time.time() - 1800))
    tenant = harness.tenant({"federated_token_file": path})
    first = harness.succeed(tenant)
    path.unlink()
    assert harness.succeed(tenant) is first
    path.write_text(federated_assertion(FEDERATION, time.time() - 86400), encoding="utf-8")
    harness.microsoft.revoke_tokens(harness.known)
    failure = harness.fail(tenant)
    assert "AADSTS700024" in failure.message
    path.write_text(federated_assertion(FEDERATION, time.time()), encoding="utf-8")
    assert harness.succeed(tenant) is not first
    assert harness.calls(Stage.DISCOVERY) == 1


def test_each_token_has_an_assertion_of_its_own(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokens by certificate are asked for with two assertions, each with an id of its own."""
    sent: list[str] = []
    request = harness.clients.request

    def recording(method: str, url: str, **more: object) -> object:
        form = more.get("data")
        if isinstance(form, dict):
            sent.append(str(form["client_assertion"]))
        return request(method, url, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(harness.clients, "request", recording)
    harness.microsoft.register_certificate(harness.known, pair().certificate)
    tenant = harness.tenant({"certificate_file": harness.file("pair.pem", pair().certificate + pair().key)})
    for _ in range(2):
        harness.token(tenant, fresh=True)
    claims = [read_claims(assertion) for assertion in sent]
    assert len({each["jti"] for each in claims}) == 2
    audience = f"{tenant.cloud.authority}/{tenant.tenant_id}/oauth2/v2.0/token"
    assert {each["aud"] for each in claims} == {audience}
    assert "secret" not in json.dumps(claims)
