"""Managed identities: tokens from an endpoint inside Azure.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
https://learn.microsoft.com/azure/app-service/overview-managed-identity
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msal
from msal import managed_identity as places

from exporter.auth.hints import hint_for
from exporter.errors import ConfigError, CredentialsError, NetworkError, ServerError
from exporter.http import raise_passing
from exporter.log import quotable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.config import Tenant
    from exporter.http import Answer, Clients, Deadline

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


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The HTTP client that MSAL is given for a managed identity's endpoint, which is never reached by a proxy."""

    tenant: Tenant
    clients: Clients
    deadline: Deadline
    clock: Callable[[], float]

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> Answer:
        try:
            answer = self.clients.request(
                "GET", url, endpoint="token", deadline=self.deadline, headers=headers, params=params, direct=True
            )
        except NetworkError as error:
            raise NetworkError(f"{self.tenant.name}: managed identity: {error.message}", hint=_ELSEWHERE) from None
        who = f"{self.tenant.name}: the managed identity's endpoint"
        raise_passing(answer, who, self.clock)
        if answer.status_code in _UPDATING:
            raise ServerError(
                f"{who} answered {answer.status_code}: Azure is renewing it",
                hint="nothing to do: this takes a minute at most",
            )
        return answer


def acquire(tenant: Tenant, clients: Clients, deadline: Deadline, clock: Callable[[], float]) -> Mapping[str, Any]:
    """Return MSAL's answer that holds the token of the tenant's managed identity.

    Raises:
        ConfigError: managed identities are not supported where this process runs.
        CredentialsError: this machine or app has no such identity, or it may not have the token.
        ServerError, ThrottledError: the endpoint fails, is being renewed or throttles, or its answer cannot be read.
        NetworkError: there was no answer.
    """
    place = places.get_managed_identity_source()
    if what := _UNSUPPORTED.get(place):
        raise ConfigError((f"{tenant.name}: auth.managed_identity: {what}",), hint=_OTHERWISE)
    chosen = tenant.auth.managed_identity
    client_id = chosen.client_id if chosen else None
    identity = (
        msal.UserAssignedManagedIdentity(client_id=client_id) if client_id else msal.SystemAssignedManagedIdentity()
    )
    endpoint = _Endpoint(tenant, clients, deadline, clock)
    client = msal.ManagedIdentityClient(identity, http_client=endpoint, http_cache={})
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
