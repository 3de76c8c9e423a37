"""One tenant's entry over the top's defaults → a resolved tenant, or its errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from exporter.config.credential import AUTH_KINDS
from exporter.config.errors import Finding, findings, sentence
from exporter.config.models import Poll, Prices, Report, Root, Targets, TenantSettings
from exporter.config.result import Tenant
from exporter.state import Key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from exporter.config.clouds import Cloud
    from exporter.config.credential import Auth
    from exporter.config.sources import Places

Model = TypeVar("Model", bound=BaseModel)
Shared = TypeVar("Shared")

_BLOCKS: Final[Mapping[str, type[BaseModel]]] = {
    "poll": Poll,
    "report": Report,
    "targets": Targets,
    "prices": Prices,
}
_WHOLE: Final = ("poll", "concurrency")
# Two ways to say one thing: the layer on top says it, and silences the other below.
_RIVALS: Final[Mapping[tuple[str, ...], str]] = {
    ("poll", "interval"): "schedule",
    ("poll", "schedule"): "interval",
    ("http", "proxy"): "proxy_file",
    ("http", "proxy_file"): "proxy",
    ("auth", "certificate_password"): "certificate_password_file",
    ("auth", "certificate_password_file"): "certificate_password",
}
# Their keys are names of products, whose case does not matter.
_ANY_CASE: Final = frozenset({"product_names", "product_types"})


@dataclass(frozen=True, slots=True)
class Top:
    """The settings at the top.

    Attributes:
        root: the checked settings; a wrong block holds its defaults, so that its errors are reported once.
        data: what they were made from, without the wrong blocks.
        places: what the place of a key is called.
        wrong: the keys at the top that have errors.
    """

    root: Root
    data: Mapping[str, Any]
    places: Places
    wrong: frozenset[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tenant as it is written, and where."""

    places: Places
    index: int
    raw: Any

    def place(self, *path: str | int) -> str:
        """Return the place of one of its keys."""
        return self.places.at(("tenants", self.index, *path))


def overlay(low: Mapping[str, Any], high: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return `low` with `high` on top; neither is changed.

    A credential on top replaces all of `auth` below, and what has a rival (`interval` and `schedule`) silences it.

    Args:
        low: the settings below.
        high: the settings on top.
        path: where both stand.
    """
    result = _kept(low, high, path)
    for key, value in high.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = overlay(below, value, (*path, key))
        else:
            result[key] = value
    return result


def _kept(low: Mapping[str, Any], high: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return what of `low` is not silenced as a whole by `high`."""
    if path == ("auth",) and not AUTH_KINDS.keys().isdisjoint(high):
        return {}
    silenced = {_RIVALS[*path, key] for key, value in high.items() if value is not None and (*path, key) in _RIVALS}
    if path and path[-1] in _ANY_CASE:
        folded = {key.casefold() for key in high}
        silenced |= {key for key in low if key.casefold() in folded and key not in high}
    return {key: value for key, value in low.items() if key not in silenced}


def validated(model: type[Model], data: Mapping[str, Any]) -> tuple[Model, list[Finding]]:
    """Return the data as a model, and what is wrong with them; a wrong key at the top holds its default.

    Args:
        model: a model whose keys all have a default.
        data: what to check; not changed.
    """
    kept = dict(data)
    found: list[Finding] = []
    while True:
        try:
            return model.model_validate(kept), found
        except ValidationError as error:
            more = findings(error, model)
            found += more
            for finding in more:
                kept.pop(str(finding.path[0]), None)


class Resolver:
    """Resolves one tenant after the other; equal parts of tenants become one object, clashes become errors.

    Args:
        top: the settings at the top.
    """

    def __init__(self, top: Top) -> None:
        self._top = top
        self._merged: dict[tuple[str, str], tuple[Any, tuple[Finding, ...]]] = {}
        self._shared: dict[Hashable, Any] = {}
        self._names: dict[str, Entry] = {}
        self._ids: dict[tuple[str, str], Entry] = {}
        # An ordered set: an error of the top that many tenants inherit is reported once.
        self.errors: dict[str, None] = {}

    def resolve(self, entry: Entry) -> Tenant | None:
        """Return the resolved tenant; None where it has an error, which is then in `errors`."""
        before = len(self.errors)
        if not isinstance(entry.raw, dict):
            self._error(entry.place(), "is not a map", "write it as name, tenant_id, client_id and auth")
            return None
        raw = {key: value for key, value in entry.raw.items() if value is not None}
        own = self._own(entry, raw)
        label = own.name or own.tenant_id or ""
        tenant = self._tenant(entry, raw, own, label)
        self._unique(entry, own, tenant.cloud if tenant else own.cloud or self._top.root.cloud)
        return tenant if len(self.errors) == before else None

    def _error(self, place: str, what: str, fix: str, label: str = "") -> None:
        self.errors[sentence(place, f"{what} (tenant {label})" if label else what, fix)] = None

    def _find(self, entry: Entry, finding: Finding, label: str) -> None:
        path = ("tenants", entry.index, *finding.path)
        self.errors[entry.places.line(finding._replace(path=path), label)] = None

    def _missing(self, entry: Entry, key: str, fix: str, label: str) -> None:
        self._error(entry.place(key), *entry.places.missing.get(key, ("is missing", fix)), label)

    def _own(self, entry: Entry, raw: Mapping[str, Any]) -> TenantSettings:
        """Return the tenant's own settings, without the keys that have errors."""
        own, found = validated(TenantSettings, raw)
        label = own.name or own.tenant_id or ""
        for finding in found:
            self._find(entry, finding, label)
        if "tenant_id" not in raw:
            self._missing(entry, "tenant_id", "add the tenant's UUID, or one of its domains", label)
        return own

    def _tenant(self, entry: Entry, raw: Mapping[str, Any], own: TenantSettings, label: str) -> Tenant | None:
        top = self._top.root
        poll = self._block(entry, "poll", own.poll, label)
        report = self._block(entry, "report", own.report, label)
        targets = self._block(entry, "targets", own.targets, label)
        prices = self._block(entry, "prices", own.prices, label)
        cloud = self._share(own.cloud or top.cloud)
        auth = self._share(own.auth or top.auth)
        client_id = self._client_id(entry, raw, own, auth, label)
        if auth is None and "auth" not in raw and "auth" not in self._top.wrong:
            fix = "add the app's credential, such as {client_secret_file: PATH}, here or at the top"
            self._missing(entry, "auth", fix, label)
        self._check_version(entry, own, cloud, report, label)
        if auth is not None and auth.kind == "device_code" and top.storage.path is None:
            what = "device_code needs a place to keep its sign-in"
            self._error(entry.place("auth", "device_code"), what, "set storage.path", label)
        if auth is None or own.tenant_id is None:
            return None
        hosts = top.http.download_hosts
        return Tenant(
            name=own.name or own.tenant_id,
            tenant_id=own.tenant_id,
            client_id=client_id,
            cloud=cloud,
            auth=auth,
            poll=poll,
            report=self._versioned(report, cloud.api_version),
            keys=tuple(Key(cloud.stored_as, own.tenant_id, name) for name in own.reports or top.reports),
            targets=targets,
            prices=prices,
            download_hosts=cloud.download_hosts if hosts is None else hosts,
            enabled=own.enabled,
        )

    def _versioned(self, report: Report, version: str) -> Report:
        """Return the report with the cloud's API version where it names none, one object for all equal ones."""
        if report.api_version is not None:
            return report
        key = (id(report), version)
        if key not in self._shared:
            self._shared[key] = report.model_copy(update={"api_version": version})
        shared: Report = self._shared[key]
        return shared

    def _share(self, value: Shared) -> Shared:
        """Return the first value that was equal to this one."""
        first: Shared = self._shared.setdefault(value, value)
        return first

    def _block(self, entry: Entry, name: str, override: dict[str, Any] | None, label: str) -> Any:
        """Return one block of the top with the tenant's keys on top."""
        if not override:
            return getattr(self._top.root, name)
        key = (name, json.dumps(override, sort_keys=True, default=repr))
        if key not in self._merged:
            self._merged[key] = self._merge(name, override)
        merged, found = self._merged[key]
        for finding in found:
            self._find(entry, finding._replace(path=(name, *finding.path)), label)
        return merged

    def _merge(self, name: str, override: Mapping[str, Any]) -> tuple[Any, tuple[Finding, ...]]:
        """Return the merged block, and what is wrong with it; a wrong one is the top's."""
        below = self._top.data.get(name, {})
        model = _BLOCKS[name]
        found: list[Finding] = []
        if name == _WHOLE[0] and _WHOLE[1] in override:
            fix = "set it at the top"
            found.append(Finding((_WHOLE[1],), "is for all tenants together, not for one", fix))
        try:
            merged: Any = model.model_validate(overlay(below, override, (name,)))
        except ValidationError as error:
            found += findings(error, model)
            merged = getattr(self._top.root, name)
        return merged, tuple(found)

    def _client_id(
        self, entry: Entry, raw: Mapping[str, Any], own: TenantSettings, auth: Auth | None, label: str
    ) -> str:
        if auth is not None and auth.managed_identity is not None:
            return auth.managed_identity.client_id or ""
        client_id = own.client_id or self._top.root.client_id
        if client_id is None and "client_id" not in raw and "client_id" not in self._top.wrong:
            fix = "add the app registration's application (client) ID, here or at the top"
            self._missing(entry, "client_id", fix, label)
        return self._share(client_id or "")

    def _check_version(self, entry: Entry, own: TenantSettings, cloud: Cloud, report: Report, label: str) -> None:
        """Hold cloud, API version and format against each other, as Microsoft offers them."""
        finding = version_finding(cloud, report)
        if finding is None:
            return
        if own.cloud is None and not own.report:
            self._error(self._top.places.at(finding.path), finding.what, finding.fix)
        else:
            self._find(entry, finding, label)

    def _unique(self, entry: Entry, own: TenantSettings, cloud: Cloud) -> None:
        if own.tenant_id is None:
            return
        name = own.name or own.tenant_id
        first = self._names.setdefault(name, entry)
        if first is not entry:
            what = f"the name {name} is already used by {first.place()}"
            self._error(entry.place("name"), what, "give each tenant a name of its own")
        first = self._ids.setdefault((cloud.stored_as, own.tenant_id), entry)
        if first is not entry:
            what = f"the tenant {own.tenant_id} of the cloud {cloud.name} is already configured by {first.place()}"
            self._error(entry.place("tenant_id"), what, "remove one of the two")


def version_finding(cloud: Cloud, report: Report) -> Finding | None:
    """Return what is wrong with a report's API version and format in a cloud, if anything is.

    v1.0 of this report exists in the global cloud only, and knows no JSON:
    https://learn.microsoft.com/graph/api/reportroot-getoffice365activationsusercounts
    """
    version = report.api_version or cloud.api_version
    if cloud.is_national and version != "beta":
        what = f"v1.0 does not have this report in the cloud {cloud.name}"
        return Finding(("report", "api_version"), what, "write beta, or leave api_version out")
    if report.format == "json" and version != "beta":
        what = "v1.0 does not support json"
        return Finding(("report", "format"), what, "add report.api_version: beta, or write csv")
    return None
