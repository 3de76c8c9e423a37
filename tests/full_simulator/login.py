"""The login host with every kind of credential: assertions, device codes and refresh tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from exporter.simulator import login as shipped
from exporter.simulator.login import (
    NO_CACHE,
    UNKNOWN_APP,
    UNKNOWN_RESOURCE,
    Aadsts,
    access_claims,
    application_token,
    bearer_document,
    encode_part,
    for_tenant,
    form_fields,
    read_signed,
    refusal,
    sign,
)
from exporter.simulator.state import PERMISSION, json_response
from exporter.simulator.tenants import make_uuid
from tests.full_simulator.assertions import RefusedError, check_assertion
from tests.full_simulator.devices import BLOCKED, LIFETIME, ORDINARY_USER, Decision, make_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.state import Call, Response
    from exporter.simulator.tenants import Tenant
    from tests.full_simulator.simulator import Simulator

PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
_REFRESH_LIFETIME = 90 * 86400
_DEVICE_GRANTS = ("urn:ietf:params:oauth:grant-type:device_code", "device_code")

_MISSING_FIELD = Aadsts(
    900144, 400, "invalid_request", "The request body must contain the following parameter: '{field}'."
)
_UNSUPPORTED_GRANT = Aadsts(
    70003, 400, "unsupported_grant_type", "The app requested an unsupported grant type '{grant}'."
)
_INVALID_SCOPE = Aadsts(
    1002012,
    400,
    "invalid_scope",
    "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with"
    " /.default suffixed to the resource identifier (application ID URI).",
)
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


def answer_login(call: Call) -> Response:
    """Answer a request to the login host."""
    if call.path.endswith("/oauth2/v2.0/devicecode"):
        return _answer(call, "device_code", _device_code)
    if not call.path.endswith("/oauth2/v2.0/token"):
        return shipped.answer_login(call)
    form = form_fields(call)
    grant = form.get("grant_type")
    if grant in _DEVICE_GRANTS:
        return _answer(call, "token", _redeem_device)
    if grant == "refresh_token":
        return _answer(call, "token", _refresh)
    return _answer(call, "token", _client_credentials)


def full(call: Call) -> Simulator:
    """Return the simulator of a call, with what only tests have."""
    return cast("Simulator", call.simulation)


def _answer(call: Call, stage: str, answer: Callable[[Call, Tenant, Mapping[str, str]], Response]) -> Response:
    """Answer for the tenant that the path names, given the form, unless something goes wrong."""

    def good(call: Call, tenant: Tenant) -> Response:
        try:
            return answer(call, tenant, form_fields(call))
        except RefusedError as refused:
            return refusal(call, refused.error, **refused.words)

    return for_tenant(call, stage, good)


def _required(form: Mapping[str, str], field: str) -> str:
    value = form.get(field)
    if not value:
        raise RefusedError(_MISSING_FIELD, field=field)
    return value


def _known_app(call: Call, tenant: Tenant, form: Mapping[str, str]) -> str:
    """Return the app that the form names; RefusedError where the tenant does not know it."""
    client_id = _required(form, "client_id").lower()
    if full(call).secrets(tenant, client_id) is None:
        raise RefusedError(UNKNOWN_APP, app=client_id, tenant=tenant.name)
    return client_id


def _client_credentials(call: Call, tenant: Tenant, form: Mapping[str, str]) -> Response:
    """Refuse what the exporter never sends, take an assertion, and leave secrets to the shipped simulator."""
    grant, client_id = _required(form, "grant_type"), _known_app(call, tenant, form)
    if grant != "client_credentials":
        raise RefusedError(_UNSUPPORTED_GRANT, grant=grant)
    if form.get("client_assertion") and not form.get("client_secret"):
        check_assertion(call, tenant, client_id, full(call).proofs(client_id), form["client_assertion"])
        return application_token(call, tenant, client_id, _resource(form))
    _resource(form)
    return shipped.token(call, tenant)


def _resource(form: Mapping[str, str]) -> str:
    """Return what the scope of client credentials names; RefusedError where it names no resource's default."""
    scope = _required(form, "scope")
    resource, default, rest = scope.partition("/.default")
    if not default or rest:
        raise RefusedError(_INVALID_SCOPE, scope=scope)
    return resource


def _device_code(call: Call, tenant: Tenant, form: Mapping[str, str]) -> Response:
    simulator = full(call)
    device = make_device(
        simulator.seed,
        call.number,
        tenant_id=tenant.tenant_id,
        client_id=_known_app(call, tenant, form),
        scope=_required(form, "scope"),
        now=call.now,
        plan=simulator.sign_in_plan,
    )
    simulator.devices[device.device_code] = device
    page = f"{call.cloud.login}/device"
    return json_response(
        200,
        {
            "user_code": device.user_code,
            "device_code": device.device_code,
            "verification_uri": page,
            "expires_in": LIFETIME,
            "interval": simulator.poll_interval,
            "message": f"To sign in, use a web browser to open the page {page} and enter the code"
            f" {device.user_code} to authenticate.",
        },
        NO_CACHE,
    )


def _redeem_device(call: Call, tenant: Tenant, form: Mapping[str, str]) -> Response:
    devices = full(call).devices
    _known_app(call, tenant, form)
    device = devices.get(_required(form, "device_code"))
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


def _refresh(call: Call, tenant: Tenant, form: Mapping[str, str]) -> Response:
    _known_app(call, tenant, form)
    claims = read_signed(call.simulation.seed, _required(form, "refresh_token"))
    if claims.get("use") != "refresh" or claims["tid"] != tenant.tenant_id:
        raise RefusedError(_INVALID_VALUE, field="refresh_token")
    if claims["exp"] <= call.now or full(call).is_revoked(claims):
        raise RefusedError(_REVOKED)
    scope = form.get("scope") or claims["scope"]
    grant = Grant(claims["appid"], scope, tuple(claims["roles"]), personal=claims["personal"])
    return _delegated_tokens(call, tenant, grant, _audience(call, tenant, scope))


def _audience(call: Call, tenant: Tenant, scope: str) -> str:
    """Return the audience of the one resource that a list of scopes names; Graph where it names none."""
    named = [each.rpartition("/")[0] for each in scope.split() if "://" in each]
    audience = call.cloud.resources.get(named[0]) if named else call.cloud.graph
    if audience is None:
        raise RefusedError(UNKNOWN_RESOURCE, resource=named[0], tenant=tenant.name)
    return audience


def _delegated_tokens(call: Call, tenant: Tenant, grant: Grant, audience: str) -> Response:
    """Return the token endpoint's answer when a person has signed in: access, refresh and id token."""
    user = make_uuid(call.simulation.seed, "user", tenant.name, grant.personal)
    home = PERSONAL_TENANT if grant.personal else tenant.tenant_id
    scopes = " ".join(
        ("openid", "profile", "email", *((PERMISSION,) if call.simulation.scenario(tenant).consent else ()))
    )
    claims = access_claims(call, tenant, grant.client_id, audience) | {
        "tid": home,
        "oid": user,
        "idtyp": "user",
        "scp": scopes,
        "wids": [*grant.roles, ORDINARY_USER],
        "upn": f"reader@{'outlook.com' if grant.personal else tenant.domain}",
    }
    document = bearer_document(sign(call.simulation.seed, claims)) | {"scope": scopes}
    document["client_info"] = encode_part(json.dumps({"uid": user, "utid": home}).encode())
    wanted = grant.scope.split()
    if "offline_access" in wanted:
        document["refresh_token"] = sign(call.simulation.seed, _refresh_claims(call, tenant, grant))
    if "openid" in wanted:
        document["id_token"] = sign(call.simulation.seed, _id_claims(call, tenant, grant, claims))
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
        "iss": f"{call.cloud.login}/{access['tid']}/v2.0",
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
