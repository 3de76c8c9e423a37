"""What a token's claims and the login host's refusals mean to people: hints, and where to consent.

Microsoft advises to take the AADSTS numbers as hints only
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes), so only one of them picks the error's
class; the others pick its hint.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from exporter.config.types import PERSONAL_TENANT
from exporter.errors import CredentialsError, ExporterError, Reason, TenantError
from exporter.log import quotable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config import Tenant
    from exporter.state import Failure

_TENANT_NOT_FOUND = 90002
_LONGEST = 200
_TRACE_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
_NO_SUCH_TENANT = "check tenant_id; and cloud, if the tenant is in a national cloud"
_OTHER_CLOUD = "the tenant is in another cloud of Microsoft's: set cloud to that one, and use an app registered there"
_PASSING = "an error on Microsoft's side that passes by itself: nothing to fix, the next poll tries again"
_NOT_MICROSOFT = "check cloud.authority: the server there does not behave like Microsoft's login"
_SIGN_IN = "run: office365-activations-exporter login {name}"
_SECRETS = "in the app registration (Certificates & secrets)"
_FEDERATED = "in the app registration (Certificates & secrets, Federated credentials)"
_ANOTHER_ACCOUNT = "sign in with a work or school account of the tenant itself; " + _SIGN_IN
_MFA = "the account must sign in again, with its second factor; " + _SIGN_IN
_BLOCKED = (
    "a Conditional Access policy blocks this sign-in, as many organisations do with device codes: "
    "let an administrator exempt it, or use a certificate, a federated token or a client secret instead"
)
_HINTS = {
    # The app and the tenant
    _TENANT_NOT_FOUND: _NO_SUCH_TENANT,
    900023: "tenant_id is neither a tenant's id nor one of its domains: copy it from the app registration's overview",
    90072: _ANOTHER_ACCOUNT,
    500011: "this cloud's Microsoft Graph does not exist in the tenant: check cloud and tenant_id",
    700016: (
        "the app is not known in the tenant: check client_id and tenant_id; if both are right, "
        "an administrator of the tenant must consent to the app at {consent_url}"
    ),
    90038: _OTHER_CLOUD,
    900382: _OTHER_CLOUD,
    900432: _OTHER_CLOUD,
    900439: _OTHER_CLOUD,
    7000112: "the app is disabled in the tenant: enable it there, under Enterprise applications",
    7000229: (
        "the app has no service principal in the tenant: an administrator of the tenant must consent to it at "
        "{consent_url}"
    ),
    # Microsoft's own trouble
    90024: _PASSING,
    90033: _PASSING,
    # Client secrets
    7000215: (
        f"the client secret is wrong; often its Secret ID was copied instead of its Value: make a new one {_SECRETS}, "
        "and copy its Value"
    ),
    7000222: f"the client secret has expired: make a new one {_SECRETS}",
    # Certificates
    700027: (
        f"the certificate is not registered with the app, or has expired: upload its public part {_SECRETS}, "
        "or point auth.certificate_file at the registered one"
    ),
    700024: "the assertion is not valid at this time: check this machine's clock, and that the token file is renewed",
    # Federated tokens
    70021: f"the app does not trust this token: compare issuer, subject and audience {_FEDERATED}",
    700211: f"the app does not trust tokens from this issuer: compare the issuer {_FEDERATED}",
    700212: f"the app does not trust tokens for this audience: compare the audience {_FEDERATED}",
    700213: f"the app does not trust tokens for this subject: compare the subject {_FEDERATED}",
    5002723: "auth.federated_token_file does not contain a token: check that it is the file the platform writes",
    50027: "auth.federated_token_file does not contain a token: check that it is the file the platform writes",
    # Sign-ins by device code
    7000218: "the app does not allow device codes: in the app registration (Authentication), allow public client flows",
    50020: _ANOTHER_ACCOUNT,
    50034: _ANOTHER_ACCOUNT,
    50057: "the account is disabled: sign in with another one; " + _SIGN_IN,
    50076: _MFA,
    50079: _MFA,
    50173: "the account's password or sessions were reset since it signed in; " + _SIGN_IN,
    53000: _BLOCKED,
    53001: _BLOCKED,
    53002: _BLOCKED,
    53003: _BLOCKED,
    530003: _BLOCKED,
    65001: "the app has no consent in this tenant: an administrator of the tenant must grant it at {consent_url}",
    65004: "the person declined; to try again, " + _SIGN_IN,
    70000: "the stored sign-in is no longer accepted; " + _SIGN_IN,
    70008: "the sign-in has expired; " + _SIGN_IN,
    70020: "the code expired before it was used; for a new one, " + _SIGN_IN,
    70043: "the sign-in has expired; " + _SIGN_IN,
    700082: "the sign-in was not used for too long; " + _SIGN_IN,
    700084: "the sign-in has expired; " + _SIGN_IN,
}

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


def refusal(tenant: Tenant, body: Mapping[str, Any], status: int = 0) -> ExporterError:
    """Return the error for a refusal of the login host: an OAuth error, or an empty body and the answer's status."""
    code = _code(body)
    kind = TenantError if code == _TENANT_NOT_FOUND else CredentialsError
    trace_id = str(body.get("trace_id") or "")
    trace = f" (Trace ID {trace_id})" if _TRACE_ID.fullmatch(trace_id) else ""
    what = "has no such tenant" if kind is TenantError else f"refused the credential of client {tenant.client_id}"
    return kind(
        f"{tenant.name}: Microsoft's login {what}: {_first_sentence(body, code, status)}{trace}",
        hint=hint_for(tenant, body) or ("" if is_refusal(body) else _NOT_MICROSOFT),
    )


def is_refusal(body: Mapping[str, Any]) -> bool:
    """Say whether a body says that something was refused."""
    return not body.keys().isdisjoint({"error", "error_description"})


def hint_for(tenant: Tenant, body: Mapping[str, Any]) -> str:
    """Return how to fix an OAuth error; empty where nothing better than the class's own hint is known."""
    hint = _HINTS.get(_code(body), _SIGN_IN if tenant.auth.kind == "device_code" else "")
    return hint.format(name=shlex.quote(tenant.name), consent_url=consent_url(tenant))


def _first_sentence(body: Mapping[str, Any], code: int, status: int) -> str:
    """Return the first sentence of the login host's description, short and without control characters."""
    description = str(body.get("error_description") or body.get("error") or "")
    sentence = re.split(r"\.\s|\r|\n", re.sub(r"^AADSTS\d+:\s*", "", description), maxsplit=1)[0]
    said = quotable(sentence, _LONGEST)
    if code:
        return f"AADSTS{code}, {said}"
    return said or (f"{status} without giving a reason" if status else "without giving a reason")


def _code(body: Mapping[str, Any]) -> int:
    """Return the number of an AADSTS error; 0 where there is none."""
    codes = body.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    found = re.match(r"AADSTS(\d{1,9})\b", str(body.get("error_description", "")))
    return int(found.group(1)) if found else 0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and when it expires, Unix seconds. Only Graph checks its signature: the claims are hints."""

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
    """Return why Graph refused a token that must carry `permission`, and the fix; empty where it shows nothing."""
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


def consent_fixing(tenant: Tenant, failure: Failure) -> str:
    """Return where an administrator consents if that fixes the failure, else nothing."""
    url = consent_url(tenant) if tenant.client_id else ""
    return url if failure.reason is Reason.PERMISSION or url in failure.hint else ""
