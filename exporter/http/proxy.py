"""Which hosts are reached through a proxy, and through which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib import request as urllib_request
from urllib.parse import urlsplit

from exporter.config.addresses import PROXY_FORM, is_proxy
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = ("HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy for every host that `no_proxy` does not name.

    Attributes:
        url: with user and password, if it needs them; empty for no proxy.
        no_proxy: hosts and domain suffixes reached directly, comma-separated, as in the variable NO_PROXY.
    """

    url: str = field(default="", repr=False)
    no_proxy: str = ""

    def covers(self, host: str) -> bool:
        """Say whether `host` (with or without its port) is reached through the proxy."""
        # The standard library's own reading of NO_PROXY; typeshed does not know it.
        bypass = urllib_request.proxy_bypass_environment  # type: ignore[attr-defined]
        return bool(self.url) and not bypass(host, {"no": self.no_proxy})

    @property
    def host(self) -> str:
        """Host and port, fit for a message; empty for no proxy."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def proxy_from(configured: str | None, environ: Mapping[str, str]) -> Proxy:
    """Return the proxy of the configuration, else of HTTPS_PROXY or ALL_PROXY; NO_PROXY counts for both.

    The variables may be in either case and may leave out `http://`, as curl's.

    Raises:
        ConfigError: the variable that counts is not the address of a proxy.
    """

    def variable(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    url = configured or ""
    if not url and (name := next(filter(variable, _VARIABLES), "")):
        url = variable(name)
        url = url if "://" in url else f"http://{url}"
        if not is_proxy(url):  # it may hold a password, so no message does
            error = f"{name}: is not the address of a proxy; {PROXY_FORM}"
            raise ConfigError((error,), hint="fix or unset the variable; SOCKS proxies are not supported")
    return Proxy(url, variable("NO_PROXY"))
