"""The blocks of code in the pages: run as a reader would, or listed with the reason why not."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
import yaml

from tests.delivery.chart import render
from tests.delivery.manifests import refusals
from tests.docs.markdown import PAGES, ROOT, Block, blocks
from tests.full_simulator import Simulator, SimulatorServer
from tests.process import ALL_POLLED, Running, configure, environment
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = list({block.text: block for block in BLOCKS if block.language == "sh"}.values())

NOT_RUN = {
    r"^(helm|kubectl) ": "needs a cluster; tests/delivery runs the chart's command and probes",
    r"^make ": "CI runs each target; tests/delivery/newcomer runs `make demo` in a fresh clone",
    r"^docker ": "needs a container engine; `make image` starts the image, tests/delivery/test_compose.py the stack",
    r"^az |\(az ": "needs a tenant of Microsoft Entra",
    r"^systemctl |^journalctl ": "tests/delivery/test_systemd.py boots a systemd for docs/systemd.md",
    r"pip install office365": "make release-check installs the wheel",
    r"^promtool |^ +promtool ": "tests/monitoring/test_backfill.py runs promtool on what `history` writes",
    r"^vmagent ": "is not in the test tools; tests/monitoring scrapes with VictoriaMetrics itself",
    r"login\.microsoftonline\.com": "tests need no network",
    r" login contoso": "needs a person who signs in; tests/cli plays one",
    r"--storage\.path \"\$HOME": "runs until it is stopped: test_the_quick_start_serves",
}
"""Shell blocks that are not run, by a pattern of one of their lines, and why."""

LANGUAGES = {
    "sh": "run here",
    "yaml": "loaded here and in test_docs.py",
    "diff": "tests/test_adding.py applies it to a copy of the repository",
    "promql": "tests/monitoring/test_rules.py lets promtool check them",
    "powershell": "needs a tenant of Microsoft Entra",
    "hcl": "needs Terraform and a tenant of Microsoft Entra",
    "ini": "tests/delivery/test_systemd.py lets systemd read it",
    "alloy": "Grafana Alloy is not in the test tools",
    "text": "is no code",
    "": "is no code",
}
"""Every language of a block, and how it is held."""

PARSED_ONLY = {
    "apiVersion": "Grafana is not in the test tools",
    "receivers": "the OpenTelemetry collector is not in the test tools",
    "instances": "the Datadog agent is not in the test tools",
    "tls_server_config": "tests/web reads this file with all keys",
}
"""YAML for other programs by its first key, and why no program reads it here."""

OURS = {"cloud", "tenants", "tenant_files", "client_id", "auth"}
"""First keys of the exporter's own configuration, which test_docs.py loads."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PATH on which the command is this environment's."""
    folder = tmp_path_factory.mktemp("programs")
    start = folder / "office365-activations-exporter"
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m exporter "$@"\n', encoding="utf-8")
    start.chmod(0o755)
    return f"{folder}:{environment()['PATH']}"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """Return a folder with an `exporter.yaml` whose third tenant is refused, and the variables of its first tenant."""
    folder = tmp_path_factory.mktemp("reader")
    with SimulatorServer(Simulator(1, 3)) as server:
        path = configure(server, folder, {"storage": {"path": str(folder / "storage")}})
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        first, _, third = document["tenants"]
        first["name"] = "contoso"
        third["client_id"] = "00000000-0000-0000-0000-000000000000"
        path.rename(folder / "exporter.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        yield (
            folder,
            {
                "AZURE_TENANT_ID": first["tenant_id"],
                "AZURE_CLIENT_ID": first["client_id"],
                "AZURE_CLIENT_SECRET": first["auth"]["client_secret"],
                "OFFICE365_EXPORTER_CLOUD": json.dumps(document["cloud"]),
                "OFFICE365_EXPORTER_HTTP__CA_FILE": document["http"]["ca_file"],
                "OFFICE365_EXPORTER_HTTP__DOWNLOAD_HOSTS": json.dumps(document["http"]["download_hosts"]),
            },
        )


@pytest.fixture(scope="module")
def place(simulated: tuple[Path, dict[str, str]]) -> Iterator[dict[str, Path | str]]:
    """Return what a page's addresses and folders stand for, while an exporter runs."""
    folder = simulated[0]
    (folder / "backup").mkdir()
    trustme.CA().issue_cert("exporter.example").cert_chain_pems[0].write_to_path(str(folder / "exporter.pem"))
    with Running("--config.file", str(folder / "exporter.yaml"), log=folder / "log") as running:
        running.wait_until(ALL_POLLED)
        yield {
            "localhost:9365": running.address,
            "/var/lib/office365-activations-exporter": folder / "storage",
            "/backup": folder / "backup",
            "/run/secrets": folder,
        }


@pytest.mark.parametrize(
    "block",
    [block for block in SHELL if not any(re.search(pattern, block.text, re.MULTILINE) for pattern in NOT_RUN)],
    ids=lambda block: block.text.splitlines()[0][:60],
)
def test_commands_work_as_they_are_written(
    block: Block,
    place: dict[str, Path | str],
    simulated: tuple[Path, dict[str, str]],
    programs: str,
    tmp_path: Path,
) -> None:
    """A block of commands ends well where things are as its page says, and shows or writes something."""
    for program in ("curl", "jq", "sqlite3", "openssl"):
        if re.search(rf"\b{program} ", block.text):
            require(program)
    shutil.copy(simulated[0] / "exporter.yaml", tmp_path)
    script = block.text
    for name, stands_for in place.items():
        script = script.replace(name, str(stands_for))
    variables = {} if "--config.file" in script else simulated[1]
    for name, value in simulated[1].items():
        script = script.replace(f"{name}=…", f"{name}='{value}'")
    ended = subprocess.run(
        ["bash", "-u", "-c", script],
        cwd=tmp_path,
        env=environment(PATH=programs, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    # The third tenant fails, so that what shows failures has one to show.
    assert ended.returncode == int(script.strip().endswith("check --config.file exporter.yaml")), ended
    assert not re.search(r"command not found|usage:|syntax error", ended.stderr), ended.stderr
    written = [
        path
        for folder in (tmp_path, place["/backup"])
        for path in Path(folder).iterdir()
        if path.name != "exporter.yaml" and path.stat().st_size
    ]
    assert ended.stdout.strip() or written


def test_the_quick_start_serves(simulated: tuple[Path, dict[str, str]], programs: str, tmp_path: Path) -> None:
    """The command of the README serves the tenant under its name, and keeps its reports in a folder of one's own."""
    (name,) = {line for block in SHELL for line in block.text.splitlines() if "OFFICE365_EXPORTER_TENANT_NAME=" in line}
    (command,) = {block.text.strip() for block in SHELL if "$HOME" in block.text}
    start = ("bash", "-c", f'{name}\nexec {command} "$@"', "bash")
    variables = {"PATH": programs, "HOME": str(tmp_path), **simulated[1]}
    with Running(start=start, log=tmp_path / "log", **variables) as running:
        running.wait_until(r'^office365_activations_up\{.*tenant="contoso"\} 1\.0$')
        assert running.stop()[0] == 0
    (folder,) = tmp_path.glob(".local/state/*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "office365-activations.db").exists()


def test_what_is_not_run_is_known() -> None:
    """Every language has a rule, and every exception still has a block that needs it."""
    assert {block.language for block in BLOCKS} == set(LANGUAGES)
    for pattern in NOT_RUN:
        assert any(re.search(pattern, block.text, re.MULTILINE) for block in SHELL), pattern
    for key in PARSED_ONLY:
        assert any(key in document for block in BLOCKS if block.language == "yaml" for document in documents(block)), (
            key
        )


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.text.splitlines()[0][:60])
def test_shell_blocks_are_shell(block: Block) -> None:
    """A block of commands, also one that is not run, is without an error of syntax."""
    subprocess.run(["bash", "-n", "-c", block.text], check=True)


def documents(block: Block) -> list[dict[str, object]]:
    """Return the documents of a YAML block."""
    return [document for document in yaml.safe_load_all(block.text) if isinstance(document, dict)]


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "yaml"],
    ids=lambda block: f"{block.page}-{block.text.splitlines()[0][:40]}",
)
def test_yaml_is_read_by_the_program_it_is_for(block: Block, tmp_path: Path) -> None:
    """A YAML block is a file that its program takes: the exporter, Prometheus, Alertmanager or the chart."""
    (document,) = documents(block)
    if block.text.startswith("# values.yaml\n"):
        assert refusals(render(document)) == []
        return
    file = tmp_path / "file.yml"
    file.write_text(block.text, encoding="utf-8")
    first = next(iter(document))
    if first in OURS | set(PARSED_ONLY):
        return
    if "scrape_configs" in document:
        (tmp_path / "office365").mkdir()
        shutil.copy(ROOT / "monitoring/rules.yml", tmp_path / "office365")
        command = [str(require("promtool")), "check", "config", str(file)]
    elif "groups" in document:
        command = [str(require("promtool")), "check", "rules", "--lint-fatal", str(file)]
    else:
        assert "route" in document, f"which program reads {first}?"
        command = [str(require("amtool")), "check-config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
