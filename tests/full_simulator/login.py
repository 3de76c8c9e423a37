"""The login host with every kind of credential: assertions, device codes and refresh tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.simulator import login as shipped
from exporter.simulator.login import (
    NO_CACHE,
    Aadsts,
    RefusedError,
    access_claims,
    application_token,
    audience_of,
    bearer_document,
    for_tenant,
    form_fields,
    known_app,
    required,
)
from exporter.simulator.messages import Stage, json_response
from exporter.simulator.state import PERMISSION, encode_part
from exporter.simulator.tenants import make_uuid
from tests.full_simulator.assertions import check_assertion
from tests.full_simulator.devices import BLOCKED, LIFETIME, ORDINARY_USER, Decision, make_device
from tests.full_simulator.state import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.simulator.call import Call
    from exporter.simulator.messages import Response
    from exporter.simulator.tenants import Tenant

PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
_REFRESH_LIFETIME = 90 * 86400
_DEVICE_GRANTS = ("urn:ietf:params:oauth:grant-type:device_code", "device_code")

_INVALID_VALUE = Aadsts(
    70000, 400, "invalid_grant", "The provided value for the input parameter '{field}' is not valid."
)
_PENDING = Aadsts(
    70016, 400, "authorization_pending", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."
)
_DECISIONS: Mapping[Decision, Aadsts] = {
    Decision.DECLINED: Aadsts(65004, 400, "authorization_declined", "User declined to consent to access the app."),
    Decision.EXPIRED: Aadsts(
        70020,
        400,
        "expired_token",
        "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
    ),
    Decision.BLOCKED: BLOCKED,
}
_REVOKED = Aadsts(
    50173,
    400,
    "invalid_grant",
    "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have"
    " changed or reset their password.",
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person agreed to: for which app and scopes, holding which directory roles."""

    client_id: str
    scope: str
    roles: tuple[str, ...]
    personal: bool


def login_stage(path: str) -> Stage | None:
    """Return the step that a path of the login host stands for, or None."""
    if path.lstrip("/").partition("/")[2] == "oauth2/v2.0/devicecode":
        return Stage.DEVICE_CODE
    return shipped.login_stage(path)


def answer_login(call: Call) -> Response:
    """Answer a request to the login host."""
    form = form_fields(call)
    if call.stage is Stage.DEVICE_CODE:
        return for_tenant(call, _device_code)
    if form.get("grant_type") in _DEVICE_GRANTS:
        return for_tenant(call, _redeem_device)
    if form.get("grant_type") == "refresh_token":
        return for_tenant(call, _refresh)
    if form.get("client_assertion") and not form.get("client_secret"):
        return for_tenant(call, _with_assertion)
    return shipped.answer_login(call)


def _device_code(call: Call, tenant: Tenant) -> Response:
    form, state = form_fields(call), state_of(call)
    app = known_app(call, tenant, form)
    device = make_device(
        state.seed,
        call.number,
        tenant_id=tenant.tenant_id,
        client_id=app.client_id,
        scope=required(form, "scope"),
        now=call.now,
        plan=state.sign_in_plan,
    )
    state.devices[device.device_code] = device
    page = f"{call.request.cloud.login}/device"
    return json_response(
        200,
        {
            "user_code": device.user_code,
            "device_code": device.device_code,
            "verification_uri": page,
            "expires_in": LIFETIME,
            "interval": state.poll_interval,
            "message": f"To sign in, use a web browser to open the page {page} and enter the code"
            f" {device.user_code} to authenticate.",
        },
        NO_CACHE,
    )


def _with_assertion(call: Call, tenant: Tenant) -> Response:
    form = form_fields(call)
    client_id = known_app(call, tenant, form).client_id
    check_assertion(call, tenant, client_id, state_of(call).proofs(client_id), form["client_assertion"])
    return application_token(call, tenant, client_id, form)


def _redeem_device(call: Call, tenant: Tenant) -> Response:
    form, devices = form_fields(call), state_of(call).devices
    known_app(call, tenant, form)
    device = devices.get(required(form, "device_code"))
    if device is None or device.tenant_id != tenant.tenant_id:
        raise RefusedError(_INVALID_VALUE, field="device_code")
    decision = device.decide(call.now)
    if decision is Decision.PENDING:
        raise RefusedError(_PENDING)
    del devices[device.device_code]
    if decision in _DECISIONS:
        raise RefusedError(_DECISIONS[decision])
    grant = Grant(device.client_id, device.scope, device.plan.roles, personal=device.plan.personal)
    return _delegated_tokens(call, tenant, grant, _audience(call, tenant, device.scope))


def _refresh(call: Call, tenant: Tenant) -> Response:
    form = form_fields(call)
    known_app(call, tenant, form)
    claims = call.state.seal.open(required(form, "refresh_token"))
    if not claims or claims.get("use") != "refresh" or claims["tid"] != tenant.tenant_id:
        raise RefusedError(_INVALID_VALUE, field="refresh_token")
    if claims["exp"] <= call.now or state_of(call).is_revoked(tenant, claims["number"]):
        raise RefusedError(_REVOKED)
    scope = form.get("scope") or claims["scope"]
    grant = Grant(claims["appid"], scope, tuple(claims["roles"]), personal=claims["personal"])
    return _delegated_tokens(call, tenant, grant, _audience(call, tenant, scope))


def _audience(call: Call, tenant: Tenant, scope: str) -> str:
    """Return the audience of the one resource that a list of scopes names; Graph where it names none."""
    named = [each.rpartition("/")[0] for each in scope.split() if "://" in each]
    return audience_of(call, tenant, named[0]) if named else call.request.cloud.graph


def _delegated_tokens(call: Call, tenant: Tenant, grant: Grant, audience: str) -> Response:
    """Return the token endpoint's answer when a person has signed in: access, refresh and id token."""
    user = make_uuid(call.state.seed, "user", tenant.name, grant.personal)
    home = PERSONAL_TENANT if grant.personal else tenant.tenant_id
    scopes = " ".join(("openid", "profile", "email", *((PERMISSION,) if call.state.has_consent(tenant) else ())))
    claims = access_claims(call, tenant, grant.client_id, audience) | {
        "tid": home,
        "oid": user,
        "idtyp": "user",
        "scp": scopes,
        "wids": [*grant.roles, ORDINARY_USER],
        "upn": f"reader@{'outlook.com' if grant.personal else tenant.domain}",
    }
    document = bearer_document(call.state.seal.close(claims)) | {"scope": scopes}
    document["client_info"] = encode_part(json.dumps({"uid": user, "utid": home}).encode())
    wanted = grant.scope.split()
    if "offline_access" in wanted:
        document["refresh_token"] = call.state.seal.close(_refresh_claims(call, tenant, grant))
    if "openid" in wanted:
        document["id_token"] = call.state.seal.close(_id_claims(call, tenant, grant, claims))
    return json_response(200, document, NO_CACHE)


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
