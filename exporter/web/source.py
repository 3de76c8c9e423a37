"""What the web endpoints need to know of the rest of the exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.status import Status


class Source(Protocol):
    """What a web server asks the exporter for."""

    def scrape(self, *, openmetrics: bool, gzip: bool, tenants: tuple[str, ...]) -> Sequence[bytes]:
        """Return the metrics, in pieces that make up the body; called on the event loop, so quick.

        Args:
            openmetrics: OpenMetrics 1.0.0 instead of text 0.0.4.
            gzip: the pieces make up one gzip member.
            tenants: only these tenants' series, in any order; all of them if empty.

        Raises:
            UnknownTenantError: one of `tenants` is not configured.
        """
        ...

    def ready(self) -> bool:
        """Say whether configuration, storage and the first rendering are done; called on the event loop."""
        ...

    def status(self, tenant: str | None = None) -> Status:
        """Return what page and API show: of one tenant with its history, or of all; called in a thread.

        Raises:
            UnknownTenantError: `tenant` is not configured.
        """
        ...

    def reload(self) -> tuple[bool, str]:
        """Read the configuration anew and say whether it is in force now, and a sentence for people.

        Called in a thread, never twice at once; it may block.
        """
        ...
