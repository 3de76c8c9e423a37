"""The login host: discovery, device codes and the token endpoint, as MSAL uses them.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from exporter.simulator.aadsts import NO_CACHE, AadstsError, refusal
from exporter.simulator.assertions import check_assertion
from exporter.simulator.devices import LIFETIME, Decision, make_device
from exporter.simulator.issuing import Grant, application_token, delegated_tokens
from exporter.simulator.messages import Response, Stage, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.simulator.apps import App
    from exporter.simulator.call import Call
    from exporter.simulator.tenants import Tenant

_DEVICE_GRANTS = ("urn:ietf:params:oauth:grant-type:device_code", "device_code")
_STAGES: Mapping[str, Stage] = {
    "v2.0/.well-known/openid-configuration": Stage.DISCOVERY,
    "oauth2/v2.0/devicecode": Stage.DEVICE_CODE,
    "oauth2/v2.0/token": Stage.TOKEN,
}


def login_stage(path: str) -> Stage | None:
    """Return the step that a path of the login host stands for, or None."""
    return _STAGES.get(path.lstrip("/").partition("/")[2])


def answer_login(call: Call) -> Response:
    """Answer a request to the login host."""
    name = call.request.path.lstrip("/").partition("/")[0]
    call.tenant = call.state.find(name)
    if call.tenant is None:
        return refusal(call, 90002, tenant=name)
    tenant = call.tenant
    return call.may_fail(lambda: _answer(call, tenant))


def _answer(call: Call, tenant: Tenant) -> Response:
    try:
        if call.stage is Stage.DISCOVERY:
            return _discovery(call, tenant)
        if call.stage is Stage.DEVICE_CODE:
            return _device_code(call, tenant)
        return _token(call, tenant)
    except AadstsError as error:
        return refusal(call, error.code, **error.words)


def _discovery(call: Call, tenant: Tenant) -> Response:
    base = f"{call.request.cloud.login}/{tenant.tenant_id}"
    return json_response(
        200,
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "cloud_instance_name": call.request.cloud.login.partition("//")[2],
            "msgraph_host": call.request.cloud.graph.partition("//")[2],
        },
    )


def _device_code(call: Call, tenant: Tenant) -> Response:
    form = call.form()
    app = _known_app(call, tenant, _required(form, "client_id"))
    device = make_device(
        call.state.seed,
        call.number,
        tenant_id=tenant.tenant_id,
        client_id=app.client_id,
        scope=_required(form, "scope"),
        now=call.now,
        plan=call.state.sign_in_plan,
    )
    call.state.add_device(device)
    page = f"{call.request.cloud.login}/device"
    return json_response(
        200,
        {
            "user_code": device.user_code,
            "device_code": device.device_code,
            "verification_uri": page,
            "expires_in": LIFETIME,
            "interval": call.state.poll_interval,
            "message": f"To sign in, use a web browser to open the page {page} and enter the code"
            f" {device.user_code} to authenticate.",
        },
        NO_CACHE,
    )


def _token(call: Call, tenant: Tenant) -> Response:
    form = call.form()
    grant = _required(form, "grant_type")
    basic = call.basic_auth()
    if basic is not None:
        form |= {"client_id": unquote_plus(basic[0]), "client_secret": unquote_plus(basic[1])}
    app = _known_app(call, tenant, _required(form, "client_id"))
    if grant == "client_credentials":
        _check_client(call, tenant, app, form)
        return application_token(call, tenant, app.client_id, _default_resource(call, tenant, _required(form, "scope")))
    if grant in _DEVICE_GRANTS:
        return _redeem_device(call, tenant, _required(form, "device_code"))
    if grant == "refresh_token":
        return _refresh(call, tenant, form)
    raise AadstsError(70003, grant=grant)


def _known_app(call: Call, tenant: Tenant, client_id: str) -> App:
    app = call.state.app(client_id)
    if app is None or tenant.tenant_id not in app.tenant_ids:
        raise AadstsError(700016, app=client_id, tenant=tenant.name)
    return app


def _check_client(call: Call, tenant: Tenant, app: App, form: Mapping[str, str]) -> None:
    secret, assertion = form.get("client_secret"), form.get("client_assertion")
    if secret:
        if secret not in app.secrets:
            raise AadstsError(7000215, app=app.client_id)
        if call.state.secret_is_expired(tenant, app, secret):
            raise AadstsError(7000222, app=app.client_id)
    elif assertion:
        check_assertion(call, tenant, app, assertion)
    else:
        raise AadstsError(7000218)


def _default_resource(call: Call, tenant: Tenant, scope: str) -> str:
    """Return the audience that `{resource}/.default` stands for."""
    resource, default, rest = scope.partition("/.default")
    if not default or rest:
        raise AadstsError(1002012, scope=scope)
    return _audience(call, tenant, resource)


def _audience(call: Call, tenant: Tenant, resource: str) -> str:
    audience = call.request.cloud.audience(resource)
    if audience is None:
        raise AadstsError(500011, resource=resource, tenant=tenant.name)
    return audience


def _redeem_device(call: Call, tenant: Tenant, device_code: str) -> Response:
    device = call.state.device(device_code)
    if device is None or device.tenant_id != tenant.tenant_id:
        raise AadstsError(70000, field="device_code")
    decision = device.decide(call.now)
    if decision is Decision.PENDING:
        raise AadstsError(70016)
    call.state.drop_device(device_code)
    codes = {Decision.DECLINED: 65004, Decision.EXPIRED: 70020, Decision.BLOCKED: 53003}
    if decision in codes:
        raise AadstsError(codes[decision])
    grant = Grant(device.client_id, device.scope, device.plan.roles, personal=device.plan.personal)
    return delegated_tokens(call, tenant, grant, _delegated_audience(call, tenant, device.scope))


def _refresh(call: Call, tenant: Tenant, form: Mapping[str, str]) -> Response:
    claims = call.state.seal.open(_required(form, "refresh_token"))
    if not claims or claims.get("use") != "refresh" or claims["tid"] != tenant.tenant_id:
        raise AadstsError(70000, field="refresh_token")
    if claims["exp"] <= call.now or call.state.is_revoked(tenant, claims["number"]):
        raise AadstsError(50173)
    scope = form.get("scope") or claims["scope"]
    grant = Grant(claims["appid"], scope, tuple(claims["roles"]), personal=claims["personal"])
    return delegated_tokens(call, tenant, grant, _delegated_audience(call, tenant, scope))


def _delegated_audience(call: Call, tenant: Tenant, scope: str) -> str:
    """Return the audience of the one resource that a list of scopes names; Graph where it names none."""
    named = [each.rpartition("/")[0] for each in scope.split() if "://" in each]
    return _audience(call, tenant, named[0]) if named else call.request.cloud.graph


def _required(form: Mapping[str, str], field: str) -> str:
    value = form.get(field)
    if not value:
        raise AadstsError(900144, field=field)
    return value
