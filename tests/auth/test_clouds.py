"""Every kind of credential in every cloud: the right authority, the right scope, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from exporter.config import CLOUDS
from tests.auth.kinds import KINDS, prepare
from tests.full_simulator import CLOUDS as SIMULATED_CLOUDS

if TYPE_CHECKING:
    from tests.auth.harness import Harness


def host(address: str) -> str:
    """Return what a proxy is asked for."""
    return f"{urlsplit(address).netloc}:443"


@pytest.mark.parametrize("cloud", [*CLOUDS, "custom"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_credential_reads_the_report_in_every_cloud(harness: Harness, kind: str, cloud: str) -> None:
    """A token for this cloud's Graph comes from this cloud's login, and reads the report over TLS."""
    tenant = prepare(harness, kind, cloud)
    harness.proxy.asked.clear()
    token = harness.succeed(tenant)
    assert token.claims["aud"] == tenant.cloud.graph
    assert token.claims["iss"] == f"{tenant.cloud.authority}/{harness.known.tenant_id}/"
    if "system" not in kind:
        assert token.claims["appid"] == harness.known.client_id
    if cloud == "custom":
        assert harness.proxy.asked == []
    else:
        # The login's connection may still be open from the sign-in; an identity's endpoint is never reached this way.
        hosts = {host(tenant.cloud.graph), host(SIMULATED_CLOUDS[cloud].download)}
        logins = {host(tenant.cloud.authority)}
        asked = set(harness.proxy.asked)
        assert asked - logins == hosts
        assert (asked & logins == logins) == (not kind.endswith(("IMDS", "App Service", "device code")))


@pytest.mark.parametrize("cloud", [*CLOUDS, "custom"])
def test_a_domain_names_a_tenant_as_well_as_its_id(harness: Harness, cloud: str) -> None:
    """`tenant_id` may be one of the tenant's domains."""
    harness.succeed(harness.tenant(cloud=cloud, tenant_id=harness.known.domain))


def test_a_token_of_one_cloud_is_never_used_in_another(harness: Harness) -> None:
    """The same tenant and app in two clouds have a token each."""
    tokens = [harness.succeed(harness.tenant(cloud=cloud)) for cloud in ("global", "usgov", "usgov-dod", "china")]
    assert [token.claims["aud"] for token in tokens] == [
        "https://graph.microsoft.com",
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
    ]
