"""The models of the configuration: every key with its type, default, bounds and help.

The flags, the variables and docs/configuration.md are derived from these models (`settings.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from exporter.config.clouds import CLOUDS, CloudChoice
from exporter.config.errors import quoted, rule
from exporter.config.times import CrontabLine, Duration, TimeZone, within
from exporter.config.types import (
    Count,
    Currency,
    Day,
    DownloadHost,
    ExternalUrl,
    FilePath,
    Flag,
    Kind,
    ListenAddress,
    Name,
    Price,
    ProxyAddress,
    Ratio,
    RoutePrefix,
    Secret,
    Settings,
    TelemetryPath,
    TenantId,
    Text,
    Uuid,
    block,
    must,
    setting,
)
from exporter.reports import DEFAULT_REPORTS, REPORTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    ReportName = str
else:
    ReportName = Literal[tuple(REPORTS)]
Value = TypeVar("Value")
ApiVersion = Literal["v1.0", "beta"]
AuthKind = Literal["client_secret", "certificate", "federated_token", "managed_identity", "device_code"]

# The keys of `auth` that name a credential, and the kind that each means.
AUTH_KINDS: Final[dict[str, AuthKind]] = {
    "client_secret": "client_secret",
    "client_secret_file": "client_secret",
    "certificate_file": "certificate",
    "federated_token_file": "federated_token",
    "managed_identity": "managed_identity",
    "device_code": "device_code",
}
# These go with `certificate_file` only.
_CERTIFICATE_KEYS: Final = (
    "certificate_password",
    "certificate_password_file",
    "certificate_key_file",
    "send_certificate_chain",
)

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


def _level(value: object) -> object:
    """Prometheus' own programs say `warn`."""
    return "warning" if value == "warn" else value


def _one_casing(values: dict[str, Any]) -> dict[str, Any]:
    folded: set[str] = set()
    for name in values:
        if name.casefold() in folded:
            raise rule(f"holds {quoted(name)} twice, in different case", "keep one of them: the case does not matter")
        folded.add(name.casefold())
    return values


_Unique: Final = must(
    lambda values: len(set(values)) == len(values), "contains the same entry twice", "keep one of the two"
)
ReportNames = Annotated[tuple[ReportName, ...], Field(min_length=1), _Unique]


class Poll(Settings):
    """When and how Microsoft is asked. All times in seconds."""

    interval: Annotated[Duration, within(1)] = setting(HOUR, "time between two polls of a tenant's report")
    schedule: CrontabLine | None = setting(None, "a crontab line in place of interval")
    timezone: TimeZone = setting("UTC", "the time zone of schedule")
    jitter: Duration = setting(300.0, "a random delay of up to this long, added to each poll")
    timeout: Annotated[Duration, within(1, HOUR)] = setting(60.0, "one whole poll, retries and waits included")
    concurrency: Count = setting(16, "polls at the same time, over all tenants", ge=1, le=256)


class Report(Settings):
    """What is asked for, and what becomes of it."""

    api_version: ApiVersion | None = setting(None, "v1.0 or beta; the default depends on the cloud")
    format: Literal["csv", "json"] = setting("csv", "csv or json (json needs beta)")
    max_age: Annotated[Duration, within(1)] = setting(
        3 * DAY, "without a good poll for this long, the gauges are withdrawn"
    )
    product_names: Annotated[dict[Text, Text], AfterValidator(_one_casing), Kind("map")] = setting(
        {}, "Microsoft's name of a product (any case): the label to show"
    )


class ProductTarget(Settings):
    """One product's own target."""

    ratio: Ratio | None = setting(None, "activated / assigned; null: no target")


class Targets(Settings):
    """Which share of the assigned licences ought to be activated."""

    ratio: Ratio | None = setting(0.5, "activated / assigned; null: no target")
    min_assigned: Count = setting(25, "no target for a product with fewer assigned users", ge=0)
    product_types: Annotated[dict[Text, ProductTarget], AfterValidator(_one_casing), Kind("map")] = setting(
        {}, "a product's label (any case): {ratio: 0.3}; built in: MICROSOFT EXCEL ADVANCED ANALYTICS: {ratio: null}"
    )

    def ratio_of(self, product_type: str) -> float | None:
        """Return the target of a product; None where it has none."""
        own = _by_label(self.product_types, product_type) or _by_label(_BUILT_IN, product_type)
        return self.ratio if own is None else own.ratio


# A service plan of the E5 suites that nobody activates.
_BUILT_IN: Final = {"MICROSOFT EXCEL ADVANCED ANALYTICS": ProductTarget(ratio=None)}


def _by_label(values: Mapping[str, Value], product_type: str) -> Value | None:
    wanted = product_type.casefold()
    return next((value for label, value in values.items() if label.casefold() == wanted), None)


class Prices(Settings):
    """What a licence costs a month, for dashboards of money idle; nothing is assumed."""

    currency: Currency | None = setting(None, "ISO 4217 code, such as EUR; required where a price is given")
    product_types: Annotated[dict[Text, Price], AfterValidator(_one_casing), Kind("map")] = setting(
        {}, "a product's label (any case): 12.50"
    )

    @model_validator(mode="after")
    def _has_currency(self) -> Self:
        if self.product_types and self.currency is None:
            raise rule("sets prices without a currency", "add currency, such as EUR", "product_types")
        return self

    def price_of(self, product_type: str) -> float | None:
        """Return what a licence of a product costs a month; None where that is not configured."""
        return _by_label(self.product_types, product_type)


class Http(Settings):
    """How Microsoft is reached."""

    proxy: ProxyAddress | None = setting(
        None, "http://user:password@proxy:3128; HTTPS_PROXY and NO_PROXY are honoured too"
    )
    proxy_file: FilePath | None = setting(None, "a file that holds the proxy's address")
    ca_file: FilePath | None = setting(None, "certificates (PEM) added to the system's trust store")
    download_hosts: Annotated[tuple[DownloadHost, ...], _Unique] | None = setting(
        None, "where reports may be downloaded from: suffixes, or host:port; the default depends on the cloud"
    )


def _empty_is_map(value: object) -> object:
    """`managed_identity:` with nothing after it means one without settings."""
    return {} if value is None else value


class ManagedIdentity(Settings):
    """The identity of the Azure resource that the exporter runs on."""

    client_id: Uuid | None = setting(None, "a user-assigned identity; left out: the system-assigned one")


class DeviceCode(Settings):
    """A person's delegated sign-in, made with the command `login`."""


class Auth(Settings):
    """One credential. Exactly one kind of it is set."""

    client_secret: Secret | None = setting(None, "the app's client secret (the value, not its ID)")
    client_secret_file: FilePath | None = setting(None, "a file that holds the client secret")
    expires: Day | None = setting(None, "when the client secret expires, for the metric and the warning")
    certificate_file: FilePath | None = setting(None, "certificate and private key, PEM or PFX")
    certificate_key_file: FilePath | None = setting(None, "the private key, PEM, where it is in a file of its own")
    send_certificate_chain: Flag | None = setting(
        None, "true: send the certificates that signed it too (trust by subject name and issuer)"
    )
    certificate_password: Secret | None = setting(None, "the password of the certificate's key")
    certificate_password_file: FilePath | None = setting(None, "a file that holds that password")
    federated_token_file: FilePath | None = setting(None, "a token of another identity provider (workload identity)")
    managed_identity: Annotated[ManagedIdentity | None, BeforeValidator(_empty_is_map)] = setting(
        None, "the Azure resource's own identity"
    )
    device_code: Annotated[DeviceCode | None, BeforeValidator(_empty_is_map)] = setting(
        None, "a person's sign-in by `login`, a last resort"
    )

    @property
    def kind(self) -> AuthKind:
        return next(kind for key, kind in AUTH_KINDS.items() if getattr(self, key) is not None)

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        given = [key for key in AUTH_KINDS if getattr(self, key) is not None]
        if not given:
            raise rule("names no credential", f"add one of {', '.join(AUTH_KINDS)}")
        if len(given) > 1:
            raise rule(f"names {len(given)} credentials, {' and '.join(given)}", "keep one of them", *given)
        for key in _CERTIFICATE_KEYS:
            if getattr(self, key) is not None and self.kind != "certificate":
                what, fix = f"sets {key} without certificate_file", "remove it, or add certificate_file"
                raise rule(what, fix, key, "certificate_file")
        if self.expires is not None and self.kind != "client_secret":
            raise rule("sets expires, which is for client secrets only", "remove expires", "expires")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that this credential is read from."""
        return tuple(path for key, path in self if key.endswith("_file") and path is not None)


class Storage(Settings):
    """Where reports are kept."""

    path: FilePath | None = setting(None, "folder of the database; left out: memory only", flag=True)
    retention: Annotated[Duration, within(DAY)] = setting(5 * 365 * DAY, "how long reports are kept")


class WebConfigPath(Settings):
    """Where the web configuration of Prometheus' exporter-toolkit is."""

    file: FilePath | None = setting(None, "web configuration file: TLS, basic auth, headers", flag=True)


class Web(Settings):
    """How the metrics are served."""

    listen_address: Annotated[tuple[ListenAddress, ...], Field(min_length=1), _Unique] = setting(
        (":9365",), "address to listen on, host:port or unix:PATH", flag=True
    )
    telemetry_path: TelemetryPath = setting("/metrics", "path of the metrics", flag=True)
    config: WebConfigPath = block(WebConfigPath, "the web configuration")
    route_prefix: RoutePrefix | None = setting(
        None, "prefix of all paths; default: the path of the external URL", flag=True
    )
    external_url: ExternalUrl | None = setting(
        None, "the URL at which people reach the exporter, if it is behind a proxy", flag=True
    )
    enable_lifecycle: Flag = setting(default=False, help_="allow POST to /-/reload", flag=True)

    @property
    def prefix(self) -> str:
        """The prefix of all paths, decoded, as `/path` or empty: route_prefix, else the path of external_url."""
        path = urlsplit(self.external_url or "").path if self.route_prefix is None else self.route_prefix
        return "/" + trimmed if (trimmed := unquote(path).strip("/")) else ""


class Log(Settings):
    """How the exporter logs."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)] = setting(
        "info", "debug, info, warning or error", flag=True
    )
    format: Literal["logfmt", "json"] = setting("logfmt", "logfmt or json", flag=True)


class Invocation(Settings):
    """Where the configuration is, and what to do with it."""

    file: FilePath | None = setting(None, "configuration file (YAML)", flag=True)
    check: Flag = setting(default=False, help_="check the configuration and exit", flag=True)
    print: Flag = setting(default=False, help_="print the effective configuration, secrets masked, and exit", flag=True)


class Root(Settings):
    """The whole: what the file may hold, and `config`, `web` and `log`, which flags and variables alone may set."""

    cloud: CloudChoice = setting(
        CLOUDS["global"], "global, usgov, usgov-dod or china, or {authority: https://…, graph: https://…}"
    )
    poll: Poll = block(Poll, "when and how reports are polled")
    report: Report = block(Report, "how a report is read, and how long it is shown")
    reports: ReportNames = setting(DEFAULT_REPORTS, f"which reports: {', '.join(REPORTS)}")
    targets: Targets = block(Targets, "which share of the assigned licences should be activated")
    prices: Prices = block(Prices, "what a licence costs a month")
    client_id: Uuid | None = setting(None, "the app registration's application (client) ID")
    auth: Auth | None = setting(None, "the app's credential, exactly one kind")
    http: Http = block(Http, "how Microsoft is reached")
    storage: Storage = block(Storage, "where reports are kept")
    tenants: Annotated[tuple[Any, ...], Kind("list")] = setting((), "the tenants, each with the keys below")
    tenant_files: tuple[Text, ...] = setting((), "globs; each file is a mapping with the one key `tenants`")
    config: Invocation = block(Invocation, "where the configuration is, and what to do with it")
    web: Web = block(Web, "how the metrics are served")
    log: Log = block(Log, "how the exporter logs")


class TenantSettings(Settings):
    """One tenant as it is written; the blocks are checked once they are merged with the top's."""

    name: Name | None = setting(None, "the label `tenant`; left out: the tenant id")
    tenant_id: TenantId | None = setting(None, "the tenant's UUID, or one of its domains")
    client_id: Uuid | None = setting(None, "the app registration's application (client) ID")
    auth: Auth | None = setting(None, "the credential, in place of the top's")
    enabled: Flag = setting(default=True, help_="false: not polled and not shown")
    cloud: CloudChoice | None = setting(None, "the cloud, in place of the top's")
    reports: ReportNames | None = setting(None, "the reports, in place of the top's")
    poll: dict[str, Any] | None = setting(None, "keys that differ from the top's (not concurrency)")
    report: dict[str, Any] | None = setting(None, "keys that differ from the top's")
    targets: dict[str, Any] | None = setting(None, "keys that differ from the top's")
    prices: dict[str, Any] | None = setting(None, "keys that differ from the top's")
