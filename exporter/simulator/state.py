"""Everything the simulation remembers, behind one lock, and the handles by which a test changes it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.simulator.devices import WAITING, Device, Plan
from exporter.simulator.directory import Directory
from exporter.simulator.drawing import digest
from exporter.simulator.throttle import Throttle
from exporter.simulator.tokens import Seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from exporter.simulator.counts import Row
    from exporter.simulator.faults import Fault
    from exporter.simulator.messages import Stage
    from exporter.simulator.tenants import Tenant

_LOG_LENGTH = 100_000


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One answered call: who asked for what, when (Unix seconds), and what came of it."""

    at: float
    tenant: str
    report: str
    stage: Stage
    status: int
    fault: str


@dataclass(slots=True)
class _Planned:
    fault: Fault
    stage: Stage
    left: int | None


class State(Directory):
    """The state of the simulation. Every method may be called from any thread.

    A tenant is named by itself, its name, its id or its domain; an unknown one is a KeyError.

    Args:
        seed: where every secret and number comes from.
        tenants: who exists.
        scenario: the name of the scenario that all tenants start in.
        faults: what can go wrong, by name.

    Attributes:
        calls: answered calls by tenant id, report (empty where the step has none) and stage.
        log: the last calls, oldest first.
        leaks: what a client sent where it must not, one sentence each; empty for a well-behaved client.
    """

    def __init__(self, seed: int, tenants: Sequence[Tenant], scenario: str, faults: Mapping[str, Fault]) -> None:
        super().__init__(tenants, scenario)
        self.seed = seed
        self.faults = faults
        self.calls: Counter[tuple[str, str, Stage]] = Counter()
        self.log: deque[CallRecord] = deque(maxlen=_LOG_LENGTH)
        self.leaks: list[str] = []
        self.seal = Seal(digest(seed, "seal", size=32))
        self.identity_header = digest(seed, "identity header").hex()
        self.system_identity = self.tenants[0].tenant_id if self.tenants else ""
        self._throttle = Throttle()
        self._planned: dict[str, list[_Planned]] = {}
        self._devices: dict[str, Device] = {}
        self._plan = WAITING
        self.poll_interval = 5
        self._served: dict[tuple[str, str, date], set[tuple[str, tuple[int, ...]]]] = {}

    # Faults

    def inject(
        self, tenant: Tenant | str, fault: str | Fault, *, times: int | None = 1, stage: Stage | None = None
    ) -> None:
        """Let the tenant's next `times` calls of a stage (the fault's own if left out) end in a fault.

        None for `times`: until `clear()`. Faults of one stage come in the order they were injected in.
        """
        known = self.faults[fault] if isinstance(fault, str) else fault
        with self._lock:
            self._planned.setdefault(self.tenant(tenant).tenant_id, []).append(
                _Planned(known, stage or known.stage, times)
            )

    def clear(self, tenant: Tenant | str) -> None:
        """Drop the tenant's injected faults."""
        with self._lock:
            self._planned.pop(self.tenant(tenant).tenant_id, None)

    def take_fault(self, tenant: Tenant, stages: tuple[Stage, ...]) -> Fault | None:
        """Return the injected fault that is due for one of `stages`, and count it as used."""
        with self._lock:
            planned = self._planned.get(tenant.tenant_id, [])
            due = next((plan for plan in planned if plan.stage in stages), None)
            if due is None:
                return None
            if due.left is not None:
                due.left -= 1
                if due.left <= 0:
                    planned.remove(due)
            return due.fault

    # Sign-in by device code

    def plan_sign_in(self, plan: Plan) -> None:
        """Say what the user does with device codes that are asked for from now on."""
        with self._lock:
            self._plan = plan

    def decide(self, user_code: str, plan: Plan) -> None:
        """Say what the user does with this code; KeyError if there is no such code."""
        with self._lock:
            device = next((each for each in self._devices.values() if each.user_code == user_code), None)
            if device is None:
                raise KeyError(user_code)
            device.plan, device.polls = plan, 0

    @property
    def sign_in_plan(self) -> Plan:
        """What the user will do with the next device code."""
        return self._plan

    def add_device(self, device: Device) -> None:
        """Remember a device code that was handed out."""
        with self._lock:
            self._devices[device.device_code] = device

    def device(self, device_code: str) -> Device | None:
        """Return the sign-in of that device code, or None."""
        with self._lock:
            return self._devices.get(device_code)

    def drop_device(self, device_code: str) -> None:
        """Forget a device code that has been used."""
        with self._lock:
            self._devices.pop(device_code, None)

    # Limits, numbers and records

    def admit(self, tenant: Tenant, client_id: str, report: str, *, json: bool, now: float) -> int:
        """Count a call of Graph; return 0, or the seconds to wait where it is over Microsoft's limits."""
        with self._lock:
            return self._throttle.admit(tenant.tenant_id, client_id, report, json=json, now=now)

    def open_windows(self) -> None:
        """Forget all calls that count against the limits."""
        with self._lock:
            self._throttle.forget()

    def record_call(self, record: CallRecord, tenant_id: str) -> None:
        """Count and remember an answered call."""
        with self._lock:
            self.calls[tenant_id, record.report, record.stage] += 1
            self.log.append(record)

    def record_leak(self, sentence: str) -> None:
        """Remember that a client sent something where it must not."""
        with self._lock:
            self.leaks.append(sentence)

    def record_served(self, tenant: Tenant, report: str, day: date, rows: Iterable[Row]) -> None:
        """Remember numbers that went out, with the names as they were written."""
        with self._lock:
            served = self._served.setdefault((tenant.tenant_id, report, day), set())
            served.update((row.product_type, row.counts) for row in rows)

    def served(self, tenant: Tenant | str, report: str, day: date) -> frozenset[tuple[str, tuple[int, ...]]]:
        """Return every pair of product type (as written) and counts that was served for that day."""
        with self._lock:
            return frozenset(self._served.get((self.tenant(tenant).tenant_id, report, day), ()))

    def count(self, tenant: Tenant | str, stage: Stage, report: str | None = None) -> int:
        """Return how many calls of the stage were answered; for one report, or for all."""
        tenant_id = self.tenant(tenant).tenant_id
        with self._lock:
            return sum(
                number
                for (known, name, step), number in self.calls.items()
                if known == tenant_id and step is stage and report in (None, name)
            )
