"""Microsoft's clouds: login, Graph, API version and download hosts of each.

Addresses and API versions: https://learn.microsoft.com/graph/deployments and the report's own pages, which offer it
in v1.0 for the global cloud only. The download hosts of the national clouds are not documented anywhere: the
suffixes below are unverified guesses at Microsoft's own domains, and `http.download_hosts` overrides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, PlainSerializer, PlainValidator

from exporter.config.errors import choose, rule
from exporter.config.types import HttpsAddress, Kind, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

_CUSTOM: Final = "custom"


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud.

    Attributes:
        name: global, usgov, usgov-dod, china or custom.
        authority: the login's address, without a trailing slash.
        graph: Graph's address, without a trailing slash.
        api_version: the API version that is taken where none is configured.
        download_hosts: the suffixes that a report's download may have where none are configured.
    """

    name: str
    authority: str
    graph: str
    api_version: str
    download_hosts: tuple[str, ...]

    @property
    def is_national(self) -> bool:
        """Whether this is one of the clouds whose Graph has the report in beta only."""
        return self.name in {"usgov", "usgov-dod", "china"}

    @property
    def stored_as(self) -> str:
        """What its reports are stored under: the name, or Graph's address where many clouds share one."""
        return self.graph if self.name == _CUSTOM else self.name


CLOUDS: Final[Mapping[str, Cloud]] = MappingProxyType(
    {
        cloud.name: cloud
        for cloud in (
            Cloud(
                "global",
                "https://login.microsoftonline.com",
                "https://graph.microsoft.com",
                "v1.0",
                (".office.com",),
            ),
            Cloud(
                "usgov",
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us",
                "beta",
                (".office.com", ".office365.us"),
            ),
            Cloud(
                "usgov-dod",
                "https://login.microsoftonline.us",
                "https://dod-graph.microsoft.us",
                "beta",
                (".office.com", ".office365.us"),
            ),
            Cloud(
                "china",
                "https://login.chinacloudapi.cn",
                "https://microsoftgraph.chinacloudapi.cn",
                "beta",
                (".office.com", ".office365.cn", ".partner.outlook.cn"),
            ),
        )
    }
)

# What people call a cloud elsewhere; GCC is the one for US government that lives in the global cloud.
_OTHER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("gcc", "worldwide", "public", "commercial", "azurecloud", "azurepubliccloud"), "global"),
        **dict.fromkeys(("gcc-high", "gcchigh", "gcc high", "gcch", "l4", "usgov-l4", "azureusgovernment"), "usgov"),
        **dict.fromkeys(("dod", "l5", "usgov-l5"), "usgov-dod"),
        **dict.fromkeys(("21vianet", "azurechina", "azurechinacloud", "cn"), "china"),
    }
)


class CustomCloud(Settings):
    """A pair of addresses in place of a cloud's name."""

    authority: HttpsAddress = Field(description="the login's address")
    graph: HttpsAddress = Field(description="Graph's address")


def _cloud(value: object) -> Cloud:
    if isinstance(value, str) and value in CLOUDS:
        return CLOUDS[value]
    if isinstance(value, dict):
        pair = CustomCloud.model_validate(value)
        # A gateway or the simulator: no download host but those configured.
        return Cloud(_CUSTOM, pair.authority, pair.graph, "v1.0", ())
    fix = "write global, or {authority: …, graph: …}"
    if isinstance(value, str):
        known = _OTHER_NAMES.get(value.lower())
        fix = f"write {known}, the name of this login's cloud" if known else choose(value, tuple(CLOUDS))
    raise rule(f"is not one of {', '.join(CLOUDS)}, nor a pair of addresses", fix)


def print_cloud(cloud: Cloud) -> Any:
    """Return a cloud as it is written in a file: its name, or its pair of addresses."""
    return {"authority": cloud.authority, "graph": cloud.graph} if cloud.name == _CUSTOM else cloud.name


CloudChoice = Annotated[Cloud, PlainValidator(_cloud), PlainSerializer(print_cloud), Kind("name or map", CustomCloud)]
