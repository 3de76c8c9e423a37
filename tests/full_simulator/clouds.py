"""The four clouds by Microsoft's real addresses, and each of them on loopback.

Addresses: https://learn.microsoft.com/graph/deployments
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exporter.simulator.state import Cloud

if TYPE_CHECKING:
    from collections.abc import Mapping

IMDS = "http://169.254.169.254"
BETA = ("beta",)


def _real(
    login: str,
    graph: str,
    download: str,
    *,
    resources: tuple[str, ...] = (),
    versions: tuple[str, ...] = BETA,
) -> Cloud:
    known = {resource: resource for resource in resources or (graph,)}
    return Cloud(login, graph, download, known, versions)


# The national clouds' download hosts were not found in public: these are inventions under the login's domain.
_USGOV_RESOURCES = ("https://graph.microsoft.us", "https://dod-graph.microsoft.us")
CLOUDS: Mapping[str, Cloud] = {
    "global": _real(
        "https://login.microsoftonline.com",
        "https://graph.microsoft.com",
        "https://reportsweu.office.com",
        versions=("v1.0", *BETA),
    ),
    "usgov": _real(
        "https://login.microsoftonline.us",
        "https://graph.microsoft.us",
        "https://reports.office365.us",
        resources=_USGOV_RESOURCES,
    ),
    "usgov-dod": _real(
        "https://login.microsoftonline.us",
        "https://dod-graph.microsoft.us",
        "https://dod-reports.office365.us",
        resources=_USGOV_RESOURCES,
    ),
    "china": _real(
        "https://login.chinacloudapi.cn",
        "https://microsoftgraph.chinacloudapi.cn",
        "https://reports.partner.office365.cn",
    ),
}


def on_loopback(cloud: Cloud, name: str) -> Cloud:
    """Return the simulated global cloud as the cloud `name`: scopes may name Graph by that cloud's real address."""
    real = CLOUDS[name]
    kept = {spelling: graph for spelling, graph in cloud.resources.items() if "//graph.microsoft.com" not in spelling}
    return replace(cloud, resources=kept | {real.graph: cloud.graph}, versions=real.versions)


def real_hosts() -> dict[str, tuple[Cloud, str]]:
    """Return each real host name with its cloud and role; a login shared by two clouds goes by the first."""
    hosts = {urlsplit(IMDS).netloc: (CLOUDS["global"], "identity")}
    for cloud in CLOUDS.values():
        for role in ("login", "graph", "download"):
            hosts.setdefault(urlsplit(str(getattr(cloud, role))).netloc, (cloud, role))
    return hosts
