"""One poll of one tenant's report, from token to outcome, retries included."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from exporter.auth.hints import advice
from exporter.errors import (
    NEEDS_OPERATOR,
    ExporterError,
    InternalError,
    PermissionMissingError,
    ReportError,
    ThrottledError,
)
from exporter.graph import Graph, RawReport, UnauthorizedError
from exporter.http import Deadline
from exporter.log import get_logger
from exporter.reports import REPORTS
from exporter.state import Failure, Outcome, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.auth.tokens import TokenSource
    from exporter.config import Tenant
    from exporter.http import Clients
    from exporter.quota import Budget
    from exporter.reports import Report
    from exporter.state import Key, Standing

log = get_logger(__name__)

_LONGEST_PAUSE = 15.0


class Poller:
    """Polls one tenant's report at a time; used by many threads at once."""

    def __init__(
        self,
        clients: Clients,
        tokens: TokenSource,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._clients = clients
        self._tokens = tokens
        self._budget = budget
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        # One at a time: JSON can take a dozen times its size while it is parsed, and polls are many.
        self._parsing = threading.Lock()

    def poll(self, tenant: Tenant, key: Key, standing: Standing) -> Outcome:
        """Read the report once, with retries; whatever goes wrong becomes the outcome's failure.

        After a failure that needs an operator, the token is a fresh one.
        """
        started = self._monotonic()
        report = REPORTS[key.report]
        rejected: int | None = None
        not_before = 0.0
        snapshot, failure = None, None
        try:
            fresh = standing.failure is not None and standing.failure.reason in NEEDS_OPERATOR
            raw = self._read(tenant, report, key, fresh=fresh)
            snapshot, rejected = self._snapshot(tenant, report, raw)
        except ThrottledError as error:
            failure = _failure(tenant, error)
            not_before = self._clock() + error.retry_after
        except (PermissionMissingError, UnauthorizedError) as error:
            failure = _failure(tenant, error, hint=advice(tenant, report.permission, self._tokens.held(tenant)))
        except ExporterError as error:
            failure = _failure(tenant, error)
        except Exception as error:  # a bug in the exporter costs one poll, never the process
            log.exception("a poll failed: this is a bug in the exporter", tenant=tenant.name, report=key.report)
            failure = _failure(tenant, InternalError(f"{type(error).__name__} in the exporter's code"))
        return Outcome(self._clock(), self._monotonic() - started, snapshot, failure, rejected, not_before)

    def _read(self, tenant: Tenant, report: Report, key: Key, *, fresh: bool) -> RawReport:
        """Read with retries of what may pass: exponential backoff with full jitter, inside the poll's timeout."""
        deadline = Deadline(tenant.poll.timeout, self._monotonic)
        graph = Graph(tenant, self._clients, deadline, self._clock, lambda: self._spend(tenant, key), self._parsing)
        renewed = fresh
        spread = 2.0
        while True:
            try:
                token = self._tokens.token(tenant, deadline, fresh=fresh)
                fresh = False
                return graph.read(report.function, token.value)
            except UnauthorizedError as error:
                if renewed or not self._may_call(tenant, key):
                    again = f"{error.message}, with a new token"
                    raise UnauthorizedError(again, request_id=error.request_id) from None
                fresh = renewed = True  # expired or revoked since it was given: one new token, one more call
            except ExporterError as error:
                asked = error.retry_after if isinstance(error, ThrottledError) else 0.0
                pause = asked + self._rng.uniform(0, spread)
                if not error.transient or not self._may_call(tenant, key) or pause >= deadline.remaining():
                    raise
                log.debug(
                    "trying again within the same poll",
                    tenant=tenant.name,
                    report=report.name,
                    pause_seconds=round(pause, 1),
                    error=error.message,
                )
                spread = min(2 * spread, _LONGEST_PAUSE)
                self._sleep(pause)

    def _spend(self, tenant: Tenant, key: Key) -> None:
        if not self._budget.spend(key, tenant.report.format):
            wait = self._budget.free_at(key, tenant.report.format) - self._clock()
            raise ThrottledError("the exporter's call budget is used up", retry_after=wait)

    def _may_call(self, tenant: Tenant, key: Key) -> bool:
        return self._budget.remaining(key, tenant.report.format) > 0

    def _snapshot(self, tenant: Tenant, report: Report, raw: RawReport) -> tuple[Snapshot, int]:
        try:
            with self._parsing:
                parsed = report.parse(raw.pages, tenant.report.format, now=self._clock(), measured=raw.measured)
        except ReportError as error:
            raise ReportError(f"the report is not usable: {error.message}", request_id=raw.request_id) from None
        if parsed.rejected:
            log.warning(
                "rows of the report were rejected, their product types are withdrawn",
                tenant=tenant.name,
                report=report.name,
                rejected=len(parsed.rejected),
                first=parsed.rejected[0],
                request_id=raw.request_id,
            )
        snapshot = Snapshot(parsed.refresh_date, parsed.rows, self._clock(), raw.request_id)
        if kept := snapshot.kept_names(tenant.report.product_names):
            log.warning(
                "product_names would map two product types to one label: Microsoft's names are used",
                tenant=tenant.name,
                report=report.name,
                product_types=", ".join(kept),
            )
        return snapshot, len(parsed.rejected)


def _failure(tenant: Tenant, error: ExporterError, hint: str = "") -> Failure:
    """Return the failure in a sentence that names the tenant: what happens on the network knows only the host."""
    named = error.message.startswith(f"{tenant.name}: ")
    message = error.message if named else f"{tenant.name}: {error.message}"
    return Failure(error.reason, message, hint or error.hint, error.request_id)
