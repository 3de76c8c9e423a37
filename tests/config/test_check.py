"""What a start refuses, `--config.check` refuses, and everything that is no file, at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from exporter.auth.credentials import Credentials
from exporter.cli import parse, serve
from exporter.errors import ConfigError
from tests.config.loading import AZURE, TENANT, UUID, errors, loaded, written

if TYPE_CHECKING:
    from pathlib import Path


def check(*flags: str, **environ: str) -> str:
    """Run `serve --config.check` and return its errors; empty where there are none."""
    try:
        assert serve.run(parse(["--config.check", *flags]), {**AZURE, **environ}) == 0
    except ConfigError as error:
        return error.message
    return ""


def test_ok(capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that can be used is called ok."""
    assert check() == ""
    assert capsys.readouterr().out == "the configuration is ok (tenants: 1)\n"


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--web.listen-address=unix:relative.sock", "is not an absolute path of a Unix socket; write it as unix:/run"),
        ("--web.listen-address=unix:", "is not an absolute path of a Unix socket; write it as unix:/run"),
        (f"--web.listen-address=unix:/{'x' * 107}", "is longer than the 107 bytes of a"),
        ("--web.listen-address=:65536", "is not an address to listen on"),
        ("--web.listen-address=host", "is not an address to listen on"),
        ("--web.external-url=https://x.example/#part", "is not a web address; write it as https://example.com/path"),
        ("--web.external-url=https://x.example/%0d%0aSet-Cookie:x", "contains a control character"),
        ("--web.external-url=x.example", "is not a web address"),
        ("--web.external-url=http://[::1/x", "is not a web address"),
        ("--web.telemetry-path=/m?x", "is not a URL path; write it as /metrics"),
        ("--web.external-url=https://:hush@x.example/", "is not a web address"),
        ("--web.telemetry-path=/-/ready", "is a path of another endpoint"),
        ("--web.route-prefix=/a b", "is not a URL path; write it as /path"),
    ],
)
def test_flags(flag: str, line: str) -> None:
    """A flag that the web server could not use is an error of that flag."""
    assert check(flag).startswith(f"{flag.partition('=')[0]}: {line}")


def test_what_reaches_microsoft(tmp_path: Path) -> None:
    """A CA file without a certificate and a proxy that is none are errors before anything starts."""
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    assert "http.ca_file" in check(OFFICE365_EXPORTER_HTTP__CA_FILE=str(tmp_path / "ca.pem"))
    os.mkfifo(tmp_path / "fifo")
    assert "it is not a regular file" in check(OFFICE365_EXPORTER_HTTP__CA_FILE=str(tmp_path / "fifo"))
    assert "HTTPS_PROXY" in check(HTTPS_PROXY="ftp://proxy.example")
    assert "cannot be read: No such file" in check(f"--web.config.file={tmp_path}/web.yml")


@pytest.mark.parametrize("what", ["config", "tenants", "proxy", "secret"])
def test_a_fifo_is_an_error_at_once(tmp_path: Path, what: str) -> None:
    """A FIFO in the place of a file never stops a thread: it is an error like any other."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    if what == "config":
        found = errors({"config.file": str(fifo)}, {})
    elif what == "tenants":
        found = errors(written(tmp_path, "tenant_files: [fifo]"), {})
    elif what == "proxy":
        found = errors(written(tmp_path, f"http: {{proxy_file: fifo}}\ntenants: [{TENANT}]"), {})
    else:
        entry = f"{{tenant_id: a.example, client_id: {UUID}, auth: {{client_secret_file: fifo}}}}"
        found = Credentials().errors(loaded(tmp_path, f"tenants: [{entry}]").tenants)
    (line,) = found
    assert "it is not a regular file" in line


@pytest.mark.parametrize(
    ("name", "known"),
    [("gcc", "global"), ("GCC-High", "usgov"), ("dod", "usgov-dod"), ("21Vianet", "china")],
)
def test_other_names_of_clouds(tmp_path: Path, name: str, known: str) -> None:
    """A name that Microsoft or its other tools use is answered with ours."""
    (line,) = errors(written(tmp_path, f"cloud: {name}\ntenants: [{TENANT}]"), {})
    assert line.endswith(f"nor a pair of addresses; write {known}, the name of this login's cloud")


def test_variables_are_called_by_their_names() -> None:
    """What clashes or is missing is called as the variable that people set, not as a key."""
    rest = {name: value for name, value in AZURE.items() if name != "AZURE_CLIENT_SECRET"}
    (line,) = errors({}, rest)
    assert line.startswith("AZURE_CLIENT_SECRET: is not set (tenant contoso.example); set it to the client secret")
    environ = {"OFFICE365_EXPORTER_HTTP__PROXY": "http://a", "OFFICE365_EXPORTER_HTTP__PROXY_FILE": "a"}
    (line,) = errors({}, {**AZURE, **environ})
    assert line.endswith(
        "sets both OFFICE365_EXPORTER_HTTP__PROXY and OFFICE365_EXPORTER_HTTP__PROXY_FILE; keep one of them"
    )


def test_prices(tmp_path: Path) -> None:
    """A price needs a currency, a tenant's prices lie on the top's by product, and case does not matter."""
    config = loaded(
        tmp_path,
        "prices: {currency: EUR, product_types: {Visio: 12.5, Project: 30}}\n"
        f"tenants: [{TENANT[:-1]}, prices: {{currency: USD, product_types: {{visio: 9}}}}}}]",
    )
    assert (config.root.prices.currency, config.root.prices.price_of("VISIO"), config.root.prices.price_of("Word")) == (
        "EUR",
        12.5,
        None,
    )
    (tenant,) = config.tenants
    assert (tenant.prices.currency, tenant.prices.price_of("Visio"), tenant.prices.price_of("project")) == (
        "USD",
        9,
        30,
    )
    for text, line in (
        ("prices: {product_types: {Visio: 1}}", "prices: sets prices without a currency; add currency, such as EUR"),
        (
            "prices: {currency: euro}",
            "prices.currency: is not an ISO 4217 code; write three capital letters, such as EUR",
        ),
        (
            "prices: {currency: EUR, product_types: {Visio: -1}}",
            "prices.product_types.Visio: is less than 0; write 0 or more",
        ),
        (
            f"prices: {{currency: EUR, product_types: {{Visio: 1{'0' * 400}}}}}",
            "prices.product_types.Visio: is too large; write a smaller number",
        ),
    ):
        (found,) = errors(written(tmp_path, f"{text}\ntenants: [{TENANT}]"), {})
        assert found == f"{tmp_path}/config.yml:{line}"


def test_built_in_target(tmp_path: Path) -> None:
    """The service plan that nobody activates has no target unless one is configured, whatever the case."""
    name = "MICROSOFT EXCEL ADVANCED ANALYTICS"
    targets = loaded(tmp_path, "").root.targets
    assert (targets.ratio_of(name), targets.ratio_of(name.title()), targets.ratio_of("Visio")) == (None, None, 0.5)
    targets = loaded(tmp_path, f"targets: {{product_types: {{{name.title()}: {{ratio: 0.1}}}}}}").root.targets
    assert targets.ratio_of(name) == 0.1


def test_printing_does_not_replace_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--config.check`, `--config.print` prints only a configuration that a start would accept."""
    assert "cannot be read" in check("--config.print", f"--web.config.file={tmp_path}/web.yml")
    assert capsys.readouterr().out == ""
    assert check("--config.print") == ""
    assert capsys.readouterr().out.startswith("cloud: global\n")


def test_a_key_that_only_flags_set_is_led_to_its_flag(tmp_path: Path) -> None:
    """The fix of an unknown key offers no key that the file may not hold."""
    listen, unknown = errors(written(tmp_path, f"listen_address: x\nfrobnicate: x\ntenants: [{TENANT}]"), {})
    assert listen.endswith("is not a known key; use --web.listen-address")
    assert unknown.endswith(
        "use one of cloud, poll, report, reports, targets, prices, client_id, auth, http, storage, "
        "tenants, tenant_files"
    )
