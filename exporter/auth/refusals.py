"""What a refusal of the token endpoint means, and what a person can do about it.

Microsoft advises to take the AADSTS numbers as hints only
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes), so only one of them picks the error's
class; the others pick its hint.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from exporter.errors import CredentialsError, ExporterError, TenantError
from exporter.log import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.tenants import Tenant

_TENANT_NOT_FOUND = 90002

_HINTS = {
    7000215: (
        "the client secret is wrong: often the secret's ID was pasted in place of its value; "
        "make a new secret in the app registration (Certificates & secrets) and copy the column Value"
    ),
    7000222: "the client secret has expired: make a new one in the app registration (Certificates & secrets)",
    700016: (
        "the app is not known in this tenant: check client_id and tenant_id, "
        "or let an administrator of the tenant consent to the app"
    ),
    _TENANT_NOT_FOUND: "there is no such tenant in this cloud: check tenant_id, and cloud for a national cloud",
    900023: "tenant_id is neither a tenant's id nor one of its domains: copy it from the app registration's overview",
    700027: (
        "the certificate is not registered with the app, or has expired: upload its public part "
        "in the app registration (Certificates & secrets), or point certificate_file at the registered one"
    ),
    700024: "the assertion is not valid at this time: check this machine's clock, and that the token file is renewed",
    70021: "no federated credential of the app matches the token file: check issuer, subject and audience in the app",
    700211: "no federated credential of the app has the token file's issuer: check the issuer in the app",
    700213: "no federated credential of the app has the token file's subject: check the subject in the app",
    7000112: "the app is disabled in the tenant: enable it under Enterprise applications",
    53003: (
        "a Conditional Access policy blocks this sign-in: many organisations block device code; "
        "use a client secret, a certificate or a federated token in place of it"
    ),
    50076: "the account must use multi-factor authentication: sign in anew with the command login",
    70043: "the sign-in has expired: sign in anew with the command login",
    700082: "the sign-in has expired: sign in anew with the command login",
    50173: "the account's password or session was reset: sign in anew with the command login",
    65001: "nobody has consented to the app in this tenant: let an administrator open the URL that `check` prints",
}


def refusal(tenant: Tenant, body: Mapping[str, Any]) -> ExporterError:
    """Return the error for an OAuth error answer (`error`, `error_description`, `error_codes`, `trace_id`)."""
    code = _code(body)
    description = str(body.get("error_description") or body.get("error") or "no reason given")
    if code:
        said = f"AADSTS{code}"
        sentence = re.split(r"\.\s|\n", re.sub(r"^AADSTS\d+:\s*", "", description), maxsplit=1)[0]
        said += f", {redact(sentence)[:200]}"
    else:
        said = redact(description.splitlines()[0] if description else "")[:200]
    trace = str(body.get("trace_id") or body.get("correlation_id") or "")[:64]
    kind = TenantError if code == _TENANT_NOT_FOUND else CredentialsError
    return kind(
        f"{tenant.name}: Microsoft's login refused the credential of client {tenant.client_id}: {said}",
        hint=_HINTS.get(code, ""),
        request_id=trace,
    )


def _code(body: Mapping[str, Any]) -> int:
    codes = body.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    found = re.match(r"AADSTS(\d{1,9})\b", str(body.get("error_description", "")))
    return int(found.group(1)) if found else 0
