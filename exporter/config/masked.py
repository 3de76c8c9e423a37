"""The effective configuration as YAML, secrets masked (`--config.print`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from exporter.config.clouds import print_cloud
from exporter.config.models import Targets
from exporter.config.settings import flags
from exporter.config.types import RIVALS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from exporter.config.load import Config
    from exporter.config.tenants import Tenant

_BLOCKS: Final = ("poll", "report", "targets", "prices")


def masked(config: Config) -> str:
    """Return the effective configuration as YAML that loads to the same configuration, secrets aside.

    Every tenant stands in it, also those of tenant files; what only flags and variables set follows as comments.
    """
    root = config.root
    data = root.model_dump(mode="json", include={"cloud", "reports", "client_id"}, exclude_none=True)
    for name in (*_BLOCKS, "auth", "http", "storage"):
        block = getattr(root, name)
        if block is not None:
            data[name] = _dump(block)
    data["tenants"] = [_tenant(config, tenant) for tenant in config.configured]
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    comments = [f"tenant_files: {', '.join(root.tenant_files)}"] if root.tenant_files else []
    return text + "".join(f"# {_printable(line)}\n" for line in (*comments, *_flags(root)))


def _printable(line: str) -> str:
    """Return a comment that cannot end before its line does."""
    return line if line.isprintable() else line.encode("unicode_escape").decode("ascii")


def _dump(block: BaseModel) -> dict[str, Any]:
    """Return a block as plain data: of two rivals the one that holds, and nothing only where it means no target."""
    data = block.model_dump(mode="json", exclude_none=not isinstance(block, Targets))
    return {key: value for key, value in data.items() if not any(key == one and other in data for one, other in RIVALS)}


def _tenant(config: Config, tenant: Tenant) -> dict[str, Any]:
    """Return a tenant as it would be written: its own keys, and those that differ from the top's."""
    root = config.root
    data: dict[str, Any] = {"name": tenant.name, "tenant_id": tenant.tenant_id}
    if tenant.auth.managed_identity is None and tenant.client_id != root.client_id:
        data["client_id"] = tenant.client_id
    if tenant.auth != root.auth:
        data["auth"] = _dump(tenant.auth)
    if not tenant.enabled:
        data["enabled"] = False
    if tenant.cloud != root.cloud:
        data["cloud"] = print_cloud(tenant.cloud)
    if tenant.reports != root.reports:
        data["reports"] = list(tenant.reports)
    for name in _BLOCKS:
        mine, top = getattr(tenant, name), getattr(root, name)
        if mine is not top and (own := _differences(_dump(mine), _dump(top))):
            data[name] = own
    if tenant.report.api_version is None and root.report.api_version is not None:
        data["report"]["api_version"] = tenant.api_version
    return data


def _differences(mine: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Return what of a tenant's block lies over the top's; what the tenant unsets is null."""
    changed = {key: value for key, value in mine.items() if key not in top or top[key] != value}
    rivals = {key for pair in RIVALS for key in pair}
    return changed | {key: None for key in top if key not in mine and key not in rivals}


def _flags(root: BaseModel) -> list[str]:
    """Return what only flags and variables set, as flags."""
    lines = []
    for one in flags():
        if one.path[0] in {"web", "log"}:
            value: Any = root
            for key in one.path:
                value = getattr(value, key)
            many = value if isinstance(value, tuple) else (value,)
            lines += [one.flag if item is True else f"{one.flag}={item}" for item in many if item not in {None, False}]
    return lines
