"""What the documentation says is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.cli.arguments import parse
from exporter.config import FLAGS, load
from exporter.errors import Reason
from exporter.families import NAMES, OWN_FAMILIES, TENANT_FAMILIES, Family
from tests.monitoring.names import PROMISED, RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

METRICS_HEAD = """# Metrics

<!-- Made from the code by tests/docs; `pytest tests/docs --update-golden` writes it anew. -->

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
    assert named <= NAMES | RECORDED | PROMISED


@each_page
def test_every_flag_named_in_a_page_exists(page: Path) -> None:
    """A flag that a page names for the exporter is one that it takes."""
    named = set(re.findall(r"--(?:web|config|log|storage)\.[a-z.-]*[a-z]", page.read_text(encoding="utf-8")))
    assert named <= {flag.name for flag in FLAGS}


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
    """A relative link of a page names a file or folder of the repository."""
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@each_page
def test_every_configuration_in_a_page_loads(page: Path, tmp_path: Path) -> None:
    """A YAML example that configures the exporter is a configuration without a fault."""
    for example in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if not re.search(r"^(tenants|tenant_files|auth|cloud):", example, re.MULTILINE):
            continue
        path = tmp_path / "exporter.yaml"
        path.write_text(example, encoding="utf-8")
        load({"config.file": str(path)}, {}, need_tenants=False)
