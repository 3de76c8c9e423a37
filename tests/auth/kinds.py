"""Every kind of credential: what the configuration says, and what Microsoft was told."""

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

    from exporter.config.tenants import Tenant
    from tests.auth.world import World
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


def _secret_by_value(world: World) -> dict[str, Any]:
    return {"client_secret": world.known.secret}


def _secret_by_file(world: World) -> dict[str, Any]:
    return {"client_secret_file": world.file("secret", f"{world.known.secret}\n")}


def _certificate(world: World, content: bytes, **more: Any) -> dict[str, Any]:
    world.microsoft.register_certificate(world.known, pair().certificate)
    return {"certificate_file": world.file("certificate", content)} | more


def _federated_token(world: World) -> dict[str, Any]:
    world.microsoft.register_federation(world.known, FEDERATION)
    return {"federated_token_file": world.file("token", federated_assertion(FEDERATION, time.time()))}


def _device_code(_world: World) -> dict[str, Any]:
    return {"device_code": {}}


_MADE: Mapping[str, Callable[[World], dict[str, Any]]] = {
    "secret": _secret_by_value,
    "secret file": _secret_by_file,
    "PEM": lambda world: _certificate(world, pair().certificate + pair().key),
    "PEM, key first": lambda world: _certificate(world, pair().key + pair().certificate),
    "PEM with a password": lambda world: _certificate(
        world, pem(pair().private, PASSWORD) + pair().certificate, certificate_password=PASSWORD
    ),
    "PFX": lambda world: _certificate(world, pfx()),
    "PFX with a password": lambda world: _certificate(
        world, pfx(PASSWORD), certificate_password_file=world.file("password", f"{PASSWORD}\r\n")
    ),
    "federated token": _federated_token,
    "device code": _device_code,
}
_IDENTITIES = tuple(
    f"{owner} identity by {service}" for owner in ("system", "user") for service in ("IMDS", "App Service")
)
KINDS = (*_MADE, *_IDENTITIES)


def prepare(world: World, kind: str, cloud: str) -> Tenant:
    """Register a credential at the simulation, write its files, and return the tenant that uses it."""
    if kind in _IDENTITIES:
        world.give_identity(cloud=cloud, app_service=kind.endswith("App Service"))
        own = kind.startswith("system")
        chosen = {} if own else {"client_id": world.known.client_id}
        client_id = "" if own else world.known.client_id
        return world.tenant({"managed_identity": chosen}, cloud=cloud, client_id=client_id)
    tenant = world.tenant(_MADE[kind](world), cloud=cloud)
    if kind == "device code":
        world.sign_in(tenant)
        world.restart()
    return tenant
