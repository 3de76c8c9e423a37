"""The options of the web server that flags set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from exporter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_FIXED = ("/", "/api/v1/status", "/-/healthy", "/-/ready", "/-/reload")


@dataclass(frozen=True, slots=True)
class Options:
    """The web server's settings, as the flags give them.

    Attributes:
        listen_address: `:9365`, `host:port`, `[::1]:9365` or `unix:/path`, one or more.
        telemetry_path: where the metrics are.
        config_file: the web configuration file of Prometheus' exporter-toolkit.
        route_prefix: before every path; where left out, the path of `external_url`.
        external_url: where people reach the exporter, through a reverse proxy for instance.
        enable_lifecycle: whether `/-/reload` may be used.
    """

    listen_address: tuple[str, ...] = (":9365",)
    telemetry_path: str = "/metrics"
    config_file: Path | None = None
    route_prefix: str | None = None
    external_url: str | None = None
    enable_lifecycle: bool = False

    def prefix(self) -> str:
        """Return the prefix of all paths, without a slash at its end; empty where there is none.

        Raises:
            ConfigError: `external_url` is not the URL of a web server, or the path cannot be one.
        """
        path = self.route_prefix
        if path is None:
            path = _path_of(self.external_url) if self.external_url else ""
        path = "/" + path.strip("/")
        if not path.isprintable():
            flag = "--web.external-url" if self.route_prefix is None else "--web.route-prefix"
            raise _error(flag, "its path holds a character that cannot be printed; remove it")
        return "" if path == "/" else path

    def telemetry(self) -> str:
        """Return the metrics' path, without the prefix.

        Raises:
            ConfigError: it is not a path, or is that of another endpoint.
        """
        path = self.telemetry_path
        if not path.startswith("/") or "?" in path or "#" in path:
            raise _error("--web.telemetry-path", f"{path!r} is not a path; write it like /metrics")
        if path in _FIXED[1:]:
            raise _error("--web.telemetry-path", f"{path!r} is the path of another endpoint; choose another")
        return path


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise _error("--web.external-url", f"{url!r} is not such a URL; write it like https://monitoring.example/o365")
    return unquote(parts.path)


def _error(flag: str, sentence: str) -> ConfigError:
    return ConfigError((f"{flag}: {sentence}",))
