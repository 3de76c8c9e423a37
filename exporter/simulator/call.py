"""One call being answered, and what can go wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from exporter.simulator.reports import refresh_date, render_csv, render_json
from exporter.simulator.tenants import make_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from exporter.simulator.messages import Request, Response, Stage
    from exporter.simulator.reports import Line, Report
    from exporter.simulator.state import State
    from exporter.simulator.tenants import Tenant

    # Given the call and what would have been the good answer to it.
    Answer: TypeAlias = Callable[["Call", Callable[[], Response]], Response]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in place of a good answer.

    Attributes:
        name: as scenarios and tests know it.
        stage: the step it belongs to.
        summary: one line about it.
        answer: makes the faulty answer.
    """

    name: str
    stage: Stage
    summary: str
    answer: Answer


@dataclass(slots=True)
class Call:
    """What is known about a request while it is being answered.

    Attributes:
        state: the state of the simulation.
        request: what was sent.
        now: when, Unix seconds.
        stage: the step it belongs to.
        choose_fault: returns what goes wrong with this call; `data`: whether a good answer carries the report's data.
        tenant: whose it is, once that is known.
        report: which report it is about, once that is known.
        fault: the name of the fault it ended in, if any.
        json: whether the report was requested as JSON.
        number: the call's own number, from 1.
    """

    state: State
    request: Request
    now: float
    stage: Stage
    choose_fault: Callable[[Call, Tenant, bool], Fault | None]
    tenant: Tenant | None = None
    report: Report | None = None
    fault: str = ""
    json: bool = False
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.number = self.state.next_number()

    @property
    def report_name(self) -> str:
        """The report's name, or an empty string."""
        return self.report.name if self.report else ""

    @property
    def moment(self) -> datetime:
        """Now, in UTC."""
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def request_id(self) -> str:
        """The id that Microsoft's support would ask for."""
        return make_uuid(self.state.seed, "request", self.number)

    def may_fail(self, good: Callable[[], Response], *, data: bool = False) -> Response:
        """Return `good()`, or the faulty answer that is due.

        Args:
            good: the answer when nothing is wrong.
            data: whether that answer carries the report's data.
        """
        fault = self.choose_fault(self, self.tenant, data) if self.tenant else None
        if fault is None:
            return good()
        self.fault = fault.name
        return fault.answer(self, good)

    def subject(self) -> tuple[Tenant, Report]:
        """Return whose and which report the call is about; LookupError where that is not known (yet)."""
        if self.tenant is None or self.report is None:
            raise LookupError("this call is about no report")
        return self.tenant, self.report

    def lines(self, day: date | None = None) -> list[Line]:
        """Return the true lines of the report for `day`, the newest if left out."""
        day = day or self.day()
        rows = self.state.written_rows(*self.subject(), day, json=self.json)
        return [(day.isoformat(), row.product_type, *row.counts) for row in rows]

    def data(self, lines: Iterable[Line], *, next_link: str = "") -> bytes:
        """Return `lines` as the body of the report, in the format requested."""
        _, report = self.subject()
        if not self.json:
            return render_csv(report, lines)
        return render_json(report, lines, f"{self.request.cloud.graph}/beta/$metadata#{report.function}", next_link)

    def day(self) -> date:
        """Return the date of the newest report."""
        return refresh_date(self.now)
