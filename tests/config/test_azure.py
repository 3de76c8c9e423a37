"""One tenant from the variables of Microsoft's own SDKs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import load
from tests.config.loading import AZURE, TENANT, UUID, errors, written

if TYPE_CHECKING:
    from pathlib import Path

NAME = "OFFICE365_EXPORTER_TENANT_NAME"
HOST = "AZURE_AUTHORITY_HOST"
KEEP_ONE = "(tenant contoso.example); keep one of them"


def test_client_secret() -> None:
    """Tenant id, client id and secret are enough; the label is the tenant id, or the one given."""
    (tenant,) = load({}, AZURE).tenants
    assert (tenant.name, tenant.tenant_id, tenant.client_id) == ("contoso.example", "contoso.example", UUID)
    assert tenant.auth.client_secret is not None
    assert tenant.auth.client_secret.get_secret_value() == "s3cret~"
    assert load({}, {**AZURE, NAME: "Contoso"}).tenants[0].name == "Contoso"


def test_certificate_and_workload_identity() -> None:
    """A certificate with its password, or the token file that AKS injects, stand for the secret."""
    rest = {name: value for name, value in AZURE.items() if name != "AZURE_CLIENT_SECRET"}
    certificate = {"AZURE_CLIENT_CERTIFICATE_PATH": "cert.pfx", "AZURE_CLIENT_CERTIFICATE_PASSWORD": "p"}
    (tenant,) = load({}, {**rest, **certificate}).tenants
    assert (tenant.auth.kind, str(tenant.auth.certificate_file)) == ("certificate", "cert.pfx")
    aks = {"AZURE_FEDERATED_TOKEN_FILE": "/var/run/token", HOST: "https://login.microsoftonline.com/"}
    (tenant,) = load({}, {**rest, **aks}).tenants
    assert (tenant.auth.kind, tenant.cloud.name) == ("federated_token", "global")


@pytest.mark.parametrize(
    ("value", "chain"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("", None)]
)
def test_certificate_chain(value: str, chain: bool | None) -> None:  # noqa: FBT001 - a table's column
    """The variable is read as Microsoft's SDKs read it."""
    rest = {name: text for name, text in AZURE.items() if name != "AZURE_CLIENT_SECRET"}
    certificate = {"AZURE_CLIENT_CERTIFICATE_PATH": "cert.pfx", "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": value}
    (tenant,) = load({}, {**rest, **certificate}).tenants
    assert tenant.auth.send_certificate_chain is chain


def test_the_chain_matters_with_a_certificate_only() -> None:
    """As in Microsoft's SDKs, the chain's variable means nothing next to a client secret."""
    (tenant,) = load({}, {**AZURE, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "true"}).tenants
    assert (tenant.auth.kind, tenant.auth.send_certificate_chain) == ("client_secret", None)


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("login.microsoftonline.com", "global"),
        ("https://login.microsoftonline.com/", "global"),
        ("login.microsoftonline.us", "usgov"),
        ("https://LOGIN.microsoftonline.us", "usgov"),
        ("https://login.chinacloudapi.cn/", "china"),
        ("https://login.chinacloudapi.cn:443/", "china"),
        (" ", "global"),
    ],
)
def test_authority_host(host: str, cloud: str) -> None:
    """The login's host picks the cloud, with or without scheme and slash."""
    assert load({}, {**AZURE, HOST: host}).tenants[0].cloud.name == cloud


@pytest.mark.parametrize("host", ["login.example.com", "http://login.microsoftonline.com", "https://[", "x/y"])
def test_unknown_authority_host(host: str) -> None:
    """An unknown login is an error that lists the known ones."""
    assert errors({}, {**AZURE, HOST: host}) == (
        (
            "AZURE_AUTHORITY_HOST: is not the login of a known cloud; use one of login.microsoftonline.com, "
            "login.microsoftonline.us, login.chinacloudapi.cn, or set OFFICE365_EXPORTER_CLOUD"
        ),
    )


def test_our_own_variable_beats_the_authority_host() -> None:
    """DoD, whose login is that of usgov, is picked by our own variable, which also settles an unknown host."""
    environ = {**AZURE, HOST: "login.microsoftonline.us", "OFFICE365_EXPORTER_CLOUD": "usgov-dod"}
    assert load({}, environ).tenants[0].cloud.name == "usgov-dod"
    assert load({}, {**environ, HOST: "login.example.com"}).tenants[0].cloud.name == "usgov-dod"


def test_authority_host_against_the_file(tmp_path: Path) -> None:
    """The environment beats the file, with a notice, unless both name one login."""
    us = {**AZURE, HOST: "login.microsoftonline.us"}
    config = load(written(tmp_path, "cloud: global"), us)
    assert config.tenants[0].cloud.name == "usgov"
    assert config.notices[0] == "AZURE_AUTHORITY_HOST sets the cloud usgov, which overrides the file"
    assert load(written(tmp_path, "cloud: usgov-dod"), us).tenants[0].cloud.name == "usgov-dod"


def test_ignored_where_the_configuration_names_tenants(tmp_path: Path) -> None:
    """Where the file or a tenant file names a tenant, the variables are ignored, with one notice that names them."""
    notice = (
        (
            "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_AUTHORITY_HOST ignored: "
            "the configuration names its own tenants"
        ),
    )
    environ = {**AZURE, HOST: "login.nowhere.example"}
    config = load(written(tmp_path, f"tenants: [{TENANT}]"), environ)
    assert ([tenant.name for tenant in config.tenants], config.notices) == (["contoso"], notice)
    (tmp_path / "t.yaml").write_text(f"tenants: [{TENANT}]", encoding="utf-8")
    config = load(written(tmp_path, "tenant_files: [t.yaml]"), environ)
    assert ([tenant.name for tenant in config.tenants], config.notices) == (["contoso"], notice)


def test_the_files_defaults_hold(tmp_path: Path) -> None:
    """The tenant of the variables takes the file's defaults, its credential included."""
    text = "poll: {interval: 2h}\nauth: {client_secret_file: secret}\n"
    rest = {name: value for name, value in AZURE.items() if name != "AZURE_CLIENT_SECRET"}
    (tenant,) = load(written(tmp_path, text), rest).tenants
    assert (tenant.poll.interval, tenant.auth.client_secret_file) == (7200.0, tmp_path / "secret")
    (tenant,) = load(written(tmp_path, text), AZURE).tenants
    assert (tenant.auth.client_secret is not None, tenant.auth.client_secret_file) == (True, None)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {"AZURE_CLIENT_SECRET": ""},
            (
                (
                    "AZURE_CLIENT_SECRET: is empty (tenant contoso.example); set it to the client secret, "
                    "or set AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE"
                ),
            ),
        ),
        (
            {"AZURE_TENANT_ID": ""},
            ("AZURE_TENANT_ID: is empty; set it to the tenant's UUID, or one of its domains",),
        ),
        (
            {"AZURE_CLIENT_ID": ""},
            (
                (
                    "AZURE_CLIENT_ID: is empty (tenant contoso.example); "
                    "set it to the app registration's application (client) ID"
                ),
            ),
        ),
        (
            {"AZURE_FEDERATED_TOKEN_FILE": "token"},
            (
                (
                    "AZURE_CLIENT_SECRET, AZURE_FEDERATED_TOKEN_FILE: "
                    f"names 2 credentials, AZURE_CLIENT_SECRET and AZURE_FEDERATED_TOKEN_FILE {KEEP_ONE}"
                ),
            ),
        ),
        (
            {"AZURE_CLIENT_CERTIFICATE_PASSWORD": "p"},
            (
                (
                    "AZURE_CLIENT_CERTIFICATE_PASSWORD, AZURE_CLIENT_CERTIFICATE_PATH: "
                    "sets AZURE_CLIENT_CERTIFICATE_PASSWORD without AZURE_CLIENT_CERTIFICATE_PATH "
                    "(tenant contoso.example); remove it, or add AZURE_CLIENT_CERTIFICATE_PATH"
                ),
            ),
        ),
        (
            {"AZURE_TENANT_ID": "contoso", "AZURE_CLIENT_ID": "app"},
            (
                (
                    "AZURE_TENANT_ID: is neither a UUID nor a domain; "
                    "write it as 00000000-0000-0000-0000-000000000000 or as contoso.onmicrosoft.com"
                ),
                "AZURE_CLIENT_ID: is not a UUID; write it as 00000000-0000-0000-0000-000000000000",
            ),
        ),
    ],
)
def test_incomplete(changes: dict[str, str], lines: tuple[str, ...]) -> None:
    """What is missing, doubled or malformed is told by the variable's own name."""
    assert errors({}, {**AZURE, **changes}) == lines


def test_a_label_alone_defines_no_tenant() -> None:
    """OFFICE365_EXPORTER_TENANT_NAME by itself is no tenant, nor is AZURE_AUTHORITY_HOST."""
    (line,) = errors({}, {NAME: "x", HOST: "login.microsoftonline.com"})
    assert line.startswith("configuration:tenants: no tenant is configured; set AZURE_TENANT_ID")


def test_not_used_beside_a_broken_file(tmp_path: Path) -> None:
    """A tenant file that cannot be read is the only error: the variables do not step in for it."""
    (tmp_path / "t.yaml").write_text("tenants: [", encoding="utf-8")
    found = errors(written(tmp_path, "tenant_files: [t.yaml]"), {"AZURE_TENANT_ID": "x"})
    assert [line.split(": ")[:2] for line in found] == [[f"{tmp_path}/t.yaml:2:1", "is not YAML"]]


def test_secrets_from_files_and_with_a_line_end() -> None:
    """Both secrets have a twin that ends in _FILE; the line's end that a variable may carry is no part of a secret."""
    rest = {name: value for name, value in AZURE.items() if name != "AZURE_CLIENT_SECRET"}
    (tenant,) = load({}, {**rest, "AZURE_CLIENT_SECRET_FILE": "secret"}).tenants
    assert (tenant.auth.kind, str(tenant.auth.client_secret_file)) == ("client_secret", "secret")
    twin = {"AZURE_CLIENT_CERTIFICATE_PATH": "c.pfx", "AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE": "password"}
    (tenant,) = load({}, {**rest, **twin}).tenants
    assert str(tenant.auth.certificate_password_file) == "password"
    (tenant,) = load({}, {**rest, "AZURE_CLIENT_SECRET": "s3cret~\r\n"}).tenants
    assert tenant.auth.client_secret is not None
    assert tenant.auth.client_secret.get_secret_value() == "s3cret~"
