"""Credentials that are replaced while the exporter runs: no restart, and no failed poll between."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from exporter.auth import CredentialExpiry
from exporter.errors import Reason
from tests.auth.kinds import FEDERATION, PASSWORD, pair, pem, pfx
from tests.full_simulator import Stage, federated_assertion, read_claims
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from tests.auth.world import World

NEW_SECRET = "hush, the new one"


@pytest.mark.parametrize("revoked", [False, True], ids=["", "token revoked"])
def test_a_rotated_secret_is_used_by_the_next_poll(world: World, *, revoked: bool) -> None:
    """The file changes, the old secret ends, the old token too: the poll after it uses the new secret."""
    path = world.file("secret", world.known.secret)
    tenant = world.tenant({"client_secret_file": path})
    first = world.succeed(tenant)
    path.write_text(NEW_SECRET, encoding="utf-8")
    world.microsoft.set_secret(world.known, NEW_SECRET)
    if revoked:
        world.microsoft.revoke_tokens(world.known)
    assert world.succeed(tenant) is not first
    assert world.calls() == 2
    world.succeed(tenant)
    assert world.calls() == 2


def test_an_old_secret_may_end_before_the_file_changes(world: World) -> None:
    """While the old token lives, a poll between the two is none that fails."""
    path = world.file("secret", world.known.secret)
    tenant = world.tenant({"client_secret_file": path})
    world.succeed(tenant)
    world.microsoft.set_secret(world.known, NEW_SECRET)
    world.succeed(tenant)
    path.write_text(NEW_SECRET, encoding="utf-8")
    world.succeed(tenant)


def test_a_wrong_new_secret_is_seen_at_once(world: World) -> None:
    """A mistake in the new file shows at the next poll, not when the old token ends."""
    path = world.file("secret", world.known.secret)
    tenant = world.tenant({"client_secret_file": path})
    world.succeed(tenant)
    path.write_text("hush, mistaken", encoding="utf-8")
    assert world.fail(tenant).reason is Reason.CREDENTIALS
    path.write_text(world.known.secret, encoding="utf-8")
    world.succeed(tenant)


@pytest.mark.parametrize("form", ["PEM", "PFX"])
def test_a_rotated_certificate_is_used_by_the_next_poll(world: World, form: str) -> None:
    """A new certificate in the same file, with a new password, is read and used without a restart."""
    renewed = make_pair(until=datetime.now(UTC) + timedelta(days=90))
    world.microsoft.register_certificate(world.known, pair().certificate)
    world.microsoft.register_certificate(world.known, renewed.certificate)
    old = pair().certificate + pem(pair().private, PASSWORD) if form == "PEM" else pfx(PASSWORD)
    new = renewed.certificate + pem(renewed.private, "hush, new") if form == "PEM" else pfx("hush, new", made=renewed)
    path, password = world.file("certificate", old), world.file("password", PASSWORD)
    tenant = world.tenant({"certificate_file": path, "certificate_password_file": password})
    first = world.succeed(tenant)
    path.write_bytes(new)
    password.write_text("hush, new", encoding="utf-8")
    world.microsoft.revoke_tokens(world.known)
    assert world.succeed(tenant) is not first
    expected = CredentialExpiry(world.known.client_id, "certificate", renewed.parsed.not_valid_after_utc.timestamp())
    assert world.credentials.expiries([tenant]) == (expected,)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"-----BEGIN CERTIFICATE-----\nMII", "it holds no private key"), (None, "No such file")],
    ids=["empty", "half written", "gone"],
)
def test_a_file_in_the_middle_of_its_rotation_fails_no_poll(
    world: World, caplog: pytest.LogCaptureFixture, content: bytes | None, said: str
) -> None:
    """A poll that meets a half-written file uses the token in hand, says so in the log, and is well again after."""
    whole = pair().certificate + pair().key
    world.microsoft.register_certificate(world.known, pair().certificate)
    by_secret = content in {b"", None}
    path = world.file("rotated", world.known.secret if by_secret else whole)
    tenant = world.tenant({"client_secret_file" if by_secret else "certificate_file": path})
    token = world.succeed(tenant)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert world.succeed(tenant) is token
    warnings = [record.getMessage() for record in caplog.records if "its last token is used" in record.getMessage()]
    assert len(warnings) == 1
    assert said in warnings[0]
    path.write_bytes(world.known.secret.encode() if by_secret else whole)
    assert world.succeed(tenant) is token


def test_a_lost_file_fails_once_its_token_is_worth_nothing(world: World) -> None:
    """The token in hand hides a lost file no longer than it lives."""
    path = world.file("secret", world.known.secret)
    tenant = world.tenant({"client_secret_file": path})
    world.succeed(tenant)
    path.unlink()
    world.microsoft.revoke_tokens(world.known)
    assert world.fail(tenant).reason is Reason.CONFIG


def test_a_federated_token_is_read_anew_for_each_assertion(world: World) -> None:
    """Each new token is asked for with what the file holds then; between, the file is not needed."""
    world.microsoft.register_federation(world.known, FEDERATION)
    path = world.file("token", federated_assertion(FEDERATION, time.time() - 1800))
    tenant = world.tenant({"federated_token_file": path})
    first = world.succeed(tenant)
    path.unlink()
    assert world.succeed(tenant) is first
    path.write_text(federated_assertion(FEDERATION, time.time() - 86400), encoding="utf-8")
    world.microsoft.revoke_tokens(world.known)
    failure = world.fail(tenant)
    assert "AADSTS700024" in failure.message
    path.write_text(federated_assertion(FEDERATION, time.time()), encoding="utf-8")
    assert world.succeed(tenant) is not first
    assert world.calls(Stage.DISCOVERY) == 1


def test_an_assertion_is_made_anew_for_each_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokens by certificate are asked for with two assertions, each with an id of its own."""
    sent: list[str] = []
    request = world.clients.request

    def recording(method: str, url: str, **more: object) -> object:
        form = more.get("data")
        if isinstance(form, dict):
            sent.append(str(form["client_assertion"]))
        return request(method, url, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(world.clients, "request", recording)
    world.microsoft.register_certificate(world.known, pair().certificate)
    tenant = world.tenant({"certificate_file": world.file("pair.pem", pair().certificate + pair().key)})
    for _ in range(2):
        world.token(tenant, fresh=True)
    claims = [read_claims(assertion) for assertion in sent]
    assert len({each["jti"] for each in claims}) == 2
    audience = f"{tenant.cloud.authority}/{tenant.tenant_id}/oauth2/v2.0/token"
    assert {each["aud"] for each in claims} == {audience}
    assert "secret" not in json.dumps(claims)
