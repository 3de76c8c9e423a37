"""Managed identities: tokens from an endpoint inside Azure.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
https://learn.microsoft.com/azure/app-service/overview-managed-identity
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msal
from msal import managed_identity as places

from exporter.auth.aadsts import hint_for
from exporter.auth.msal_http import Response, raise_passing
from exporter.errors import ConfigError, CredentialsError, NetworkError, ServerError
from exporter.log import quotable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.config import Tenant
    from exporter.http import Clients, Deadline

_ASSIGN = (
    "assign the identity to this machine or app; set auth.managed_identity.client_id for a user-assigned identity, "
    "leave it out for the system-assigned one"
)
_ELSEWHERE = (
    "managed identities are available inside Azure only, and to pods only where the network allows it: "
    "elsewhere, use a certificate, a federated token or a client secret"
)
_OTHERWISE = "use a certificate, a federated token or a client secret here"
_UNSUPPORTED = {
    places.SERVICE_FABRIC: "managed identities of Azure Service Fabric are not supported",
    places.CLOUD_SHELL: "Azure Cloud Shell has no managed identity that an app can use",
}
_ARC = (
    "update the Azure Arc agent to a version with user-assigned identities, or leave out "
    "auth.managed_identity.client_id to use the machine's own identity"
)
_UPDATING = frozenset({404, 410})
"""What the endpoint answers while Azure renews it, for up to 70 seconds."""


class IdentityHttp:
    """The HTTP client that MSAL is given for a managed identity's endpoint, which is never reached by a proxy.

    Args:
        tenant: whose token is requested.
        clients: send the requests.
        deadline: when to give up.
        clock: Unix seconds.
    """

    def __init__(self, tenant: Tenant, clients: Clients, deadline: Deadline, clock: Callable[[], float]) -> None:
        self._tenant = tenant
        self._clients = clients
        self._deadline = deadline
        self._clock = clock

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> Response:
        """Call the endpoint.

        Raises:
            ThrottledError, ServerError: 429; 5xx, or the endpoint is being renewed.
            NetworkError: there was no answer.
        """
        try:
            answer = self._clients.request(
                "GET", url, endpoint="token", deadline=self._deadline, headers=headers, params=params, direct=True
            )
        except NetworkError as error:
            raise NetworkError(f"{self._tenant.name}: managed identity: {error.message}", hint=_ELSEWHERE) from None
        who = f"{self._tenant.name}: the managed identity's endpoint"
        raise_passing(answer, who, self._clock())
        if answer.status in _UPDATING:
            raise ServerError(
                f"{who} answered {answer.status}: Azure is renewing it",
                hint="nothing to do: this takes a minute at most",
            )
        return Response(answer.status, answer.text, dict(answer.headers))


def acquire(tenant: Tenant, http: IdentityHttp) -> Mapping[str, Any]:
    """Return MSAL's answer that holds the token of the tenant's managed identity.

    Raises:
        ConfigError: managed identities are not supported where this process runs.
        CredentialsError: this machine or app has no such identity, or it may not have the token.
        ServerError: the endpoint's answer cannot be read.
        ThrottledError, NetworkError: as `IdentityHttp.get`.
    """
    place = places.get_managed_identity_source()
    if what := _UNSUPPORTED.get(place):
        raise ConfigError((f"{tenant.name}: auth.managed_identity: {what}",), hint=_OTHERWISE)
    chosen = tenant.auth.managed_identity
    client_id = chosen.client_id if chosen else None
    identity = (
        msal.UserAssignedManagedIdentity(client_id=client_id) if client_id else msal.SystemAssignedManagedIdentity()
    )
    client = msal.ManagedIdentityClient(identity, http_client=http, http_cache={})
    try:
        result: Mapping[str, Any] = client.acquire_token_for_client(resource=tenant.cloud.graph)
    except (msal.ManagedIdentityError, OSError) as error:  # Arc: its key file, and identities that it did not confirm
        hint = _ARC if place is places.AZURE_ARC and client_id and "user-assigned" in str(error) else ""
        raise _refusal(tenant, {"error_description": str(error)}, hint) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):  # MSAL reads answers without checking them
        what = f"{tenant.name}: the managed identity's endpoint answered with something that is not a JSON object"
        raise ServerError(what, hint=_ELSEWHERE) from None
    if "access_token" not in result:
        raise _refusal(tenant, result)
    return result


def _refusal(tenant: Tenant, result: Mapping[str, Any], hint: str = "") -> CredentialsError:
    said = str(result.get("error_description") or result.get("error") or "no reason given")
    which = f"identity {tenant.client_id}" if tenant.client_id else "system-assigned identity"
    return CredentialsError(
        f"{tenant.name}: the managed identity returned no token ({which}): {quotable(said, 200)}",
        hint=hint or hint_for(tenant, result) or _ASSIGN,
    )
