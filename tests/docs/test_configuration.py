"""docs/configuration.md, made from the models of the configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import PydanticUndefined

from exporter.config.clouds import CLOUDS
from exporter.config.models import Root, TenantSettings
from exporter.config.settings import PREFIX, Setting, settings
from exporter.config.sources import AUTHORITY_HOST, AZURE_VARIABLES
from tests.docs.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_INTRO: Final = f"""\
# Configuration reference

<!-- Made from the code by tests/docs; `pytest tests/docs --update-golden` writes it. -->

Every setting has a variable, most have a key in the configuration file (`--config.file`, YAML), and those of the
process have a flag. A flag overrides a variable, a variable the file, the file the default. All errors are reported at
once, each as `file:key.path: what is wrong; how to fix it`; `--config.check` reports them and exits, `--config.print`
shows the effective configuration without its secrets.

- **Durations** are written as in Prometheus: `90s`, `1h30m`, `5y`. The unit is required.
- **Variables** are `{PREFIX}` and the key's path in upper case, `__` for each dot or level and `_` for each dash.
  Lists and maps are given as JSON; a list of one string may be given as that string alone. An empty variable counts as
  unset, an unknown one is an error. Variables that Kubernetes sets for a Service whose name begins the same way are
  ignored.
- **Secrets** have a twin that ends in `_file` (`_FILE`) and names a file; it is read again when it changes.
- **Paths** in a file are relative to that file's folder, in variables and flags to the working directory; the globs of
  `tenant_files` always to the folder of the configuration file.
- **Unknown keys**, a key that appears twice, and a value of the wrong type are errors.
- The configuration file, tenant files and the files of secrets and certificates are checked every 30 s; a change
  acts like SIGHUP. A configuration with an error changes nothing.
"""

_ONE_TENANT: Final = """\
## One tenant without a file

Where neither the file nor a tenant file names a tenant, these variables define one. They are the names of Microsoft's
own SDKs, which AKS workload identity injects too, and their twins that end in `_FILE`. Otherwise they are ignored, with
one line in the log.
"""

_AUTHORITY: Final = f"""\
`{AUTHORITY_HOST}` picks the cloud of that tenant by the host of its login: login.microsoftonline.us means `usgov`,
and DoD needs `{PREFIX}CLOUD=usgov-dod`, which overrides it. An unknown host is an error.
"""

_RULES: Final = """\
`auth` is exactly one of: `client_secret` or `client_secret_file`; `certificate_file`; `federated_token_file`;
`managed_identity`, `{}` for the system-assigned one; `device_code: {}`, which needs `storage.path`. `client_id` is
required for all but `managed_identity`. Of `poll.interval` and `poll.schedule` one is given.
"""

_TENANTS: Final = """\
## Keys of a tenant

Each entry of `tenants`, in the file and in tenant files. `auth` is replaced whole, the other blocks merge by key with
those at the top; `poll.schedule` overrides the top's `poll.interval`, and the reverse. No two entries may have
one name, or one cloud and tenant id.
"""

_CLOUDS: Final = """\
## Clouds

`cloud` takes a name from this table, or `{authority: https://…, graph: https://…}` for a gateway or the simulator: such
a custom cloud takes v1.0 and has no download hosts but those in `http.download_hosts`.

v1.0 of the report exists in the global cloud only, and JSON in beta only; both are checked. Microsoft does not support
beta in production. The download hosts of the national clouds are **unverified**: Microsoft documents none. If a poll
fails with the reason `redirect`, its hint names the host to add to `http.download_hosts`.
"""


def reference() -> str:
    """Return the whole page as Markdown."""
    azure = [(f"`{name}`", f"`{'.'.join(path)}`") for name, path in AZURE_VARIABLES.items()]
    sections = (
        _INTRO,
        "## Keys of the file\n",
        _settings_table(one for one in settings() if one.in_file),
        _RULES,
        _TENANTS,
        _tenant_table(),
        "## Flags and variables only\n",
        _settings_table(one for one in settings() if not one.in_file),
        _ONE_TENANT,
        _table(("variable", "key of the tenant"), azure),
        _AUTHORITY,
        _CLOUDS,
        _cloud_table(),
    )
    return "\n".join(sections)


def is_block(one: Setting) -> bool:
    """Whether a setting is a map that is always there: it takes its keys' defaults where it is not set."""
    return one.model is not None and one.default is PydanticUndefined


def _settings_table(chosen: Iterable[Setting]) -> str:
    defaults = Root().model_dump(mode="json")
    rows = []
    for one in chosen:
        if is_block(one):
            continue  # its keys say it all
        name = f"`{one.key if one.in_file else one.flag}`"
        variable = f"`{one.variable}`" + (f", `{one.flag}`" if one.flag and one.in_file else "")
        rows.append((name, _kind(one), _default(_at(defaults, one.path)), one.help, variable))
    return _table(("key", "type", "default", "what it does", "variable"), rows)


def _at(data: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path; None where a map on the way is not set."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _kind(one: Setting) -> str:
    return f"list of: {one.item}" if one.item else one.kind


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{json.dumps(value).replace(chr(34), '')}`"


def _tenant_table() -> str:
    rows = [
        (f"`{one.path[0]}`", _kind(one), "`true`" if one.path[0] == "enabled" else "", one.help)
        for one in settings(TenantSettings)
        if len(one.path) == 1
    ]
    return _table(("key", "type", "default", "what it does"), rows)


def _cloud_table() -> str:
    rows = []
    for cloud in CLOUDS.values():
        hosts = ", ".join(f"`{host}`" for host in cloud.download_hosts)
        unverified = " (unverified)" if cloud.is_national else ""
        rows.append((f"`{cloud.name}`", cloud.authority, cloud.graph, cloud.api_version, hosts + unverified))
    return _table(("cloud", "login", "Graph", "API version", "download hosts"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def test_the_reference_is_the_codes_own(golden: Callable[[Path, str], None]) -> None:
    """The page is what the code says."""
    golden(ROOT / "docs" / "configuration.md", reference())


def test_every_setting_is_in_it() -> None:
    """Each setting's variable, and its flag if it has one, stand in the page; blocks aside, whose keys do."""
    page = reference()
    for one in settings():
        assert is_block(one) or f"`{one.variable}`" in page
        assert not one.flag or f"`{one.flag}`" in page
