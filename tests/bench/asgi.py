"""What uvicorn serves as a peer: a scrape on `/metrics`, and a short answer on every other path.

The scrape stands in the file that `BENCH_SCRAPE` names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_SCRAPE = Path(os.environ["BENCH_SCRAPE"]).read_bytes()


async def app(
    scope: Mapping[str, Any],
    _receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Answer one request."""
    body = _SCRAPE if scope["path"] == "/metrics" else b"healthy\n"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
