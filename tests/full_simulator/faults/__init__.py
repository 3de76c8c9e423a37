"""Everything that can go wrong, by name: the shipped faults of the scenarios and all that only tests inject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.simulator import FAULTS as SHIPPED
from tests.full_simulator.faults.content import BROKEN, HARMLESS
from tests.full_simulator.faults.fault import Fault, Stage
from tests.full_simulator.faults.login import LOGIN_FAULTS
from tests.full_simulator.faults.refusals import DOWNLOAD_REFUSALS, GRAPH_REFUSALS
from tests.full_simulator.faults.wire import REDIRECT_FAULTS, WIRE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAULTS", "Fault", "Stage"]

_OF_THE_REPORT = {"cut-body", "gzip", "two-boms", *SCENARIOS["garbage"].faults["report"]}


def _stage(name: str) -> Stage:
    """Return the step that a shipped fault belongs to where a test names none."""
    if name in _OF_THE_REPORT:
        return Stage.REPORT
    return Stage.DOWNLOAD if name.startswith("download-") else Stage.GRAPH


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        *(Fault(name, _stage(name), "shipped", answer) for name, answer in SHIPPED.items()),
        *GRAPH_REFUSALS,
        *DOWNLOAD_REFUSALS,
        *LOGIN_FAULTS,
        *WIRE_FAULTS,
        *REDIRECT_FAULTS,
        *HARMLESS,
        *BROKEN,
    )
}
