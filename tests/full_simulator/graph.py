"""Graph with what the exporter never asks for: another method, a personal account's token, a page of a report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.simulator import graph as shipped
from exporter.simulator.graph import graph_error, with_ids
from exporter.simulator.login import read_signed
from tests.full_simulator.login import PERSONAL_TENANT

if TYPE_CHECKING:
    from exporter.simulator.state import Call, Response


def answer_graph(call: Call) -> Response:
    """Answer a request to Graph."""
    call.stage = "graph"
    claims = read_signed(call.simulation.seed, call.headers.get("authorization", "").partition(" ")[2])
    if claims.get("tid") == PERSONAL_TENANT:
        return with_ids(call, graph_error(call, 403, "UnknownError", "Personal Microsoft accounts are not supported."))
    if call.method != "GET":
        message = "Specified HTTP method is not allowed for the request target."
        return with_ids(call, graph_error(call, 405, "Request_BadRequest", message))
    response = shipped.answer_graph(call)
    skip = int(call.query.get("$skiptoken", "0"))
    if not skip or call.fault:
        return response
    document = json.loads(response.body)
    return replace(response, body=json.dumps(document | {"value": document["value"][skip:]}).encode())
