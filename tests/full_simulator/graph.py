"""Graph, which refuses the tokens of personal Microsoft accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator import graph as shipped
from exporter.simulator.graph import bearer_token, graph_error, with_ids
from tests.full_simulator.login import PERSONAL_TENANT

if TYPE_CHECKING:
    from exporter.simulator.call import Call
    from exporter.simulator.messages import Response


def answer_graph(call: Call) -> Response:
    """Answer a request to Graph."""
    claims = call.state.seal.open(bearer_token(call))
    if claims and claims.get("tid") == PERSONAL_TENANT:
        return with_ids(call, graph_error(call, 403, "UnknownError", "Personal Microsoft accounts are not supported."))
    return shipped.answer_graph(call)
