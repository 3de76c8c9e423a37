"""The files that a configuration depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.cli.check import check_offline
from exporter.config import load, watched
from exporter.errors import ConfigError
from tests.config.loading import TENANT, UUID, errors, loaded, written

if TYPE_CHECKING:
    from pathlib import Path

TEXT = f"""
client_id: {UUID}
http: {{proxy_file: proxy, ca_file: ca.pem}}
tenants:
  - {{tenant_id: a.example, auth: {{client_secret_file: a}}}}
  - {{tenant_id: b.example, auth: {{certificate_file: b.pfx, certificate_password_file: b}}}}
  - {{tenant_id: c.example, auth: {{federated_token_file: c}}}}
  - {{tenant_id: d.example, auth: {{client_secret_file: a}}}}
  - {{tenant_id: e.example, auth: {{client_secret: x}}}}
tenant_files: ["t-*.yml", "*.yml"]
"""


def test_watched(tmp_path: Path) -> None:
    """Every file that matters is watched once, and a tenant file that appears later too."""
    (tmp_path / "proxy").write_text("http://proxy.example:3128", encoding="utf-8")
    (tmp_path / "t-1.yml").write_text("tenants: []", encoding="utf-8")
    flags = written(tmp_path, TEXT.replace('"*.yml"', '"t-?.yml"'))
    config = load(flags, {})
    names = ["config.yml", "t-1.yml", "proxy", "ca.pem", "a", "b.pfx", "b"]  # a federated token is read again each time
    assert [path.name for path in watched(config)] == names
    assert [path.name for path in config.files] == ["config.yml", "t-1.yml"]
    (tmp_path / "t-2.yml").write_text("tenants: []", encoding="utf-8")
    assert [path.name for path in watched(config)] == [*names[:2], "t-2.yml", *names[2:]]


def test_every_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Files that are missing or empty are reported at once, each with its key and the tenant that needs it."""
    text = TEXT.replace("proxy_file: proxy, ", "").replace('tenant_files: ["t-*.yml", "*.yml"]', "")
    (tmp_path / "a").write_text("secret", encoding="utf-8")
    (tmp_path / "b.pfx").touch()
    (tmp_path / "b").touch()
    config = loaded(tmp_path, text)
    bare_value, path = "write only the value into it, as UTF-8", "check the path, and that the exporter can read it"
    with pytest.raises(ConfigError) as caught:
        check_offline(config, config.tenants, {})
    assert caught.value.errors == (
        f"http.ca_file: {tmp_path}/ca.pem: No such file or directory; use a PEM file of CA certificates",
        f"b.example: auth.certificate_password_file: cannot use {tmp_path}/b: it is empty; {bare_value}",
        f"c.example: auth.federated_token_file: cannot read {tmp_path}/c: No such file or directory; {path}",
    )


def test_a_glob_without_a_match_is_a_notice(tmp_path: Path) -> None:
    """A glob that matches nothing yet stops nobody who has other tenants."""
    text = TEXT.replace("http: {proxy_file: proxy, ca_file: ca.pem}", "").replace(', "*.yml"', "")
    assert loaded(tmp_path, text).notices == ("tenant_files: no file matches t-*.yml yet",)


def test_globs_may_be_absolute_and_deep(tmp_path: Path) -> None:
    """A glob may be absolute, ** descends into folders, and what matches twice or is the file itself counts once."""
    (tmp_path / "deep" / "folder.yml").mkdir(parents=True)
    for number, folder in enumerate((tmp_path, tmp_path / "deep", tmp_path / "deep" / "folder.yml")):
        entry = f"{{tenant_id: t{number}.example, auth: {{client_secret: x}}}}"
        (folder / f"t{number}.yml").write_text(f"tenants: [{entry}]", encoding="utf-8")
    flags = written(tmp_path, f"client_id: {UUID}\ntenant_files: ['{tmp_path}/deep/*.yml', '**/*.yml', './t0.yml']")
    assert [tenant.name for tenant in load(flags, {}).tenants] == ["t1.example", "t2.example", "t0.example"]


def test_links_and_folders_that_lead_nowhere(tmp_path: Path) -> None:
    """A link to itself, as a tenant file or as a glob's folder, is an error: its tenants are not taken as removed."""
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    (tmp_path / "loop").symlink_to("loop")
    flags = written(tmp_path, f"tenant_files: ['loop.y*', 'loop/*.yml']\ntenants: [{TENANT}]")
    why = "Too many levels of symbolic links"
    assert errors(flags, {}) == (
        f"{tmp_path}/loop.yml: cannot be read: {why}; check the path, the file and its permissions",
        f"{tmp_path}/config.yml:tenant_files: {tmp_path}/loop cannot be listed: {why}; check the folder's permissions",
    )


def test_a_file_that_two_globs_match_is_no_missing_file(tmp_path: Path) -> None:
    """A glob whose files an earlier one matches already has its match: no notice says that it has none."""
    (tmp_path / "t.yml").write_text("tenants: []", encoding="utf-8")
    assert loaded(tmp_path, f"tenant_files: [t.*, ./t.yml, config.yml]\ntenants: [{TENANT}]").notices == ()


def test_a_home_folder_is_not_guessed(tmp_path: Path) -> None:
    """A path that begins with ~ is refused, from file and flag alike: only a shell knows the home folder."""
    why = "storage.path: begins with ~, which only a shell replaces; write the whole path"
    flags = written(tmp_path, f"storage: {{path: ~/data}}\ntenants: [{TENANT}]")
    assert errors(flags, {}) == (f"{tmp_path}/config.yml:{why}",)
    assert errors({**flags, "storage.path": "~/data"}, {}) == (f"--{why}",)
