"""Variables and flags: every setting has one, and which beats which."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, SecretStr

from exporter.config import load
from exporter.config.settings import flags, settings
from tests.config.loading import TENANT, UUID, errors, loaded, written

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "OFFICE365_EXPORTER_"
TENANTS = {
    f"{PREFIX}TENANTS": json.dumps([{"tenant_id": "t.example", "client_id": UUID, "auth": {"client_secret": "x"}}])
}

# One good value for each setting, as text, and what it becomes.
VALUES: dict[str, tuple[str, Any]] = {
    "cloud": ("usgov-dod", "usgov-dod"),
    "poll": ('{"interval": "2h"}', None),
    "poll.interval": ("30m", 1800.0),
    "poll.schedule": ("0 6 * * *", "0 6 * * *"),
    "poll.timezone": ("Europe/Berlin", "Europe/Berlin"),
    "poll.jitter": ("0", 0.0),
    "poll.timeout": ("90s", 90.0),
    "poll.concurrency": ("4", 4),
    "report": ('{"format": "csv"}', None),
    "report.api_version": ("beta", "beta"),
    "report.format": ("csv", "csv"),
    "report.max_age": ("1d12h", 129600.0),
    "report.product_names": ('{"Office": "APPS"}', {"Office": "APPS"}),
    "reports": ('["activations_platform_counts"]', ("activations_platform_counts",)),
    "targets": ('{"ratio": 0.25}', None),
    "targets.ratio": ("null", None),
    "targets.min_assigned": ("7", 7),
    "targets.product_types": ('{"Visio": {"ratio": 0.3}}', None),
    "prices": ('{"currency": "EUR"}', None),
    "prices.currency": ("EUR", "EUR"),
    "client_id": (UUID.upper(), UUID),
    "auth": ('{"client_secret": "x"}', None),
    "auth.client_secret": ("123456", "123456"),
    "auth.client_secret_file": ("secret", "secret"),
    "auth.certificate_file": ("cert.pem", "cert.pem"),
    "auth.federated_token_file": ("token", "token"),
    "auth.managed_identity": ("{}", None),
    "auth.managed_identity.client_id": (UUID, UUID),
    "http": ('{"download_hosts": [".example.com"]}', None),
    "http.proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "http.ca_file": ("ca.pem", "ca.pem"),
    "http.download_hosts": ('[".example.com", "x.example:443"]', (".example.com", "x.example:443")),
    "storage": ('{"retention": "1y"}', None),
    "storage.path": ("/var/lib/exporter", "/var/lib/exporter"),
    "storage.retention": ("1y", 31536000.0),
    "config": ('{"check": true}', None),
    "config.check": ("true", True),
    "config.print": ("1", True),
    "web": ('{"telemetry_path": "/m"}', None),
    "web.listen_address": ('["127.0.0.1:9365", "[::1]:9365"]', ("127.0.0.1:9365", "[::1]:9365")),
    "web.telemetry_path": ("/m", "/m"),
    "web.config": ('{"file": "web.yml"}', None),
    "web.config.file": ("web.yml", "web.yml"),
    "web.route_prefix": ("exporter/", "/exporter"),
    "web.external_url": ("https://example.com/exporter/", "https://example.com/exporter"),
    "web.enable_lifecycle": ("yes", True),
    "log": ('{"level": "debug"}', None),
    "log.level": ("warn", "warning"),
    "log.format": ("json", "json"),
}
# Settings that are tested elsewhere, as they need others next to them.
ELSEWHERE = {
    "config.file",
    "cloud.authority",
    "cloud.graph",
    "auth.expires",
    "auth.certificate_key_file",
    "auth.send_certificate_chain",
    "auth.certificate_password",
    "prices.product_types",
    "auth.certificate_password_file",
    "auth.device_code",
    "http.proxy_file",
    "tenants",
    "tenant_files",
}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.name if hasattr(value, "authority") else value


def test_every_setting_is_in_the_table() -> None:
    """No setting is forgotten by the table of this test."""
    assert {".".join(one.path) for one in settings()} == VALUES.keys() | ELSEWHERE


@pytest.mark.parametrize("path", VALUES)
def test_variable(path: str) -> None:
    """Each setting is set by its variable: the path in upper case, two underscores for a dot."""
    text, expected = VALUES[path]
    variable = PREFIX + path.replace(".", "__").upper()
    value: Any = load({}, {**TENANTS, variable: text}).root
    for key in path.split("."):
        value = getattr(value, key)
    if isinstance(value, BaseModel) or path.endswith("product_types"):
        assert value
    else:
        assert str(_plain(value)) == str(expected)


def test_settings_that_need_others() -> None:
    """A pair of addresses, a certificate with its password and an expiry arrive through their variables."""
    config = load(
        {},
        {
            **TENANTS,
            f"{PREFIX}CLOUD__AUTHORITY": "https://login.example",
            f"{PREFIX}CLOUD__GRAPH": "https://graph.example",
            f"{PREFIX}AUTH__CERTIFICATE_FILE": "cert.pfx",
            f"{PREFIX}AUTH__CERTIFICATE_PASSWORD_FILE": "password",
        },
    )
    assert (config.root.cloud.name, config.root.cloud.graph) == ("custom", "https://graph.example")
    assert config.root.auth is not None
    assert str(config.root.auth.certificate_password_file) == "password"
    config = load({}, {**TENANTS, f"{PREFIX}AUTH__CLIENT_SECRET": "x", f"{PREFIX}AUTH__EXPIRES": "2027-01-31"})
    assert config.root.auth is not None
    assert str(config.root.auth.expires) == "2027-01-31"


def test_tenant_files_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configuration file, the globs of a variable start at the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yml").write_text(f"tenants: [{TENANT}]", encoding="utf-8")
    config = load({}, {f"{PREFIX}TENANT_FILES": "*.yml"})
    assert [tenant.name for tenant in config.tenants] == ["contoso"]


def test_list_of_one() -> None:
    """A list of one text may be given as that text."""
    assert load({}, {**TENANTS, f"{PREFIX}WEB__LISTEN_ADDRESS": "[::1]:9365"[5:]}).root.web.listen_address == (":9365",)
    assert load({}, {**TENANTS, f"{PREFIX}REPORTS": "activations_user_counts"}).root.reports == (
        "activations_user_counts",
    )


def test_single_key_lies_on_its_block() -> None:
    """A key's own variable beats the JSON of the block that it stands in."""
    environ = {**TENANTS, f"{PREFIX}POLL": '{"interval": "2h", "jitter": "1m"}', f"{PREFIX}POLL__JITTER": "2m"}
    poll = load({}, environ).root.poll
    assert (poll.interval, poll.jitter) == (7200.0, 120.0)


def test_empty_variable_counts_as_unset() -> None:
    """An empty variable, as templates leave behind, changes nothing."""
    assert load({}, {**TENANTS, f"{PREFIX}POLL__INTERVAL": "", f"{PREFIX}NO_SUCH": ""}).root.poll.interval == 3600.0


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("POL__INTERVAL", "1h", "is not a known variable; did you mean OFFICE365_EXPORTER_POLL__INTERVAL?"),
        ("POLL_INTERVAL", "1h", "is not a known variable; did you mean OFFICE365_EXPORTER_POLL__INTERVAL?"),
        (
            "AUTH__CLIENT_SECRET_FIL",
            "x",
            "is not a known variable; did you mean OFFICE365_EXPORTER_AUTH__CLIENT_SECRET_FILE?",
        ),
        ("TENANTNAME", "x", "is not a known variable; did you mean OFFICE365_EXPORTER_TENANT_NAME?"),
        ("poll__interval", "1h", "is not a known variable; did you mean OFFICE365_EXPORTER_POLL__INTERVAL?"),
        ("XYZZY_PLUGH", "x", "is not a known variable; remove it; docs/configuration.md lists the known ones"),
        (
            "POLL__INTERVAL",
            "30",
            "is a duration without a unit; write it as 90s, 1h30m or 5y, largest unit first",
        ),
        ("POLL__CONCURRENCY", "many", "must be a whole number, not text; write it in digits, without quotes"),
        ("POLL__CONCURRENCY", "[" * 9_000, "must be a whole number, not text; write it in digits, without quotes"),
        ("POLL", '{"interval": "soon"}', None),
        ("POLL", "[1]", 'must be a map, not a list; write it as {"key": "value"}'),
        ("LOG__LEVEL", "inf", "is not one of debug, info, warning, error; did you mean info?"),
        ("LOG__LEVEL", "xxxx", "is not one of debug, info, warning, error; write debug, info, warning or error"),
        ("WEB__ENABLE_LIFECYCLE", "maybe", "must be true or false, not text; write true or false, without quotes"),
        ("REPORTS", "[1", 'is not JSON: Expecting \',\' delimiter, at character 3; write it as ["one", "two"]'),
        ("TENANTS", "x", 'is not JSON: Expecting value, at character 1; write it as [{"tenant_id": "contoso.com"}]'),
        (
            "TARGETS__PRODUCT_TYPES",
            '{"a": {}, "a": {}}',
            'is not JSON: a key appears twice, or it is nested too deep; write it as {"key": "value"}',
        ),
        (
            "CLIENT_ID",
            "\udc80",
            "contains half a character (a lone surrogate), which is not valid in UTF-8; write the whole character",
        ),
        ("STORAGE__PATH", "a\udc80", "is not a file path; write the path as text"),
    ],
)
def test_bad_variable(variable: str, value: str, line: str | None) -> None:
    """An error of a variable names the variable, the rule and the fix, and suggests the nearest known name."""
    environ = {**TENANTS, PREFIX + variable: value}
    found = errors({}, environ)
    assert len(found) == 1
    expected = "POLL.interval: is not a duration; write it as 90s, 1h30m or 5y, largest unit first"
    assert found[0] == (f"{PREFIX}{variable}: {line}" if line else f"{PREFIX}{expected}")


def test_clash_of_two_variables(tmp_path: Path) -> None:
    """Where two variables clash, both are named; the file's other keys are not blamed."""
    environ = {f"{PREFIX}POLL__INTERVAL": "1h", f"{PREFIX}POLL__SCHEDULE": "0 6 * * *"}
    assert errors(written(tmp_path, f"poll: {{jitter: 1m}}\ntenants: [{TENANT}]"), environ) == (
        (
            f"{PREFIX}POLL__INTERVAL, {PREFIX}POLL__SCHEDULE: "
            f"sets both {PREFIX}POLL__INTERVAL and {PREFIX}POLL__SCHEDULE; keep one of them"
        ),
    )


def test_service_links_of_kubernetes() -> None:
    """Variables that Kubernetes sets for a Service whose name begins like our prefix are no errors, others are."""
    links = {
        f"{PREFIX}METRICS_SERVICE_HOST": "10.0.0.1",
        f"{PREFIX}METRICS_SERVICE_PORT": "9365",
        f"{PREFIX}METRICS_SERVICE_PORT_HTTP": "9365",
        f"{PREFIX}METRICS_PORT": "tcp://10.0.0.1:9365",
        f"{PREFIX}METRICS_PORT_9365_TCP": "tcp://10.0.0.1:9365",
        f"{PREFIX}METRICS_PORT_9365_TCP_PROTO": "tcp",
        f"{PREFIX}METRICS_PORT_9365_TCP_PORT": "9365",
        f"{PREFIX}METRICS_PORT_9365_TCP_ADDR": "10.0.0.1",
    }
    assert load({}, {**TENANTS, **links}).tenants
    assert len(errors({}, {**TENANTS, f"{PREFIX}METRICS_PORT": "tcp://10.0.0.1:9365"})) == 1


def test_service_named_like_the_prefix() -> None:
    """A Service with just the prefix as its name is recognised too."""
    links = {"OFFICE365_EXPORTER_SERVICE_HOST": "10.0.0.1", "OFFICE365_EXPORTER_PORT": "tcp://10.0.0.1:9365"}
    assert load({}, {**TENANTS, **links}).tenants


@pytest.mark.parametrize("given", range(8))
def test_precedence(given: int, tmp_path: Path) -> None:
    """A flag beats a variable, a variable the file, the file the default, in every combination."""
    by_flag, by_variable, by_file = given & 4, given & 2, given & 1
    flags = written(tmp_path, f"tenants: [{TENANT}]" + ("\nstorage: {path: /by-file}" if by_file else ""))
    environ = {f"{PREFIX}STORAGE__PATH": "/by-variable"} if by_variable else {}
    found = load({**flags, "storage.path": "/by-flag" if by_flag else None}, environ).root.storage.path
    expected = "/by-flag" if by_flag else "/by-variable" if by_variable else "/by-file" if by_file else "None"
    assert str(found) == expected


def test_variable_silences_its_rival_in_the_file(tmp_path: Path) -> None:
    """What says the same thing in another way is silenced by the source on top of it."""
    text = f"""
poll: {{schedule: 0 6 * * *}}
auth: {{client_secret_file: secret, expires: 2027-01-31}}
http: {{proxy_file: proxy}}
tenants: [{TENANT}]
"""
    environ = {
        f"{PREFIX}POLL__INTERVAL": "30m",
        f"{PREFIX}AUTH__CERTIFICATE_FILE": "cert.pem",
        f"{PREFIX}HTTP__PROXY": "http://proxy.example:3128",
    }
    config = load(written(tmp_path, text), environ)
    assert (config.root.poll.interval, config.root.poll.schedule) == (1800.0, None)
    assert config.root.auth is not None
    assert (config.root.auth.kind, config.root.auth.expires) == ("certificate", None)
    assert config.root.http.proxy_file is None


def test_config_file_by_variable(tmp_path: Path) -> None:
    """The configuration file may be named by its variable, and a flag beats that."""
    path = str(written(tmp_path, f"tenants: [{TENANT}]")["config.file"])
    assert load({}, {f"{PREFIX}CONFIG__FILE": path}).tenants[0].name == "contoso"
    assert load({"config.file": path}, {f"{PREFIX}CONFIG__FILE": "/nowhere"}).tenants[0].name == "contoso"


def test_flags_are_those_of_the_contract() -> None:
    """The flags are the documented ones, each with its help."""
    assert {one.flag: (one.key, one.kind, one.default) for one in flags()} == {
        "--config.file": ("config.file", "path", None),
        "--config.check": ("config.check", "true or false", False),
        "--config.print": ("config.print", "true or false", False),
        "--storage.path": ("storage.path", "path", None),
        "--web.listen-address": ("web.listen_address", "list", (":9365",)),
        "--web.telemetry-path": ("web.telemetry_path", "path of a URL", "/metrics"),
        "--web.config.file": ("web.config.file", "path", None),
        "--web.route-prefix": ("web.route_prefix", "path of a URL", None),
        "--web.external-url": ("web.external_url", "web address", None),
        "--web.enable-lifecycle": ("web.enable_lifecycle", "true or false", False),
        "--log.level": ("log.level", "one of debug, info, warning, error", "info"),
        "--log.format": ("log.format", "one of logfmt, json", "logfmt"),
    }
    assert all(one.help for one in flags())


def test_flags_as_argparse_gives_them() -> None:
    """Texts, lists and booleans of the command line arrive; None and an empty list mean not given."""
    config = load(
        {"web.listen_address": ["127.0.0.1:0", "unix:/run/x.sock"], "config.check": True, "log.level": None}, TENANTS
    )
    assert config.root.web.listen_address == ("127.0.0.1:0", "unix:/run/x.sock")
    assert (config.root.config.check, config.root.log.level) == (True, "info")
    assert load({"web.listen_address": []}, TENANTS).root.web.listen_address == (":9365",)


def test_bad_flags() -> None:
    """An error of a flag names the flag; of several values, also which."""
    found = errors(
        {"web.listen_address": [":9365", "9365"], "web.telemetry_path": "metrics", "log.format": "logfm"}, TENANTS
    )
    assert found == (
        (
            "--web.listen-address[1]: is not an address to listen on; "
            "write it as :9365, 127.0.0.1:9365, [::1]:9365 or unix:/run/x.sock"
        ),
        "--web.telemetry-path: is not a URL path; write it as /metrics",
        "--log.format: is not one of logfmt, json; did you mean logfmt?",
    )


def test_unknown_flag_path() -> None:
    """A path that no flag has is a mistake of the program, not of its user."""
    with pytest.raises(KeyError):
        load({"web.listen": ":9365"}, TENANTS)


@pytest.mark.parametrize(
    ("prefix", "url", "expected"),
    [
        (None, None, ""),
        (None, "https://example.com", ""),
        (None, "https://example.com/a/b/", "/a/b"),
        ("/", "https://example.com/a", ""),
        ("c", "https://example.com/a", "/c"),
    ],
)
def test_web_prefix(prefix: str | None, url: str | None, expected: str) -> None:
    """The prefix of all paths is the one given, or else the path of the external URL, as in Prometheus."""
    assert load({"web.route_prefix": prefix, "web.external_url": url}, TENANTS).root.web.prefix == expected


@pytest.mark.parametrize("path", ["/-/healthy", "/%2D/healthy", "/api/v1/status", "/a b", "metrics", "/", "/a?b"])
def test_telemetry_path_of_another_endpoint(path: str) -> None:
    """The metrics may not take another endpoint's path, nor what is none."""
    assert errors({"web.telemetry_path": path}, TENANTS)[0].startswith("--web.telemetry-path: ")


@pytest.mark.parametrize(
    "address",
    ["", "9365", "x:", ":65536", ":-1", "[::1:9365", "[x]:9365", "unix:", "a b:1", "http://x:1", ":\uff11"],
)
def test_bad_listen_address(address: str) -> None:
    """What cannot be listened on is refused before the start."""
    assert errors({"web.listen_address": [address]}, TENANTS)[0].startswith("--web.listen-address: ")


@pytest.mark.parametrize(
    "url",
    [
        *("example.com", "ftp://example.com", "https://", "https://me:p@example.com", "http://[::1"),
        "https://x.example/a%0d%0aX-Injected:%20y",
    ],
)
def test_bad_external_url(url: str) -> None:
    """An external URL is a plain web address."""
    assert errors({"web.external_url": url}, TENANTS)[0].startswith("--web.external-url: ")


def test_proxy_from_a_file(tmp_path: Path) -> None:
    """The proxy's address may stand in a file, which is read with the configuration."""
    (tmp_path / "proxy").write_text("http://me:s3cret~@proxy.example:3128\n", encoding="utf-8")
    config = loaded(tmp_path, "http: {proxy_file: proxy}")
    assert config.root.http.proxy is not None
    assert config.root.http.proxy.get_secret_value() == "http://me:s3cret~@proxy.example:3128"
    (tmp_path / "proxy").write_text("me:s3cret~@proxy.example", encoding="utf-8")
    found = errors({"config.file": str(tmp_path / "config.yml")}, {})
    assert found == (
        (
            f"{tmp_path}/config.yml:http.proxy_file: its content is not the address of a proxy; "
            "write it as http://user:password@proxy.example.com:3128, with the password percent-encoded"
        ),
    )
    (tmp_path / "proxy").write_bytes(b"\xff")
    assert "it is not UTF-8" in errors({"config.file": str(tmp_path / "config.yml")}, {})[0]
