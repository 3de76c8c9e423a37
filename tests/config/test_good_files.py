"""What good files come to."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.config import Config, load, masked
from exporter.errors import ConfigError
from tests.config.loading import TENANT, UUID, loaded, written

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = Path(__file__).parent / "good"
HOUR = 3600.0


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return the configuration of a file that uses every key."""
    monkeypatch.chdir(GOOD)
    return load({"config.file": "whole.yaml"}, {})


def test_values(whole: Config) -> None:
    """Every key of the file arrives with its value, durations in seconds."""
    assert (whole.root.cloud.name, whole.root.cloud.graph) == ("global", "https://graph.microsoft.com")
    assert (whole.root.poll.interval, whole.root.poll.schedule, whole.root.poll.timezone) == (
        HOUR,
        None,
        "Europe/Berlin",
    )
    assert (whole.root.poll.jitter, whole.root.poll.timeout, whole.root.poll.concurrency) == (300.0, 60.0, 16)
    assert (whole.root.report.api_version, whole.root.report.format, whole.root.report.max_age) == (
        "v1.0",
        "csv",
        72 * HOUR,
    )
    assert whole.root.report.product_names == {"OFFICE 365 PROPLUS": "MICROSOFT 365 APPS FOR ENTERPRISE"}
    assert whole.root.reports == ("activations_user_counts", "activations_platform_counts")
    assert (whole.root.targets.ratio, whole.root.targets.min_assigned) == (0.5, 25)
    assert {name: target.ratio for name, target in whole.root.targets.product_types.items()} == {
        "Visio Online Plan 2": 0.3,
        "Project": None,
    }
    assert whole.root.http.proxy is not None
    assert whole.root.http.proxy.get_secret_value() == "http://user:p4ssword~@proxy.example:3128"
    assert (whole.root.http.ca_file, whole.root.http.download_hosts) == (
        Path("ca.pem"),
        (".office.com", "files.example:8443"),
    )
    assert (whole.root.storage.path, whole.root.storage.retention) == (Path("data"), 5 * 365 * 24 * HOUR)


def test_defaults(tmp_path: Path) -> None:
    """A file that names a tenant and nothing else has the documented defaults."""
    config = loaded(tmp_path, "")
    assert (config.root.poll.interval, config.root.poll.jitter, config.root.poll.timeout) == (HOUR, 300.0, 60.0)
    assert (config.root.report.api_version, config.root.report.format, config.root.report.max_age) == (
        None,
        "csv",
        72 * HOUR,
    )
    assert (config.root.targets.ratio, config.root.targets.min_assigned, config.root.targets.product_types) == (
        0.5,
        25,
        {},
    )
    assert (config.root.storage.path, config.root.storage.retention) == (None, 5 * 365 * 24 * HOUR)
    assert (config.root.web.listen_address, config.root.web.telemetry_path, config.root.web.prefix) == (
        (":9365",),
        "/metrics",
        "",
    )
    assert (config.root.log.level, config.root.log.format, config.notices) == ("info", "logfmt", ())
    (tenant,) = config.tenants
    assert (tenant.api_version, tenant.download_hosts) == ("v1.0", (".office.com",))


def test_every_kind_of_credential(whole: Config) -> None:
    """Each kind of `auth` is told apart, and a managed identity brings its own client id."""
    found = {tenant.name: (tenant.auth.kind, tenant.client_id) for tenant in whole.configured}
    zero = "00000000-0000-0000-0000-000000000000"
    assert found == {
        "contoso": ("client_secret", zero),
        "fabrikam.onmicrosoft.com": ("client_secret", zero),
        "from-an-alias": ("client_secret", zero),
        "by certificate": ("certificate", zero),
        "workload identity": ("federated_token", zero),
        "system-assigned": ("managed_identity", ""),
        "user-assigned": ("managed_identity", "33333333-3333-3333-3333-333333333333"),
        "a person": ("device_code", zero),
        "GCC High": ("client_secret", zero),
        "gateway": ("client_secret", zero),
        "customer 1": ("client_secret", zero),
        "customer 2": ("client_secret", "44444444-4444-4444-4444-444444444444"),
    }


def test_only_enabled_tenants(whole: Config) -> None:
    """The tenants to poll are the enabled ones, in the order of the file and then of the tenant files."""
    names = [tenant.name for tenant in whole.tenants]
    assert names == [tenant.name for tenant in whole.configured if tenant.name != "a person"]


def test_blocks_merge_by_key(whole: Config) -> None:
    """A tenant's poll, report and targets lie on the top's key by key, and auth replaces the top's whole."""
    by_name = {tenant.name: tenant for tenant in whole.tenants}
    gov = by_name["GCC High"]
    assert (gov.report.api_version, gov.report.format, gov.report.max_age) == ("beta", "json", 7 * 24 * HOUR)
    assert gov.report.product_names == {"office 365 proplus": "Apps", "Visio": "VISIO"}
    assert (gov.targets.ratio, gov.targets.min_assigned) == (None, 25)
    assert {name: target.ratio for name, target in gov.targets.product_types.items()} == {
        "Visio Online Plan 2": 0.3,
        "project": 0.9,
    }
    certificate = by_name["by certificate"]
    assert certificate.poll.schedule == "15 */6 * * 1-5,sun"
    assert (certificate.poll.timezone, certificate.poll.jitter) == ("Europe/Berlin", 0.0)
    assert (certificate.auth.client_secret_file, certificate.auth.expires) == (None, None)
    assert by_name["from-an-alias"].auth.expires == date(2028, 1, 31)
    assert by_name["workload identity"].reports == ("activations_platform_counts",)
    assert by_name["gateway"].cloud.authority == "https://login.example"


def test_a_tenants_rhythm_silences_the_tops(tmp_path: Path) -> None:
    """A tenant's interval silences the top's schedule, and a tenant's schedule the top's interval."""
    one = TENANT.replace("}}", "}, poll: {interval: 2h}}")
    (tenant,) = loaded(tmp_path, f"poll: {{schedule: 0 6 * * *}}\ntenants: [{one}]").tenants
    assert (tenant.poll.schedule, tenant.poll.interval) == (None, 2 * HOUR)
    one = TENANT.replace("}}", "}, poll: {schedule: 0 6 * * *}}")
    (tenant,) = loaded(tmp_path, f"poll: {{interval: 2h}}\ntenants: [{one}]").tenants
    assert (tenant.poll.schedule, tenant.poll.interval) == ("0 6 * * *", HOUR)


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    """A path in a file starts at that file's folder, one in a variable or flag at the working directory."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "t.yml").write_text(
        "tenants: [{tenant_id: b.example, auth: {client_secret_file: b}}]", encoding="utf-8"
    )
    text = f"""
client_id: {UUID}
storage: {{path: data}}
tenants: [{{tenant_id: a.example, auth: {{client_secret_file: a}}}}]
tenant_files: [more/*.yml]
"""
    flags = written(tmp_path, text)
    config = load(flags, {"OFFICE365_EXPORTER_HTTP__CA_FILE": "ca.pem"})
    assert config.root.storage.path == tmp_path / "data"
    assert [tenant.auth.client_secret_file for tenant in config.tenants] == [tmp_path / "a", tmp_path / "more" / "b"]
    assert config.root.http.ca_file == Path("ca.pem")
    assert load({**flags, "storage.path": "here"}, {}).root.storage.path == Path("here")


def test_empty_blocks_mean_nothing(tmp_path: Path) -> None:
    """A key with nothing after it is as good as none."""
    config = loaded(tmp_path, f"poll:\nreport:\nhttp:\ntenant_files:\nauth:\ntenants: [{TENANT}]")
    assert config.root.poll.interval == HOUR
    assert [tenant.name for tenant in config.tenants] == ["contoso"]


def test_no_tenant_where_none_is_needed(tmp_path: Path) -> None:
    """The demo and the simulator load a configuration without tenants; what stands in it is checked all the same."""
    assert load({}, {}, need_tenants=False).tenants == ()
    with pytest.raises(ConfigError, match="does not support json"):
        load({}, {"OFFICE365_EXPORTER_REPORT__FORMAT": "json"}, need_tenants=False)
    assert load(written(tmp_path, ""), {}, need_tenants=False).tenants == ()


def test_beta_is_reported_once(whole: Config, tmp_path: Path) -> None:
    """Tenants that are read from beta earn one notice, however many they are; v1.0 earns none."""
    assert whole.notices == (
        "1 of 11 tenants are read from Graph's beta, which Microsoft does not support in production and may change",
    )
    assert loaded(tmp_path, "").notices == ()


def test_numbers_that_end_before_the_next_poll_are_noticed(tmp_path: Path) -> None:
    """A max_age below the interval is accepted with a notice; an interval that a schedule replaces earns none."""
    assert loaded(tmp_path, "poll: {interval: 2h}\nreport: {max_age: 1h}").notices == (
        "1 of 1 tenants have a report.max_age shorter than poll.interval: their gauges are withdrawn between two polls",
    )
    assert loaded(tmp_path, "poll: {schedule: 0 * * * *}\nreport: {max_age: 30m}").notices == ()
    assert loaded(tmp_path, "report: {max_age: 1h}").notices == ()


def test_equal_parts_are_one_object(tmp_path: Path) -> None:
    """Tenants with equal settings share them, so that many tenants stay small."""
    entry = "{{tenant_id: t{}.example, cloud: usgov, report: {{max_age: 1d}}, auth: {{client_secret_file: s}}}}"
    text = f"client_id: {UUID}\ntenants: [{', '.join(entry.format(number) for number in range(3))}]"
    first, *others = loaded(tmp_path, text).tenants
    for other in others:
        assert other.auth is first.auth
        assert other.report is first.report
        assert other.cloud is first.cloud
        assert other.poll is first.poll
        assert other.client_id is first.client_id


def test_one_tenant_id_in_two_clouds(tmp_path: Path) -> None:
    """The same tenant id may stand in two clouds, as two tenants."""
    entry = f"{{tenant_id: t.example, client_id: {UUID}, auth: {{client_secret: x}}, "
    text = f"tenants: [{entry} name: a}}, {entry} name: b, cloud: usgov}}, {entry} name: c, cloud: usgov-dod}}]"
    assert [tenant.cloud.name for tenant in loaded(tmp_path, text).tenants] == ["global", "usgov", "usgov-dod"]


def test_masked(whole: Config, golden: Callable[[Path, str], None]) -> None:
    """The printed configuration hides each secret and the proxy's password, and nothing else."""
    text = masked(whole).replace(f"{GOOD}/", "/here/")
    golden(GOOD / "whole.masked", text)
    assert "p4ssword" not in text


def test_masked_flags_and_proxy(tmp_path: Path) -> None:
    """What flags set follows as comments; a proxy without a password shows as it is, one from a file as its path."""
    (tmp_path / "proxy").write_text("http://me:p4ssword@proxy.example", encoding="utf-8")
    flags = {
        **written(tmp_path, f"tenants: [{TENANT}]"),
        "web.config.file": tmp_path / "web.yml",
        "web.enable_lifecycle": True,
    }
    config = load(flags, {"OFFICE365_EXPORTER_HTTP__PROXY": "http://proxy.example:3128"})
    assert config.root.web.config.file == tmp_path / "web.yml"
    assert f"# --web.config.file={tmp_path}/web.yml\n# --web.enable-lifecycle\n" in masked(config)
    assert "  proxy: http://proxy.example:3128\n" in masked(config)
    text = masked(load(flags, {"OFFICE365_EXPORTER_HTTP__PROXY_FILE": str(tmp_path / "proxy")}))
    assert f"http:\n  proxy_file: {tmp_path}/proxy\nstorage:" in text


def _without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_masked_shows_what_a_tenant_unsets(tmp_path: Path) -> None:
    """A tenant's null that hides a value of the top is printed as what it comes to, so that it loads to the same."""
    one = TENANT.replace("}}", "}, cloud: china, report: {api_version: null}}")
    text = masked(loaded(tmp_path, f"report: {{api_version: v1.0}}\ntenants: [{one}]"))
    assert "report:\n    api_version: beta" in text
    assert masked(load(written(tmp_path, text), {})) == text


def test_masked_is_a_configuration(whole: Config, tmp_path: Path) -> None:
    """What is printed loads to the same configuration, secrets aside, and prints as itself."""
    text = masked(whole)
    again = load(written(tmp_path, text), {})
    assert _without_comments(masked(again)) == _without_comments(text)
    assert [tenant.poll for tenant in again.tenants] == [tenant.poll for tenant in whole.tenants]
    assert [tenant.report for tenant in again.tenants] == [tenant.report for tenant in whole.tenants]
    assert [tenant.targets for tenant in again.tenants] == [tenant.targets for tenant in whole.tenants]
    assert [tenant.cloud for tenant in again.tenants] == [tenant.cloud for tenant in whole.tenants]
    assert [tenant.client_id for tenant in again.tenants] == [tenant.client_id for tenant in whole.tenants]
