"""Which faults a run draws, and in which reasons a poll may end that met them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.errors import Reason
from tests.full_simulator import Stage
from tests.test_poller import CSV_FAULTS, JSON_FAULTS, TOKEN_FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.full_simulator import CallRecord

HEAVY = frozenset({"endless", "gzip-bomb", "huge-cell", "deep-json", "header-flood"})
"""Faults of many megabytes: drawn less often, for they cost a hundred polls each."""

CHANGED_NAMES: Mapping[str, str] = {'A "quoted", broken \\ name': "awkward-name"}
"""Names that a fault gave a line that was served, and the fault."""

REJECTED: Mapping[str, int] = {"one-bad-row": 1, "twice-unequal": 2, "huge-cell": 1, "nul-name": 1}
"""How many rows of the report are rejected after a fault; none after any other."""

_CSV_ONLY = frozenset(name for name in CSV_FAULTS if name.startswith("download-")) | {
    "direct-csv",
    "no-header",
    "reordered-columns",
    "extra-column",
    "missing-column",
    "no-bom",
    "truncated",
    "400-json-format",
    "400-json-format-wrapped",
    "binary",
}
_REFUSALS = {401: Reason.CREDENTIALS, 403: Reason.PERMISSION}
# In process there is no parser of HTTP that a flood of headers could overrun, and no deadline between them.
_HARMLESS_IN_PROCESS = frozenset({"header-flood", "slow", "drip-headers", "drip"})


def names(*, json: bool) -> tuple[str, ...]:
    """Return the faults that a tenant's calls may meet; the heavy ones less often."""
    found = (set(CSV_FAULTS) - _CSV_ONLY) | set(JSON_FAULTS) | {"nextlink"} if json else set(CSV_FAULTS)
    found |= set(TOKEN_FAULTS)
    return tuple(sorted(found - HEAVY) * 8 + sorted(found & HEAVY))


def reasons(last: CallRecord | None, *, json: bool) -> frozenset[Reason]:
    """Return the reasons in which a poll may fail whose last answer was this one."""
    if last is None:
        return frozenset({Reason.CONFIG})
    if last.fault:
        # A fault of the content or of the wire leaves a refusal as it is.
        refused = {_REFUSALS[last.status]} if last.status in _REFUSALS else set()
        return frozenset(_reasons_of(last, json=json) | refused)
    if last.stage is Stage.TOKEN:
        return frozenset({Reason.CREDENTIALS}) if last.status >= 400 else frozenset()
    return frozenset({_REFUSALS.get(last.status, Reason.SERVER)})


def _reasons_of(last: CallRecord, *, json: bool) -> set[Reason]:
    if last.fault in _HARMLESS_IN_PROCESS:
        return {Reason.NETWORK}
    if last.fault == "nextlink":  # on every page: they never end
        return {Reason.REPORT}
    if last.fault in TOKEN_FAULTS:
        return {TOKEN_FAULTS[last.fault]}
    by_json, by_csv = JSON_FAULTS.get(last.fault, (None, 0))[0], CSV_FAULTS.get(last.fault, (None, 0))[0]
    return {reason for reason in ((by_json, by_csv) if json else (by_csv,)) if reason is not None}
