"""When credentials end: one moment for each, shared or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from exporter.auth.credentials import CredentialExpiry, Credentials
from exporter.config import Auth
from tests.auth.kinds import PASSWORD, pair, pfx
from tests.builders import tenant
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from pathlib import Path

APP = tenant().client_id
OTHER = "33333333-3333-3333-3333-333333333333"
MIDNIGHT = datetime(2027, 1, 31, tzinfo=UTC).timestamp()


def auth(**given: object) -> Auth:
    """Return a credential as the configuration gives it."""
    return Auth.model_validate(given)


def test_a_secret_ends_on_its_day() -> None:
    """`expires` is midnight, UTC, at the beginning of that day; a secret without it tells nothing."""
    known = [tenant(auth=auth(client_secret="hush", expires=date(2027, 1, 31))), tenant("other")]
    assert Credentials().expiries(known) == (CredentialExpiry(APP, "secret", MIDNIGHT),)


def test_a_certificate_ends_when_it_says(tmp_path: Path) -> None:
    """The moment comes from the certificate, PEM or PFX."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)
    soon = make_pair(until=ends)
    (tmp_path / "pem").write_bytes(soon.key + soon.certificate)
    (tmp_path / "pfx").write_bytes(pfx(PASSWORD))
    known = [
        tenant(auth=auth(certificate_file=tmp_path / "pem")),
        tenant(client_id=OTHER, auth=auth(certificate_file=tmp_path / "pfx", certificate_password=PASSWORD)),
    ]
    assert Credentials().expiries(known) == (
        CredentialExpiry(APP, "certificate", ends.timestamp()),
        CredentialExpiry(OTHER, "certificate", pair().parsed.not_valid_after_utc.timestamp()),
    )


def test_a_shared_credential_is_one() -> None:
    """A provider's one app for many tenants has one moment; two apps, or two secrets of one, have two."""
    shared = auth(client_secret="hush", expires=date(2027, 1, 31))
    equal = auth(client_secret="hush", expires=date(2027, 1, 31))
    later = auth(client_secret="hush, too", expires=date(2027, 2, 1))
    known = [tenant(f"t{number}", auth=shared) for number in range(5)]
    known += [tenant("equal", auth=equal), tenant("later", auth=later), tenant("other", client_id=OTHER, auth=shared)]
    assert Credentials().expiries(known) == (
        CredentialExpiry(APP, "secret", MIDNIGHT),
        CredentialExpiry(APP, "secret", MIDNIGHT + 86400),
        CredentialExpiry(OTHER, "secret", MIDNIGHT),
    )


def test_what_cannot_be_read_or_never_ends_tells_nothing(tmp_path: Path) -> None:
    """A broken certificate is the poll's to tell; identities, sign-ins and tokens have no end that we know."""
    (tmp_path / "broken").write_bytes(b"hush")
    kinds: tuple[dict[str, Any], ...] = (
        {"certificate_file": tmp_path / "broken"},
        {"certificate_file": tmp_path / "missing"},
        {"managed_identity": {}},
        {"device_code": {}},
        {"federated_token_file": tmp_path / "missing"},
    )
    known = [replace(tenant(str(number)), auth=auth(**kind)) for number, kind in enumerate(kinds)]
    assert Credentials().expiries(known) == ()
