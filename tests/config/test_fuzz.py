"""Whatever comes in: a configuration or its errors, and never a secret among these."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config import load, masked
from exporter.config.settings import PREFIX
from exporter.config.settings import settings as table
from exporter.errors import ConfigError
from tests.config.loading import TENANT, UUID, written

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.config import Config

SECRET = "Qx7~hunter2.SECRET"
# Names of tenants and products are shown in errors, so they hold no secret here.
KEYS = sorted({key for one in table() for key in one.path} | {"tenant_id", "enabled", "x", "a b", ""})
PROXY = f"http://me:{SECRET}@proxy.example"
SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 0.5, 1e400, "", SECRET, PROXY, UUID, "\x00"]) | st.sampled_from(
    ["x", "*", "1h", "v1.0", "beta", "json", "global", "usgov", "contoso.example", ":9365", ".office.com"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)
SHAPED = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("cloud", "poll", "report", "reports", "targets", "auth", "http", "storage"), VALUES)
    | {"tenant_files": st.lists(SCALARS, max_size=2), "tenants": st.lists(VALUES, max_size=3), "client_id": SCALARS},
)
ONCE_A_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


def _load(flags: dict[str, Any], environ: dict[str, str]) -> None:
    """Load, and hold the outcome against what is promised."""
    config, error = _outcome(flags, environ)
    if config is None:
        assert error is not None
        assert error.errors
        assert all(": " in line and "; " in line for line in error.errors)
        assert "hunter2" not in repr([error, error.__context__])
    else:
        assert yaml.safe_load(masked(config))
        assert len(config.tenants) <= len(config.configured)


def _outcome(flags: dict[str, Any], environ: dict[str, str]) -> tuple[Config | None, ConfigError | None]:
    try:
        return load(flags, environ), None
    except ConfigError as error:
        return None, error


@ONCE_A_FOLDER
@given(text=st.text())
def test_any_text(text: str, tmp_path: Path) -> None:
    """Any text is a configuration or an error with its errors."""
    _load(written(tmp_path, text.replace("\r", "")), {})


@ONCE_A_FOLDER
@given(data=SHAPED)
def test_any_data(data: dict[str, Any], tmp_path: Path) -> None:
    """Any data in the configuration's shape are a configuration or an error, and no error shows a value."""
    _load(written(tmp_path, yaml.safe_dump(data)), {})


@ONCE_A_FOLDER
@given(blocks=st.dictionaries(st.sampled_from(["poll", "report", "targets", "auth", "cloud", "reports"]), VALUES))
def test_any_tenant(blocks: dict[str, Any], tmp_path: Path) -> None:
    """Any overrides in a tenant are merged or refused, and no error shows a value."""
    entry = {"tenant_id": "t.example", "client_id": UUID, "auth": {"client_secret": SECRET}, **blocks}
    _load(written(tmp_path, yaml.safe_dump({"tenants": [entry]})), {})


@ONCE_A_FOLDER
@given(
    environ=st.dictionaries(
        st.sampled_from([one.variable for one in table() if one.path != ("config", "file")] + [f"{PREFIX}X"]),
        SCALARS.map(str) | VALUES.map(json.dumps) | st.text(),
        max_size=6,
    )
)
def test_any_environment(environ: dict[str, str], tmp_path: Path) -> None:
    """Any variables are a configuration or an error, and no error shows a value."""
    _load(written(tmp_path, f"tenants: [{TENANT}]"), environ)


@pytest.mark.parametrize(
    "key", ["client_secret", "certificate_password", "client_secret_file", "expires", "device_code"]
)
@pytest.mark.parametrize("value", [SECRET, [SECRET], {SECRET: SECRET}, {"client_id": SECRET}])
def test_secrets_in_wrong_places(key: str, value: Any, tmp_path: Path) -> None:
    """A secret under a wrong key, as a wrong type, or as a key itself is never shown."""
    entry = {"tenant_id": "t.example", "client_id": SECRET, "auth": {key: value, SECRET: value}, "reports": [SECRET]}
    data = {"tenants": [entry, {SECRET: SECRET}, SECRET], "auth": {"expires": SECRET}, "http": {"proxy": SECRET}}
    _load(written(tmp_path, yaml.safe_dump(data)), {"AZURE_AUTHORITY_HOST": SECRET})
