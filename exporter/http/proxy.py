"""Which hosts are reached through a proxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib import request as urllib_request

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy for every host that `no_proxy` does not name.

    Attributes:
        url: with user and password, if it needs them; empty for no proxy.
        no_proxy: hosts and domain suffixes reached directly, comma-separated, as in the variable NO_PROXY.
    """

    url: str = ""
    no_proxy: str = ""

    def covers(self, host: str) -> bool:
        """Say whether `host` (with or without its port) is reached through the proxy."""
        return bool(self.url) and not _bypasses_proxy(host, self.no_proxy)


def proxy_from(configured: str | None, environ: Mapping[str, str]) -> Proxy:
    """Return the proxy of the configuration, else of HTTPS_PROXY or ALL_PROXY; NO_PROXY counts for both."""

    def variable(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    return Proxy(configured or variable("HTTPS_PROXY") or variable("ALL_PROXY"), variable("NO_PROXY"))


def _bypasses_proxy(host: str, no_proxy: str) -> bool:
    # The standard library's own reading of NO_PROXY; typeshed does not know it.
    return bool(urllib_request.proxy_bypass_environment(host, {"no": no_proxy}))  # type: ignore[attr-defined]
