"""Write the dashboards: `python -m monitoring.dashboards`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.dashboards import exporter, overview, tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent


def files() -> Mapping[str, str]:
    """Return the content of each generated file by its name."""
    boards = {"overview": overview.board(), "tenant": tenant.board(), "exporter": exporter.board()}
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {f"{name}.json": encoder.encode(board.build()) + "\n" for name, board in boards.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
