"""Writes the chart's generated files: rules, inhibitions and dashboards of monitoring/, its version, and its README."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "office365-activations-exporter"
_ROW = re.compile(r"^( *)([A-Za-z]+):(.*)$")


def copies() -> dict[str, Path]:
    """Return what the chart carries of `monitoring/` (`helm package` follows no links): path in the chart → source."""
    monitoring = ROOT / "monitoring"
    found = {f"files/{name}": monitoring / name for name in ("rules.yml", "inhibit_rules.yml")}
    found |= {f"files/dashboards/{path.name}": path for path in sorted(monitoring.rglob("*.json"))}
    return {name: path for name, path in found.items() if path.exists()}


def chart_yaml() -> str:
    """Return Chart.yaml with the version of the package, which stands in `exporter/__init__.py` alone."""
    source = (ROOT / "exporter" / "__init__.py").read_text("utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]
    text = (CHART / "Chart.yaml").read_text("utf-8")
    text = re.sub(r"(?m)^version: .*$", f"version: {version}", text)
    text = re.sub(r"(?m)^appVersion: .*$", f'appVersion: "{version}"', text)
    return re.sub(r"(?m)^(      image: \S+):\S+$", rf"\1:{version}", text)


def readme() -> str:
    """Return the chart's README: its text, and a row for each `# --` comment of values.yaml."""
    template = (CHART / "README.md.in").read_text("utf-8")
    lines = (CHART / "values.yaml").read_text("utf-8").splitlines()
    values = yaml.safe_load("\n".join(lines))
    rows, path, comment = ["| Value | Default | |", "|---|---|---|"], list[str](), list[str]()
    for line in lines:
        text = line.strip()
        if text.startswith("# -- ") or (comment and text.startswith("# ")):
            comment.append(text.removeprefix("# ").removeprefix("-- "))
        elif match := _ROW.match(line):
            path = [*path[: len(match[1]) // 2], match[2]]
            if comment:
                rows.append(f"| `{'.'.join(path)}` | {_default(values, path)} | {' '.join(comment)} |")
            comment = []
    return template.replace("<!-- values -->", "\n".join(rows))


def _default(value: Any, path: list[str]) -> str:
    for key in path:
        value = value[key]
    if value in ("", None):
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).split("\n...")[0].strip()
    return f"`{text}`"


def main() -> int:
    """Write every file that differs; with `--check`, only name it and return 1."""
    wanted = {name: source.read_bytes() for name, source in copies().items()}
    wanted |= {"Chart.yaml": chart_yaml().encode(), "README.md": readme().encode()}
    here = {str(path.relative_to(CHART)) for path in (CHART / "files").rglob("*") if path.is_file()}
    stale = [
        name for name, data in wanted.items() if not (CHART / name).exists() or (CHART / name).read_bytes() != data
    ]
    left = sorted(here - set(wanted))
    if "--check" in sys.argv:
        for name in stale + left:
            sys.stderr.write(f"{CHART.relative_to(ROOT) / name} is not what it is made from: run make chart\n")
        return 1 if stale or left else 0
    shutil.rmtree(CHART / "files")
    for name, data in wanted.items():
        (CHART / name).parent.mkdir(parents=True, exist_ok=True)
        (CHART / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
