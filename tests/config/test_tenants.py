"""Many tenants: small in memory, whole in their errors."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

from exporter.config import load
from tests.config.loading import TENANT, UUID, errors, loaded, written

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = 5_000
BYTES_A_TENANT = 1_000


def _entries(folder: Path, **keys: object) -> dict[str, object]:
    entries = [{"name": f"customer {n}", "tenant_id": f"t{n}.example", **keys} for n in range(ENTRIES)]
    (folder / "t.json").write_text(json.dumps({"tenants": entries}), encoding="utf-8")
    text = f"client_id: {UUID}\nauth: {{client_secret_file: secret}}\ntenant_files: [t.json]"
    return written(folder, text)


def test_many_tenants_stay_small(tmp_path: Path) -> None:
    """Thousands of tenants of one app cost less than a kilobyte each, overrides of poll and cloud included."""
    flags = _entries(tmp_path, cloud="usgov", poll={"interval": "2h"}, reports=["activations_platform_counts"])
    tracemalloc.start()
    found = load(flags, {}).tenants
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(found) == ENTRIES
    assert size / ENTRIES < BYTES_A_TENANT
    assert len({id(part) for one in found for part in (one.auth, one.poll, one.report, one.targets, one.prices)}) == 5


def test_an_error_at_the_top_is_reported_once(tmp_path: Path) -> None:
    """What all tenants inherit is reported where it stands, not once a tenant; what each lacks is reported for each."""
    flags = _entries(tmp_path)
    text = (tmp_path / "config.yml").read_text(encoding="utf-8")
    assert len(errors(flags, {"OFFICE365_EXPORTER_POLL__JITTER": "soon"})) == 1
    assert len(errors(written(tmp_path, f"{text}\nreport: {{format: json}}"), {})) == 1
    assert len(errors(written(tmp_path, text.replace(UUID, "x")), {})) == 1
    assert len(errors(written(tmp_path, text.replace("client_secret_file", "client_secret_fil")), {})) == 1
    assert len(errors(written(tmp_path, text.replace("auth:", "# ")), {})) == ENTRIES


def test_tenants_by_variable() -> None:
    """The tenants may come as JSON in a variable, and an error in them names it with the place inside."""
    entry = {"name": "a", "tenant_id": "a.example", "client_id": UUID, "auth": {"client_secret": "x"}}
    environ = {"OFFICE365_EXPORTER_TENANTS": json.dumps([entry, {**entry, "auth": {"client_secret": 5}}])}
    assert errors({}, environ) == (
        "OFFICE365_EXPORTER_TENANTS[1].auth.client_secret: must be text, not a number (tenant a); put it in quotes",
        (
            "OFFICE365_EXPORTER_TENANTS[1].name: the name a is already used by OFFICE365_EXPORTER_TENANTS[0]; "
            "give each tenant a name of its own"
        ),
        (
            "OFFICE365_EXPORTER_TENANTS[1].tenant_id: the tenant a.example of the cloud global is already configured "
            "by OFFICE365_EXPORTER_TENANTS[0]; remove one of the two"
        ),
    )


def test_download_hosts(tmp_path: Path) -> None:
    """Hosts that are configured replace the cloud's own, an empty list allows none; a custom cloud has none."""
    entry = f"tenants: [{{tenant_id: a.example, client_id: {UUID}, auth: {{client_secret: x}}, cloud: CLOUD}}]"

    def hosts(cloud: str, http: str = "") -> tuple[str, ...]:
        return load(written(tmp_path, entry.replace("CLOUD", cloud) + http), {}).tenants[0].download_hosts

    custom = "{authority: 'https://localhost:1', graph: 'https://localhost:2'}"
    assert hosts("global") == (".office.com",)
    assert hosts("china") == (".office.com", ".office365.cn", ".partner.outlook.cn")
    assert hosts(custom) == ()
    assert hosts("global", "\nhttp: {download_hosts: []}") == ()
    assert hosts(custom, "\nhttp: {download_hosts: ['LOCALHOST:3', '[::1]:3']}") == ("localhost:3", "[::1]:3")


def test_nothing_in_a_tenant_silences_nothing_at_the_top(tmp_path: Path) -> None:
    """`schedule: null` in a tenant takes the top's schedule away, and leaves the top's interval as it is."""
    entry = f"{TENANT[:-1]}, poll: {{schedule: null}}}}"
    (tenant,) = loaded(tmp_path, f"poll: {{interval: 2h}}\ntenants: [{entry}]").tenants
    assert (tenant.poll.interval, tenant.poll.schedule) == (7200.0, None)
    (tenant,) = loaded(tmp_path, f"poll: {{schedule: 0 * * * *}}\ntenants: [{entry}]").tenants
    assert (tenant.poll.interval, tenant.poll.schedule) == (3600.0, None)


def test_one_tenant_id_behind_two_gateways(tmp_path: Path) -> None:
    """Custom clouds with different addresses of Graph are two clouds; with one address they are one."""
    entries = [
        f"{TENANT[:-1].replace('name: contoso', f'name: {name}')}, "
        f"cloud: {{authority: 'https://login.{name}', graph: 'https://{graph}'}}}}"
        for name, graph in (("a", "one.example"), ("b", "two.example"), ("c", "two.example"))
    ]
    one, two = loaded(tmp_path, f"tenants: [{', '.join(entries[:2])}]").tenants
    assert (one.keys[0].cloud, two.keys[0].cloud) == ("https://one.example", "https://two.example")
    (line,) = errors(written(tmp_path, f"tenants: [{', '.join(entries)}]"), {})
    assert "is already configured by" in line


def test_a_tenant_id_at_the_top_hides_no_other_error(tmp_path: Path) -> None:
    """A key of a tenant that stands at the top is an error, and so is its lack in the tenant."""
    text = f"tenant_id: contoso.example\ntenants: [{TENANT.replace('tenant_id: contoso.example, ', '')}]"
    file = written(tmp_path, text)
    assert [line.split("; ")[0] for line in errors(file, {})] == [
        f"{tmp_path}/config.yml:tenant_id: is not a known key",
        f"{tmp_path}/config.yml:tenants[0].tenant_id: is missing (tenant contoso)",
    ]
