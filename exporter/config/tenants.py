"""One tenant's entry over the defaults at the top → a `Tenant`, or its errors."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from exporter.config.errors import PRODUCT_MAPS, Finding, findings, sentence
from exporter.config.models import AUTH_KINDS, TenantSettings
from exporter.config.types import RIVALS
from exporter.state import Key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from exporter.config.clouds import Cloud
    from exporter.config.models import Auth, Poll, Prices, Report, Root, Targets
    from exporter.config.sources import Entry, Places

Model = TypeVar("Model", bound=BaseModel)
Shared = TypeVar("Shared")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant with the top's defaults merged in.

    Equal values of many tenants are one object, so that 50,000 of them stay small.

    Attributes:
        name: the label `tenant`.
        tenant_id: UUID or domain, lower case.
        client_id: the app's, or the managed identity's; empty for a system-assigned one.
        cloud: where it lives.
        auth: its credential.
        poll: when and how it is polled.
        report: what is asked for.
        keys: what each of its reports is stored under.
        targets: which share of its licences ought to be activated.
        prices: what its licences cost a month.
        download_hosts: where its reports may be downloaded from.
        enabled: whether it is polled and shown.
    """

    name: str
    tenant_id: str
    client_id: str
    cloud: Cloud
    auth: Auth
    poll: Poll
    report: Report
    keys: tuple[Key, ...]
    targets: Targets
    prices: Prices
    download_hosts: tuple[str, ...]
    enabled: bool = True

    @property
    def reports(self) -> tuple[str, ...]:
        """The names of the reports that are read."""
        return tuple(key.report for key in self.keys)

    @property
    def api_version(self) -> str:
        """The version of Graph's API: the one configured, or the cloud's."""
        return self.report.api_version or self.cloud.api_version


def overlay(low: Mapping[str, Any], high: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return `low` with `high` on top; neither is changed.

    A credential on top replaces all of `auth` below, and what has a rival (`interval` and `schedule`) silences it.

    Args:
        low: the settings below.
        high: the settings on top.
        path: where both stand.
    """
    if path == ("auth",) and not AUTH_KINDS.keys().isdisjoint(high):
        return dict(high)
    result = dict(low)
    if len(path) == 1:
        for pair in RIVALS:
            if any(high.get(key) is not None for key in pair):
                result = {key: value for key, value in result.items() if key not in pair}
    elif path and path[-1] in PRODUCT_MAPS:
        folded = {name.casefold() for name in high}
        result = {name: value for name, value in low.items() if name in high or name.casefold() not in folded}
    for key, value in high.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = overlay(below, value, (*path, key))
        else:
            result[key] = value
    return result


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
        root: the settings at the top; a wrong key holds its default, so that its errors are reported once.
        places: what the place of a key at the top is called.
        wrong: the keys at the top that have errors.
    """

    def __init__(self, root: Root, places: Places, wrong: frozenset[str]) -> None:
        self._root = root
        self._places = places
        self._wrong = wrong
        self._blocks: dict[tuple[str, str], tuple[Any, list[Finding]]] = {}
        self._shared: dict[Hashable, Any] = {}
        self._names: dict[str, Entry] = {}
        self._ids: dict[tuple[str, str], Entry] = {}
        self.errors: list[str] = []

    def resolve(self, entry: Entry) -> Tenant | None:
        """Return the resolved tenant; None where it has an error, which is then in `errors`."""
        if not isinstance(entry.raw, dict):
            fix = "write it as name, tenant_id, client_id and auth"
            self.errors.append(sentence(entry.place(), "is not a map", fix))
            return None
        before = len(self.errors)
        own, found = validated(TenantSettings, {key: value for key, value in entry.raw.items() if value is not None})
        entry = replace(entry, label=own.name or own.tenant_id or "")
        self.errors += [entry.line(finding) for finding in found]
        tenant = self._tenant(entry, own)
        if own.tenant_id is not None:
            self._check_unique(entry, own.tenant_id, own.cloud or self._root.cloud)
        return tenant if len(self.errors) == before else None

    def _tenant(self, entry: Entry, own: TenantSettings) -> Tenant | None:
        top = self._root
        if own.tenant_id is None:
            self._missing(entry, "tenant_id", "add the tenant's UUID, or one of its domains")
        poll = self._block(entry, "poll", own.poll)
        report = self._block(entry, "report", own.report)
        targets = self._block(entry, "targets", own.targets)
        prices = self._block(entry, "prices", own.prices)
        cloud = self._share(own.cloud or top.cloud)
        auth = self._share(own.auth or top.auth)
        client_id = own.client_id or top.client_id or ""
        if auth is not None and auth.managed_identity is not None:
            client_id = auth.managed_identity.client_id or ""
        elif not client_id:
            fix = "add the app registration's application (client) ID, here or at the top"
            self._missing(entry, "client_id", fix)
        if auth is None:
            fix = "add the app's credential, such as {client_secret_file: PATH}, here or at the top"
            self._missing(entry, "auth", fix)
        if finding := version_finding(cloud, report):
            inherited = own.cloud is None and not own.report
            self.errors.append(self._places.line(finding) if inherited else entry.line(finding))
        if auth is not None and auth.kind == "device_code" and top.storage.path is None:
            what = "device_code needs a place to keep its sign-in"
            self.errors.append(entry.line(Finding(("auth", "device_code"), what, "set storage.path")))
        if auth is None or own.tenant_id is None:
            return None
        hosts = top.http.download_hosts
        return Tenant(
            name=own.name or own.tenant_id,
            tenant_id=own.tenant_id,
            client_id=self._share(client_id),
            cloud=cloud,
            auth=auth,
            poll=poll,
            report=report,
            keys=tuple(Key(cloud.stored_as, own.tenant_id, name) for name in own.reports or top.reports),
            targets=targets,
            prices=prices,
            download_hosts=cloud.download_hosts if hosts is None else hosts,
            enabled=own.enabled,
        )

    def _missing(self, entry: Entry, key: str, fix: str) -> None:
        """Report a key that neither the tenant nor the top has; a wrong one is reported already."""
        if entry.raw.get(key) is None and key not in self._wrong:
            what, fix = entry.places.missing.get(key, ("is missing", fix))
            self.errors.append(entry.line(Finding((key,), what, fix)))

    def _share(self, value: Shared) -> Shared:
        """Return the first value that was equal to this one."""
        first: Shared = self._shared.setdefault(value, value)
        return first

    def _block(self, entry: Entry, name: str, override: dict[str, Any] | None) -> Any:
        """Return one block of the top with the tenant's keys on top; where that is wrong, the top's."""
        top = getattr(self._root, name)
        if not override:
            return top
        key = (name, json.dumps(override, sort_keys=True, default=repr))
        if key not in self._blocks:
            self._blocks[key] = _merged(top, name, override)
        block, found = self._blocks[key]
        self.errors += [entry.line(finding) for finding in found]
        return block

    def _check_unique(self, entry: Entry, tenant_id: str, cloud: Cloud) -> None:
        name = entry.label
        first = self._names.setdefault(name, entry)
        if first is not entry:
            what = f"the name {name} is already used by {first.place()}"
            self.errors.append(sentence(entry.place("name"), what, "give each tenant a name of its own"))
        first = self._ids.setdefault((cloud.stored_as, tenant_id), entry)
        if first is not entry:
            what = f"the tenant {tenant_id} of the cloud {cloud.name} is already configured by {first.place()}"
            self.errors.append(sentence(entry.place("tenant_id"), what, "remove one of the two"))


def _merged(top: Model, name: str, override: Mapping[str, Any]) -> tuple[Model, list[Finding]]:
    """Return a block of the top with a tenant's keys on top, and what is wrong with it; a wrong one is the top's."""
    found: list[Finding] = []
    if name == "poll" and "concurrency" in override:
        what = "is for all tenants together, not for one"
        found.append(Finding(("poll", "concurrency"), what, "set it at the top"))
    try:
        data = overlay(top.model_dump(exclude_unset=True), override, (name,))
        return type(top).model_validate(data), found
    except ValidationError as error:
        return top, [*found, *(one._replace(path=(name, *one.path)) for one in findings(error, type(top)))]


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
