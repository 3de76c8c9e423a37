"""Sign-in by device code: what the user does on the other device.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporter.simulator.login import Aadsts
from exporter.simulator.tenants import digest, draw

LIFETIME = 900
_LETTERS = "BCDFGHJKLMNPQRSTVWXYZ23456789"
REPORTS_READER = "4a5d8f65-41da-4de4-8968-e035b65339cf"
ORDINARY_USER = "b79fbf4d-3ef9-4689-8143-76b194e85509"
BLOCKED = Aadsts(
    53003,
    400,
    "invalid_grant",
    "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
)


class Decision(StrEnum):
    """What became of a device code."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"
    BLOCKED = "blocked"  # by Conditional Access, which many organisations do to device codes


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user will do.

    Attributes:
        decision: how it ends.
        polls: after how many polls of the client.
        roles: the directory roles (template ids) of the user who signs in.
        personal: whether it is a personal Microsoft account.
    """

    decision: Decision
    polls: int = 0
    roles: tuple[str, ...] = (REPORTS_READER,)
    personal: bool = False


@dataclass(slots=True)
class Device:
    """One device code on its way."""

    user_code: str
    device_code: str
    tenant_id: str
    client_id: str
    scope: str
    expires: float
    plan: Plan
    polls: int = 0

    def decide(self, now: float) -> Decision:
        """Count one poll of the client and return what it is answered."""
        self.polls += 1
        if now >= self.expires:
            return Decision.EXPIRED
        return self.plan.decision if self.polls > self.plan.polls else Decision.PENDING


WAITING = Plan(Decision.PENDING)


def make_device(
    seed: int, number: int, *, tenant_id: str, client_id: str, scope: str, now: float, plan: Plan
) -> Device:
    """Return the device code number `number`, valid for 15 minutes."""
    user_code = "".join(_LETTERS[int(draw(seed, "device", number, place) * len(_LETTERS))] for place in range(9))
    device_code = digest(seed, "device", number, size=48).hex()
    return Device(user_code, device_code, tenant_id, client_id, scope, now + LIFETIME, plan)
