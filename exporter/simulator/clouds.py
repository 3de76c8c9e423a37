"""Where Microsoft's hosts are: the four clouds by their real names, or one cloud on loopback.

Addresses: https://learn.microsoft.com/graph/deployments
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

IMDS = "http://169.254.169.254"


class Origin(StrEnum):
    """Which of Microsoft's hosts is asked."""

    LOGIN = "login"
    GRAPH = "graph"
    DOWNLOAD = "download"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud's addresses, without a slash at the end.

    Attributes:
        name: global, usgov, usgov-dod or china.
        login: where tokens come from.
        graph: Graph's address, also the audience its tokens must have.
        download: where the preauthenticated URLs point.
        identity: where managed identities get their tokens.
        v1: whether v1.0 has the activation reports, which only the global cloud does.
        resources: what a scope may name at this login, and the audience its token then has.
    """

    name: str
    login: str
    graph: str
    download: str
    identity: str
    v1: bool
    resources: tuple[tuple[str, str], ...]

    def audience(self, resource: str) -> str | None:
        """Return the audience of a token for `resource`, or None where this login knows no such resource."""
        wanted = resource.rstrip("/")
        return next((audience for name, audience in self.resources if name == wanted), None)


def _real(name: str, login: str, graph: str, download: str, resources: tuple[str, ...] = ()) -> Cloud:
    known = tuple((resource, resource) for resource in resources or (graph,))
    return Cloud(name, login, graph, download, IMDS, name == "global", known)


# The national clouds' download hosts were not found in public: these are inventions under the login's domain.
_USGOV_RESOURCES = ("https://graph.microsoft.us", "https://dod-graph.microsoft.us")
CLOUDS: Mapping[str, Cloud] = {
    cloud.name: cloud
    for cloud in (
        _real(
            "global",
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com",
            "https://reportsweu.office.com",
        ),
        _real(
            "usgov",
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
            "https://reports.office365.us",
            _USGOV_RESOURCES,
        ),
        _real(
            "usgov-dod",
            "https://login.microsoftonline.us",
            "https://dod-graph.microsoft.us",
            "https://dod-reports.office365.us",
            _USGOV_RESOURCES,
        ),
        _real(
            "china",
            "https://login.chinacloudapi.cn",
            "https://microsoftgraph.chinacloudapi.cn",
            "https://reports.partner.office365.cn",
        ),
    )
}


def loopback_cloud(name: str, *, login: str, graph: str, download: str, identity: str) -> Cloud:
    """Return the cloud `name` as it looks at the addresses given.

    Scopes may name Graph by the loopback address or, as unmodified clients do, by its real one.
    """
    real = CLOUDS[name]
    spellings = (graph, graph.replace("//localhost:", "//127.0.0.1:"), real.graph)
    resources = tuple((spelling, graph) for spelling in spellings)
    return Cloud(name, login, graph, download, identity, real.v1, resources)


def real_hosts() -> Mapping[str, tuple[Cloud, Origin]]:
    """Return each real host name with its cloud and role; a login shared by two clouds goes by the first."""
    hosts: dict[str, tuple[Cloud, Origin]] = {}
    for cloud in CLOUDS.values():
        for origin in Origin:
            address = str(getattr(cloud, origin.value))
            hosts.setdefault(urlsplit(address).netloc, (cloud, origin))
    return hosts
