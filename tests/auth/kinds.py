"""Every kind of credential: what the configuration says, and what is registered at Microsoft."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from tests.full_simulator import Federation, federated_assertion
from tests.simulator.certificates import make_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.config import Tenant
    from tests.auth.harness import Harness
    from tests.simulator.certificates import Pair

FEDERATION = Federation("https://oidc.example.net/cluster", "system:serviceaccount:monitoring:exporter")
PASSWORD = "hush, certificate"


@cache
def pair() -> Pair:
    """Return the certificate that most tests use."""
    return make_pair()


@cache
def other_key() -> rsa.RSAPrivateKey:
    """Return a key that is no certificate's."""
    return rsa.generate_private_key(65537, 2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    """Return a key that is not RSA."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: Any, password: str = "") -> bytes:
    """Return a private key as PEM."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    result: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return result


def pfx(password: str | None = None, *, made: Pair | None = None, key: bool = True, certificate: bool = True) -> bytes:
    """Return a pair as PFX; None for no password at all, empty for one that is empty."""
    own = made or pair()
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(
        b"exporter", own.private if key else None, own.parsed if certificate else None, None, encryption
    )


def _secret_by_value(harness: Harness) -> dict[str, Any]:
    return {"client_secret": harness.known.secret}


def _secret_by_file(harness: Harness) -> dict[str, Any]:
    return {"client_secret_file": harness.file("secret", f"{harness.known.secret}\n")}


def _certificate(harness: Harness, content: bytes, **more: Any) -> dict[str, Any]:
    harness.microsoft.register_certificate(harness.known, pair().certificate)
    return {"certificate_file": harness.file("certificate", content)} | more


def _federated_token(harness: Harness) -> dict[str, Any]:
    harness.microsoft.register_federation(harness.known, FEDERATION)
    return {"federated_token_file": harness.file("token", federated_assertion(FEDERATION, time.time()))}


def _device_code(_harness: Harness) -> dict[str, Any]:
    return {"device_code": {}}


_MADE: Mapping[str, Callable[[Harness], dict[str, Any]]] = {
    "secret": _secret_by_value,
    "secret file": _secret_by_file,
    "PEM": lambda harness: _certificate(harness, pair().certificate + pair().key),
    "PEM, key first": lambda harness: _certificate(harness, pair().key + pair().certificate),
    "PEM with a password": lambda harness: _certificate(
        harness, pem(pair().private, PASSWORD) + pair().certificate, certificate_password=PASSWORD
    ),
    "PFX": lambda harness: _certificate(harness, pfx()),
    "PFX with a password": lambda harness: _certificate(
        harness, pfx(PASSWORD), certificate_password_file=harness.file("password", f"{PASSWORD}\r\n")
    ),
    "federated token": _federated_token,
    "device code": _device_code,
}
_IDENTITIES = tuple(
    f"{owner} identity by {service}" for owner in ("system", "user") for service in ("IMDS", "App Service")
)
KINDS = (*_MADE, *_IDENTITIES)


def prepare(harness: Harness, kind: str, cloud: str) -> Tenant:
    """Register a credential at the simulation, write its files, and return the tenant that uses it."""
    if kind in _IDENTITIES:
        harness.give_identity(cloud=cloud, app_service=kind.endswith("App Service"))
        own = kind.startswith("system")
        chosen = {} if own else {"client_id": harness.known.client_id}
        client_id = "" if own else harness.known.client_id
        return harness.tenant({"managed_identity": chosen}, cloud=cloud, client_id=client_id)
    tenant = harness.tenant(_MADE[kind](harness), cloud=cloud)
    if kind == "device code":
        harness.sign_in(tenant)
        harness.restart()
    return tenant
