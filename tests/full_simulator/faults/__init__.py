"""Everything that can go wrong, by name: the shipped faults of the scenarios and all that only tests inject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator import faults as shipped
from tests.full_simulator.faults.content import BROKEN, HARMLESS
from tests.full_simulator.faults.login import LOGIN_FAULTS
from tests.full_simulator.faults.refusals import DOWNLOAD_REFUSALS, GRAPH_REFUSALS
from tests.full_simulator.faults.wire import REDIRECT_FAULTS, WIRE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.simulator.call import Fault

FAULTS: Mapping[str, Fault] = dict(shipped.FAULTS) | {
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
