"""Access tokens, refresh tokens and what stands in them.

https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.simulator.aadsts import NO_CACHE
from exporter.simulator.devices import ORDINARY_USER
from exporter.simulator.messages import Response, json_response
from exporter.simulator.tenants import make_uuid
from exporter.simulator.tokens import encode_part

if TYPE_CHECKING:
    from exporter.simulator.call import Call
    from exporter.simulator.tenants import Tenant

PERMISSION = "Reports.Read.All"
PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
LIFETIME = 3599
_REFRESH_LIFETIME = 90 * 86400


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person agreed to: for which app and scopes, holding which directory roles."""

    client_id: str
    scope: str
    roles: tuple[str, ...]
    personal: bool


def application_claims(call: Call, tenant: Tenant, client_id: str, audience: str) -> dict[str, Any]:
    """Return the claims of a token by which an app acts as itself: what was granted stands in `roles`."""
    claims = _claims(call, tenant, client_id, audience) | {"idtyp": "app", "appidacr": "1"}
    if call.state.has_consent(tenant):
        claims["roles"] = [PERMISSION]
    return claims


def application_token(call: Call, tenant: Tenant, client_id: str, audience: str) -> Response:
    """Return the token endpoint's answer to client credentials."""
    token = call.state.seal.close(application_claims(call, tenant, client_id, audience))
    return json_response(200, _bearer(token), NO_CACHE)


def delegated_tokens(call: Call, tenant: Tenant, grant: Grant, audience: str) -> Response:
    """Return the token endpoint's answer when a person has signed in: access, refresh and id token."""
    user = make_uuid(call.state.seed, "user", tenant.name, grant.personal)
    home = PERSONAL_TENANT if grant.personal else tenant.tenant_id
    scopes = " ".join(("openid", "profile", "email", *((PERMISSION,) if call.state.has_consent(tenant) else ())))
    claims = _claims(call, tenant, grant.client_id, audience) | {
        "tid": home,
        "oid": user,
        "idtyp": "user",
        "scp": scopes,
        "wids": [*grant.roles, ORDINARY_USER],
        "upn": f"reader@{'outlook.com' if grant.personal else tenant.domain}",
    }
    document = _bearer(call.state.seal.close(claims)) | {"scope": scopes}
    document["client_info"] = encode_part(json.dumps({"uid": user, "utid": home}).encode())
    wanted = grant.scope.split()
    if "offline_access" in wanted:
        document["refresh_token"] = call.state.seal.close(_refresh_claims(call, tenant, grant))
    if "openid" in wanted:
        document["id_token"] = call.state.seal.close(_id_claims(call, tenant, grant, claims))
    return json_response(200, document, NO_CACHE)


def _bearer(token: str) -> dict[str, Any]:
    return {"token_type": "Bearer", "expires_in": LIFETIME, "ext_expires_in": LIFETIME, "access_token": token}


def _claims(call: Call, tenant: Tenant, client_id: str, audience: str) -> dict[str, Any]:
    issued = int(call.now)
    principal = make_uuid(call.state.seed, "principal", tenant.name, client_id)
    return {
        "aud": audience,
        "iss": f"{call.request.cloud.login}/{tenant.tenant_id}/",
        "iat": issued,
        "nbf": issued,
        "exp": issued + LIFETIME,
        "aio": encode_part(call.request_id.encode()),
        "app_displayname": "office365-activations-exporter",
        "appid": client_id,
        "idp": f"{call.request.cloud.login}/{tenant.tenant_id}/",
        "oid": principal,
        "sub": principal,
        "tid": tenant.tenant_id,
        "tenant_region_scope": "EU",
        "use": "access",
        "number": call.number,
        "ver": "1.0",
    }


def _refresh_claims(call: Call, tenant: Tenant, grant: Grant) -> dict[str, Any]:
    return {
        "use": "refresh",
        "tid": tenant.tenant_id,
        "appid": grant.client_id,
        "scope": grant.scope,
        "roles": grant.roles,
        "personal": grant.personal,
        "exp": int(call.now) + _REFRESH_LIFETIME,
        "number": call.number,
    }


def _id_claims(call: Call, tenant: Tenant, grant: Grant, access: dict[str, Any]) -> dict[str, Any]:
    return {
        "aud": grant.client_id,
        "iss": f"{call.request.cloud.login}/{access['tid']}/v2.0",
        "iat": access["iat"],
        "nbf": access["nbf"],
        "exp": access["exp"],
        "name": f"Reader of {tenant.name}",
        "oid": access["oid"],
        "preferred_username": access["upn"],
        "sub": access["sub"],
        "tid": access["tid"],
        "use": "id",
        "ver": "2.0",
    }
