"""Short ways to load a configuration in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import Config, load
from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UUID = "22222222-2222-2222-2222-222222222222"
TENANT = f"{{name: contoso, tenant_id: contoso.example, client_id: {UUID}, auth: {{client_secret: s3cret~}}}}"
AZURE = {"AZURE_TENANT_ID": "contoso.example", "AZURE_CLIENT_ID": UUID, "AZURE_CLIENT_SECRET": "s3cret~"}


def written(folder: Path, text: str) -> dict[str, object]:
    """Write a configuration file and return the flags that name it."""
    path = folder / "config.yml"
    path.write_text(text, encoding="utf-8")
    return {"config.file": str(path)}


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    """Load a configuration file, with one tenant added where the text names none."""
    has_tenants = "tenants:" in text or "tenant_files:" in text
    return load(written(folder, text if has_tenants else f"{text}\ntenants: [{TENANT}]\n"), environ or {})


def errors(flags: Mapping[str, object], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Load what must fail and return its errors."""
    with pytest.raises(ConfigError) as caught:
        load(flags, environ)
    return caught.value.errors
