"""What a delegated token says of the account behind it: a hint for people, never a reason to skip a poll."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.tenants import Tenant

PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant id in the tokens of personal Microsoft accounts, which the report does not support."""

REPORT_ROLES = {
    "62e90394-69f5-4237-9190-012177145e10": "Global Administrator",
    "29232cdf-9323-42fd-ade2-1d097af3e4de": "Exchange Administrator",
    "f28a1f50-f6e7-4571-818b-6a12f2af6b6c": "SharePoint Administrator",
    "75941009-915a-4869-abe7-691bff18279e": "Skype for Business Administrator",
    "69091246-20e8-4a56-aa4d-066075b2a7a8": "Teams Administrator",
    "baf37b3a-610e-45da-9e62-d9d1e5e8914b": "Teams Communications Administrator",
    "f2ef992c-3afb-46b9-b7cf-a126ee74c451": "Global Reader",
    "75934031-6c7e-415a-99d7-48dbd49e875e": "Usage Summary Reports Reader",
    "4a5d8f65-41da-4de4-8968-e035b65339cf": "Reports Reader",
}
"""Directory roles of which a signed-in user needs one, by their template ids
(https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference)."""


def account_fault(tenant: Tenant, claims: Mapping[str, Any]) -> CredentialsError | None:
    """Return what is wrong with a delegated account, by its token's claims; None if nothing is known to be.

    Source: https://learn.microsoft.com/graph/reportroot-authorization
    """
    if claims.get("tid") == PERSONAL_TENANT:
        return CredentialsError(
            f"{tenant.name}: a personal Microsoft account signed in, which has no such report",
            hint="sign in with a work or school account of the tenant",
        )
    held = claims.get("wids")
    if isinstance(held, list) and not REPORT_ROLES.keys() & {str(role) for role in held}:
        roles = ", ".join(REPORT_ROLES.values())
        return CredentialsError(
            f"{tenant.name}: the signed-in account holds none of the roles that may read reports",
            hint=f"give it one of: {roles} (Reports Reader is the least)",
        )
    return None
