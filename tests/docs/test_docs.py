"""What the documentation says is so."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from exporter.cli import parse
from exporter.config import load
from exporter.config.settings import flags
from exporter.errors import Reason
from exporter.metrics import NAMES, OWN_FAMILIES, TENANT_FAMILIES, Family
from tests.docs.markdown import PAGES, ROOT, anchors, blocks, each_page, links
from tests.monitoring.names import RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


METRICS_HEAD = """# Metrics

<!-- Made from the code by tests/docs; `pytest tests/docs --update-golden` writes it. -->

One prefix, `office365_activations_`. No sample has a timestamp. A series that is not known is absent, never 0: before a
tenant's first outcome its `up` and `last_*` are absent. `tenant` is the tenant's name, `product_type` the name as
Microsoft gave it unless `report.product_names` maps it, `report` one of `reports`.

`/metrics?tenant=NAME` (repeatable) gives these tenants' series only.
"""
METRICS_TAIL = f"""
and `process_*` and `python_info`.

`reason` is one of: {", ".join(f"`{reason}`" for reason in Reason)}.
[The runbook](runbook/Office365TenantFailing.md) says what to do for each.
"""


def table(title: str, families: Iterable[Family]) -> str:
    """Return a Markdown table of metrics."""
    rows = [
        f"| `{family.full_name}` | {', '.join(family.labels) or '-'} | {family.type} | {family.help} |"
        for family in families
    ]
    return "\n".join([f"\n## {title}\n", "| metric | labels | type | |", "| --- | --- | --- | --- |", *rows, ""])


def test_the_metrics_page_is_the_codes_own_list(golden: Callable[[Path, str], None]) -> None:
    """docs/metrics.md lists every metric with its labels, type and HELP, as the code has them."""
    text = (
        METRICS_HEAD + table("Of each tenant", TENANT_FAMILIES) + table("Of the exporter", OWN_FAMILIES) + METRICS_TAIL
    )
    golden(ROOT / "docs" / "metrics.md", text)


@each_page
def test_every_metric_named_in_a_page_exists(page: Path) -> None:
    """A metric that a page names is one that the code publishes, or a rule records."""
    named = set(re.findall(r"[a-z_]*:?\boffice365_activations_[a-z_:]+[a-z]\b", page.read_text(encoding="utf-8")))
    assert named <= NAMES | RECORDED


@each_page
def test_every_flag_named_in_a_page_exists(page: Path) -> None:
    """A flag that a page names for the exporter is one that it takes."""
    named = set(re.findall(r"--(?:web|config|log|storage)\.[a-z.-]*[a-z]", page.read_text(encoding="utf-8")))
    assert named <= {one.flag for one in flags()}


@each_page
def test_every_command_in_a_page_parses(page: Path) -> None:
    """A command line of the exporter in a page's code is one that it accepts."""
    for line in re.findall(
        r"^\s*(?:\$ )?office365-activations-exporter ?(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE
    ):
        words = re.split(r"\s+(?:>|\||&&|#)\s*", line)[0].split()
        parse([word.strip("'\"") for word in words if word != "…"])


@each_page
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    """A relative link of a page names a file or folder of the repository, and a heading that is there."""
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target.name}#{anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    """Whoever begins at README.md and follows links comes to every page."""
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        new = {target for page in new for target, _ in links(page) if target.suffix == ".md"} - reached
    assert not set(PAGES) - reached


def test_troubleshooting_has_a_line_for_every_reason() -> None:
    """docs/troubleshooting.md has a line for every reason, in the order of the code; the runbook names each too."""
    rows = r"^\| `(\w+)` \|"
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("## By `reason`")[2].partition("\n## ")[0]
    assert re.findall(rows, table, re.MULTILINE) == ["reason", *Reason]
    runbook = (ROOT / "docs/runbook/Office365TenantFailing.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)`", runbook.partition("## Fix")[2])) >= set(Reason)


@each_page
def test_every_configuration_in_a_page_loads(page: Path, tmp_path: Path) -> None:
    """A YAML example that configures the exporter is a configuration without an error."""
    for example in (block.text for block in blocks(page) if block.language == "yaml"):
        if not re.search(r"^(tenants|tenant_files|auth|cloud):", example, re.MULTILINE):
            continue
        path = tmp_path / "exporter.yaml"
        path.write_text(example, encoding="utf-8")
        if example.startswith("# tenants.d/"):
            tenant_file = path.rename(tmp_path / "tenants.yaml")
            top = {"client_id": "00000000-0000-0000-0000-000000000000", "auth": {"managed_identity": {}}}
            path.write_text(json.dumps({**top, "tenant_files": [str(tenant_file)]}), encoding="utf-8")
        load({"config.file": str(path)}, {}, need_tenants=False)
