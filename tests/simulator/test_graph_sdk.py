"""Microsoft's own SDK reads the reports from the simulation over TLS, unmodified but for addresses and CA."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest
from azure.identity import ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph_core import GraphClientFactory

if TYPE_CHECKING:
    import ssl

    from tests.full_simulator import SimulatorServer

# The SDK's generated classes, imported when first used, announce each other's deprecation.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This class is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:GetQueryParameters is deprecated:DeprecationWarning"),
]


async def read(server: SimulatorServer, trust: ssl.SSLContext, credential: ClientSecretCredential, name: str) -> bytes:
    """Return what the SDK gives for one of the reports."""
    base = f"{server.cloud.graph}/v1.0"
    # The SDK's middleware hides the client's own transport from its `aclose()`.
    transport = httpx.AsyncHTTPTransport(verify=trust)
    async with contextlib.aclosing(transport), httpx.AsyncClient(base_url=base, transport=transport) as client:
        provider = AzureIdentityAuthenticationProvider(
            credential, scopes=[f"{server.cloud.graph}/.default"], allowed_hosts=["localhost"]
        )
        with_middleware = GraphClientFactory.create_with_default_middleware(client=client)
        adapter = GraphRequestAdapter(provider, client=with_middleware)
        adapter.base_url = base
        reports = GraphServiceClient(request_adapter=adapter).reports
        body = await getattr(reports, name).get()
    assert isinstance(body, bytes)
    return body


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("get_office365_activations_user_counts", "activations_user_counts"),
        ("get_office365_activation_counts", "activations_platform_counts"),
    ],
)
def test_the_sdk_reads_the_report(server: SimulatorServer, trust: ssl.SSLContext, name: str, report: str) -> None:
    """azure-identity gets a token, msgraph-sdk follows the redirect without it, the numbers are the ones served."""
    simulator = server.simulator
    tenant = simulator.tenants[0]
    credential = ClientSecretCredential(
        tenant.tenant_id,
        tenant.client_id,
        tenant.secret,
        authority=server.cloud.login,
        disable_instance_discovery=True,
        connection_verify=str(server.ca_file),
    )
    with credential:
        body = asyncio.run(read(server, trust, credential, name))
    day = server.simulator.refresh_date(server.now())
    lines = body.decode("utf-8-sig").splitlines()[1:]
    rows = server.simulator.rows(tenant, report, day)
    assert lines == [",".join((day.isoformat(), row.product_type.upper(), *map(str, row.counts))) for row in rows]
    assert simulator.leaks == []
