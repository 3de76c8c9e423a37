"""Everything that can go wrong, by name: `FAULTS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.faults.content import BROKEN, HARMLESS
from exporter.simulator.faults.fault import Fault
from exporter.simulator.faults.login import LOGIN_FAULTS
from exporter.simulator.faults.refusals import DOWNLOAD_REFUSALS, GRAPH_REFUSALS
from exporter.simulator.faults.wire import REDIRECT_FAULTS, WIRE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAULTS", "Fault"]

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        *GRAPH_REFUSALS,
        *DOWNLOAD_REFUSALS,
        *LOGIN_FAULTS,
        *WIRE_FAULTS,
        *REDIRECT_FAULTS,
        *HARMLESS,
        *BROKEN,
    )
}
