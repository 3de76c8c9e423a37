"""The simulated tenants: names, ids and credentials, drawn from a seed and the same in every process."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from hashlib import blake2b

# Microsoft's own sample companies: https://learn.microsoft.com/microsoft-365/enterprise/contoso-overview and others.
COMPANIES = (
    "contoso",
    "fabrikam",
    "northwind",
    "adatum",
    "litware",
    "woodgrove",
    "tailspin",
    "proseware",
    "wingtip",
    "fourthcoffee",
    "relecloud",
    "vanarsdel",
    "alpineskihouse",
    "cohovineyard",
    "lucerne",
    "margies",
    "treyresearch",
    "wideworld",
    "graphicdesign",
    "humongous",
    "southridge",
    "consolidated",
    "blueyonder",
    "citypower",
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One simulated customer of Microsoft.

    Attributes:
        name: readable, unique, fit for a label.
        tenant_id: a UUID.
        domain: `<name>.onmicrosoft.com`, which the token endpoint takes in place of the id.
        client_id: the app registered for the exporter.
        secret: the app's client secret at the start of the simulation.
    """

    name: str
    tenant_id: str
    domain: str
    client_id: str
    secret: str


def make_tenants(seed: int, count: int, *, shared_app: bool = False) -> tuple[Tenant, ...]:
    """Return `count` tenants; with `shared_app` all of them know one app (a provider's multi-tenant registration)."""
    return tuple(_tenant(seed, number, shared_app=shared_app) for number in range(count))


def _tenant(seed: int, number: int, *, shared_app: bool) -> Tenant:
    lap, company = divmod(number, len(COMPANIES))
    name = COMPANIES[company] if lap == 0 else f"{COMPANIES[company]}-{lap + 1}"
    app = "provider" if shared_app else name
    return Tenant(
        name=name,
        tenant_id=make_uuid(seed, "tenant", name),
        domain=f"{name.replace('-', '')}.onmicrosoft.com",
        client_id=make_uuid(seed, "app", app),
        secret=_secret(seed, app),
    )


def _secret(*parts: object) -> str:
    """Return a client secret in the shape that Microsoft gives them: 40 characters with `8Q~` near the start."""
    text = base64.urlsafe_b64encode(digest("secret", *parts, size=32)).decode()
    return f"{text[:3]}8Q~{text[3:37]}"


# What looks random


def digest(*parts: object, size: int = 16) -> bytes:
    """Return `size` bytes (at most 64) that look random and depend on nothing but `parts`."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=size).digest()


def draw(*parts: object) -> float:
    """Return a number from 0 up to, but not including, 1 that depends on nothing but `parts`."""
    return (int.from_bytes(digest(*parts, size=7)) >> 3) / (1 << 53)


def between(low: float, high: float, *parts: object) -> float:
    """Return a number from `low` up to `high` that depends on nothing but the arguments."""
    return low + (high - low) * draw(*parts)


def make_uuid(*parts: object) -> str:
    """Return a UUID of version 4's shape that depends on nothing but `parts`."""
    return str(uuid.UUID(bytes=digest("uuid", *parts), version=4))
