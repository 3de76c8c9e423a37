"""Microsoft's login and Graph as one configuration reaches them: clients, credentials, tokens and the poller.

Its libraries (msal, httpx, cryptography) take half a second to import. `serve` imports this module only when its
endpoints answer.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

from exporter.auth.credentials import Credentials
from exporter.auth.tokens import TokenSource
from exporter.config.types import PROXY_FORM, is_proxy
from exporter.errors import ConfigError
from exporter.http import Clients, Proxy, tls_context
from exporter.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from exporter.config import Config
    from exporter.quota import Budget


class Microsoft:
    """Clients, credentials, tokens and poller for one configuration: every command gets them here.

    Raises:
        ConfigError: `http.ca_file` cannot be used, or HTTPS_PROXY is not the address of a proxy.
    """

    def __init__(
        self,
        config: Config,
        budget: Budget,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        count: Callable[[str, str], None] = lambda _endpoint, _code: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        proxy = config.root.http.proxy
        self.clients = Clients(
            tls=None if transport else tls_context(config.root.http.ca_file),
            proxy=proxy_from(proxy.get_secret_value() if proxy else None, environ),
            transport=transport,
            count=count,
        )
        # When nobody uses this any more: a reload replaces it while polls go on with it.
        weakref.finalize(self, self.clients.close)
        self.credentials = Credentials()
        self.tokens = TokenSource(self.clients, self.credentials, clock=clock, folder=config.root.storage.path)
        self.poller = Poller(self.clients, self.tokens, budget, clock=clock)

    def close(self) -> None:
        self.clients.close()


def proxy_from(configured: str | None, environ: Mapping[str, str]) -> Proxy:
    """Return the proxy of the configuration, else of HTTPS_PROXY or ALL_PROXY; NO_PROXY counts for both.

    The variables may be in either case and may leave out `http://`, as curl's.

    Raises:
        ConfigError: the variable that counts is not the address of a proxy.
    """

    def variable(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    url = configured or ""
    if not url and (name := next(filter(variable, ("HTTPS_PROXY", "ALL_PROXY")), "")):
        url = variable(name)
        url = url if "://" in url else f"http://{url}"
        if not is_proxy(url):  # it may hold a password, so no message does
            error = f"{name}: is not the address of a proxy; {PROXY_FORM}"
            raise ConfigError((error,), hint="fix or unset the variable; SOCKS proxies are not supported")
    return Proxy(url, variable("NO_PROXY"))
