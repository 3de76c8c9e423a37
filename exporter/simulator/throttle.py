"""Microsoft's limits on the reports, as sliding windows of ten minutes.

https://learn.microsoft.com/graph/throttling-limits#microsoft-365-reports-service-limits
"""

from __future__ import annotations

import math

WINDOW = 600.0
CSV_PER_APP, CSV_PER_TENANT, JSON_PER_APP = 14, 40, 100


class Throttle:
    """Counts calls per key over the last ten minutes; refused calls count too, as Microsoft's do."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, ...], list[float]] = {}

    def admit(self, tenant_id: str, client_id: str, report: str, *, json: bool, now: float) -> int:
        """Count one call; return 0 if it is within the limits, else the seconds to wait (Retry-After)."""
        if json:
            return self._wait(("json", tenant_id, client_id, report), JSON_PER_APP, now)
        own = self._wait(("csv", tenant_id, client_id, report), CSV_PER_APP, now)
        everybody = self._wait(("csv", tenant_id, report), CSV_PER_TENANT, now)
        return max(own, everybody)

    def forget(self) -> None:
        """Open every window anew."""
        self._calls.clear()

    def _wait(self, key: tuple[str, ...], limit: int, now: float) -> int:
        # As many calls as the limit are kept: the oldest of them says when the next one is welcome.
        calls = self._calls.setdefault(key, [])
        refused = len(calls) == limit and calls[0] > now - WINDOW
        calls.append(now)
        del calls[:-limit]
        return max(1, math.ceil(calls[0] + WINDOW - now)) if refused else 0
