"""Draw everything: `make screenshots` (ARGS="--only status" for a part).

Every picture goes to .tools/screenshots/pictures, the few that README and docs show also to docs/pictures.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright

from monitoring.dashboards.__main__ import files
from tests.monitoring.backfilled import backfilled
from tests.process import ALL_POLLED, Running
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / ".tools" / "screenshots"
PICTURES = WORK / "pictures"
DOCS = ROOT / "docs" / "pictures"
SHOWN = ("overview-dark", "tenant-light", "exporter-dark", "status-failing-light", "status-tenant-dark")
"""What README and docs show."""

SECONDS = {"overview": 90 * 86400, "tenant": 90 * 86400, "exporter": 120}
WIDTHS = {"wide": 1100, "narrow": 375}
THEMES = ("dark", "light")


def main(words: list[str]) -> int:
    """Draw; return 1 if anything is wrong with what was drawn."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots")
    parser.add_argument("--only", choices=("dashboards", "status"), help="draw this part alone")
    only = parser.parse_args(words).only
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(require("chromium")), args=["--no-sandbox"])
        errors = [] if only == "status" else list(_dashboards(browser, Path(temporary)))
        errors += [] if only == "dashboards" else list(_status_pages(browser, Path(temporary)))
        browser.close()
    for name in SHOWN:
        if (picture := PICTURES / f"{name}.png").exists():
            _compact(picture, DOCS / f"{name}.png")
    for error in errors:
        sys.stderr.write(f"{error}\n")
    return 1 if errors else 0


def _dashboards(browser: Browser, folder: Path) -> Iterator[str]:
    """Draw each dashboard over a Prometheus with 90 days; yield what went wrong in the browser."""
    for name in ("build.mjs", "panels.jsx"):
        shutil.copy(HERE / name, WORK)
    subprocess.run([require("node"), "build.mjs"], cwd=WORK, check=True)
    site = WORK / "site"
    shutil.copy(HERE / "index.html", site)
    with backfilled(folder, "--tenants", "12") as (prometheus,), _served(site) as address:
        prometheus.wait_for("count_over_time(office365_activations_exporter_build_info[5m]) > 90")
        for theme in THEMES:
            for file, text in files().items():
                name = file.removesuffix(".json")
                board = json.loads(_filled_in(text, SECONDS[name]))
                settings = {"prometheus": f"http://{prometheus.address}", "seconds": SECONDS[name], "theme": theme}
                (site / "board.json").write_text(json.dumps(settings | {"dashboard": board}), encoding="utf-8")
                lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
                page = browser.new_page(viewport={"width": 1400, "height": lines * 38 + 8})
                messages: list[str] = []
                page.on("pageerror", functools.partial(_note, messages))
                page.goto(f"{address}/index.html")
                page.wait_for_function("document.body.dataset.drawn", timeout=120_000)
                if page.evaluate("document.body.dataset.drawn") != "yes" or messages:
                    yield f"{name}, {theme}: not drawn: {messages}"
                page.screenshot(path=PICTURES / f"{name}-{theme}.png")
                page.close()


def _note(messages: list[str], error: object) -> None:
    messages.append(str(error))


def _filled_in(board: str, seconds: int) -> str:
    """Return a dashboard with the values that Grafana would put in the place of its variables."""
    values = {"__rate_interval": "1m", "__range": f"{seconds}s", "job": ".+", "instance": ".+", "product_type": ".+"}
    tenant = "contoso" if json.loads(board)["uid"] == "office365-tenant" else ".+"
    for name, value in values.items():
        board = board.replace(f"${name}", value)
    return board.replace("${tenant:regex}", tenant)


def _status_pages(browser: Browser, folder: Path) -> Iterator[str]:
    """Draw the status page in its states, widths and themes; yield what is wrong with it."""
    axe = (WORK / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    wrong = browser.new_page()
    wrong.set_content("<img src=picture.png>")
    if "image-alt" not in {violation["id"] for violation in wrong.evaluate(f"{axe}; axe.run()")["violations"]}:
        yield "axe-core finds nothing wrong with an image without a text: its silence about the pages means nothing"
    wrong.close()
    scenarios = {"ok": ["--tenants", "12"], "failing": ["--scenario", "no-consent"], "crowd": ["--tenants", "2000"]}
    for state, words in scenarios.items():
        with Running("demo", *words, log=folder / f"{state}.log") as demo:
            demo.wait_until(ALL_POLLED)
            views = {f"status-{state}": "", f"status-{state}-sorted": "?sort=ratio&state=below"}
            if state != "crowd":
                views[f"status-{state}-tenant" if state == "failing" else "status-tenant"] = "?tenant=contoso"
            for name, query in views.items():
                for theme in THEMES:
                    for width, pixels in WIDTHS.items():
                        picture = f"{name}-{theme}" + ("" if width == "wide" else f"-{width}")
                        address = f"http://{demo.address}/{query}"
                        for error in _status_page(browser, address, picture, theme=theme, width=pixels, axe=axe):
                            yield f"{picture}: {error}"


def _status_page(browser: Browser, address: str, picture: str, *, theme: Any, width: int, axe: str) -> Iterator[str]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=False)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(address)
    yield from (message for message in messages if "favicon" not in message)
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        yield f"{wide} pixels wide: it scrolls sideways"
    page.screenshot(path=PICTURES / f"{picture}.png")
    for violation in page.evaluate(f"{axe}; axe.run()")["violations"]:
        yield f"{violation['id']}: {violation['help']}: {violation['nodes'][0]['html'][:200]}"
    page.close()


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _compact(picture: Path, to: Path) -> None:
    """Write a picture with few colours, so that it is small."""
    to.parent.mkdir(exist_ok=True)
    with Image.open(picture) as image:
        image.convert("RGB").quantize(96).save(to, optimize=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
