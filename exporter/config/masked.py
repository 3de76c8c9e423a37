"""The effective configuration as YAML, secrets masked (`--config.print`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel, SecretStr

from exporter.config.addresses import print_cloud, split_url
from exporter.config.settings import flags

if TYPE_CHECKING:
    from exporter.config.result import Config, Tenant

SECRET: Final = "<secret>"  # noqa: S105 - what stands in a secret's place
_BLOCKS: Final = ("poll", "report", "targets", "prices")
# Of two that say one thing, the first is what holds, and the second is left out.
_RIVALS: Final = (("schedule", "interval"), ("proxy_file", "proxy"))
# Here nothing means something: no target.
_NULLS: Final = frozenset({"ratio"})


def masked(config: Config) -> str:
    """Return the effective configuration as YAML that loads to the same configuration, secrets aside.

    Every tenant stands in it, also those of tenant files; what only flags and variables set follows as comments.
    """
    root = config.root
    data = _shown(root.model_dump(mode="json", include={"cloud", "reports", "client_id"}))
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


def _shown(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data without what is not set."""
    return {key: value for key, value in data.items() if value is not None or key in _NULLS}


def _dump(block: BaseModel) -> dict[str, Any]:
    """Return a block as plain data, its secrets masked."""
    data = block.model_dump(mode="json")
    for name in data:
        value = getattr(block, name)
        if isinstance(value, SecretStr):
            data[name] = _masked_url(value.get_secret_value()) if name == "proxy" else SECRET
        elif isinstance(value, BaseModel):
            data[name] = _dump(value)
    for first, second in _RIVALS:
        if data.get(first) is not None:
            data.pop(second, None)
    return _shown(data)


def _masked_url(url: str) -> str:
    """Return a URL with its password masked, if it has one."""
    parts = split_url(url)
    if parts is None or parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:{SECRET}@{host}").geturl()


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
        if mine is not top:
            own = _differences(_dump(mine), _dump(top))
            if name == "report" and root.report.api_version is None and mine.api_version == tenant.cloud.api_version:
                own.pop("api_version", None)
            data |= {name: own} if own else {}
    return data


def _differences(mine: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Return what of a tenant's block lies over the top's; what the tenant unsets is null."""
    changed = {key: value for key, value in mine.items() if key not in top or top[key] != value}
    rivals = {key for pair in _RIVALS for key in pair}
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
