"""What a token's claims say about permissions, and the consent URL: hints only."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from exporter.config.fields import PERSONAL_TENANT
from exporter.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config import Tenant

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


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. Only Graph checks its signature: the claims are hints.

    Attributes:
        value: the secret itself.
        expires_at: Unix seconds.
    """

    value: str = field(repr=False)
    expires_at: float

    @property
    def claims(self) -> Mapping[str, Any]:
        """The payload of the JSON web token; empty where it cannot be read."""
        try:
            payload = self.value.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (IndexError, ValueError, RecursionError):
            return {}
        return claims if isinstance(claims, dict) else {}

    @property
    def permissions(self) -> tuple[str, ...] | None:
        """Application roles or delegated scopes; None where the token cannot be read."""
        claims = self.claims
        if not claims:
            return None
        roles = claims.get("roles")
        scopes = claims.get("scp")
        granted = [str(role) for role in roles] if isinstance(roles, list) else []
        return tuple(granted + (scopes.split() if isinstance(scopes, str) else []))


def is_personal(claims: Mapping[str, Any]) -> bool:
    """Return whether a token is a personal Microsoft account's."""
    return claims.get("tid") == PERSONAL_TENANT


def account_error(tenant: Tenant, claims: Mapping[str, Any]) -> CredentialsError | None:
    """Return what is wrong with a delegated account, by its token's claims; None if nothing is known to be.

    Source: https://learn.microsoft.com/graph/reportroot-authorization
    """
    if is_personal(claims):
        return CredentialsError(
            f"{tenant.name}: a personal Microsoft account signed in, and personal accounts have no such report",
            hint="sign in with a work or school account of the tenant",
        )
    held = claims.get("wids")
    if isinstance(held, list) and not REPORT_ROLES.keys() & {str(role) for role in held}:
        roles = ", ".join(REPORT_ROLES.values())
        return CredentialsError(
            f"{tenant.name}: the signed-in account has none of the roles that can read reports",
            hint=f"give it one of: {roles} (the last one has the fewest rights); no new sign-in is needed",
        )
    return None


def advice(tenant: Tenant, permission: str, token: Token | None) -> str:
    """Return why Graph refused a token, as far as the token itself shows, and the fix; empty where it shows nothing.

    Args:
        tenant: whose token it is.
        permission: what the report needs.
        token: the one that was refused; None if there is none.
    """
    if token is None:
        return ""
    delegated = tenant.auth.kind == "device_code"
    if delegated and (error := account_error(tenant, token.claims)):
        return f"{error.message.removeprefix(f'{tenant.name}: ')}: {error.hint}"
    if token.permissions is None:
        return ""
    if permission in token.permissions:
        granted = f"the token has {permission}, so no consent is missing"
        return f"{granted}: if it persists, give the request-id to Microsoft's support"
    if tenant.auth.kind == "managed_identity":
        return (
            f"{permission} is missing from the token's roles: assign this app role of Microsoft Graph to the identity"
        )
    missing = f"{permission} is missing from the token's {'scp' if delegated else 'roles'}"
    return f"{missing}: an administrator of the tenant must open {consent_url(tenant)}"


def consent_url(tenant: Tenant) -> str:
    """Return where an administrator of the tenant consents to the app; empty for a managed identity, which is none.

    Source: https://learn.microsoft.com/entra/identity/enterprise-apps/grant-admin-consent
    """
    if tenant.auth.kind == "managed_identity":
        return ""
    place = f"{tenant.cloud.authority}/{quote(tenant.tenant_id, safe='')}"
    return f"{place}/adminconsent?client_id={quote(tenant.client_id, safe='')}"
