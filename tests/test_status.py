"""What page and API know of the exporter, and the schema that the API keeps."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from exporter.config.models import Auth, ManagedIdentity
from exporter.errors import Reason
from exporter.exposition import UnknownTenantError
from exporter.state import Failure, Standing
from exporter.status import json_schema
from exporter.storage import Storage, StorageError
from tests.builders import KEY, NOON, PLATFORMS, USERS, snapshot, tenant
from tests.statuses import PRODUCT, Stored, failed, reported, status

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path(__file__).parent.parent / "docs" / "status.schema.json"
REFUSED = Failure(Reason.CREDENTIALS, "contoso: refused", "renew the secret", "42")


def test_the_schema_in_the_docs_is_the_codes(golden: Callable[[Path, str], None]) -> None:
    """docs/status.schema.json is made from the classes that become the JSON."""
    golden(SCHEMA, json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")


@pytest.mark.parametrize("only", [None, "contoso"])
def test_the_json_keeps_the_schema(only: str | None) -> None:
    """Every answer is valid by the schema in the docs and has no other keys."""
    both = tenant(reports=(USERS, PLATFORMS))
    states = {"contoso": failed(REFUSED, reported()), "adatum": reported(), "waiting": Standing()}
    of = status(states, tenants=[both], storage=Stored([snapshot((PRODUCT, (9, 1, 0)))]), only=only)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:
            part["additionalProperties"] = False
    jsonschema.validate(json.loads(of.as_json()), schema, format_checker=jsonschema.FormatChecker())


def test_a_path_that_is_not_utf_8_costs_nothing() -> None:
    """A configuration file or message with bytes that are no UTF-8 is part of the JSON, escaped."""
    assert b"config-\\udcff.yml" in status({"contoso": reported()}, reload_error="config-\udcff.yml").as_json()


def test_states() -> None:
    """A tenant is failing if its last poll failed, pending before its first success, and ok otherwise."""
    of = status({"ok": reported(), "failing": failed(REFUSED, reported()), "pending": Standing()})
    assert {one.name: one.state for one in of.tenants} == {"ok": "ok", "failing": "failing", "pending": "pending"}
    assert (of.summary.tenants, of.summary.ok, of.summary.failing, of.summary.pending) == (3, 1, 1, 1)
    assert [one.name for one in status({"a": reported(), "b": reported()}, only="b").tenants] == ["b"]
    with pytest.raises(UnknownTenantError):
        status({"a": reported()}, only="b")


def test_numbers_leave_when_the_metrics_do() -> None:
    """From `report.max_age` after the last success on there are no numbers, as on /metrics."""
    before, after = (status({"a": reported()}, now=NOON + 72 * 3600 + late) for late in (-1, 0))
    assert [len(of.tenants[0].reports[USERS].products) for of in (before, after)] == [1, 0]
    assert after.tenants[0].reports[USERS].refresh_date == date(2026, 9, 19)


def test_history_follows_a_product_by_its_label() -> None:
    """A product renamed by `product_names` has one history, and another product's counts never enter it."""
    renamed = tenant()
    renamed = tenant(report=renamed.report.model_copy(update={"product_names": {"OLD": PRODUCT}}))
    days = [
        snapshot(("OLD", (10, 1, 0)), ("OTHER", (5, 5, 0)), day=date(2026, 9, 1)),
        snapshot((PRODUCT, (10, 2, 0)), day=date(2026, 9, 2)),
    ]
    of = status({"contoso": reported()}, tenants=[renamed], storage=Stored(days), only="contoso")
    history = of.tenants[0].reports[USERS].products[0].history
    assert history is not None
    assert [(point.refresh_date.day, point.ratio) for point in history] == [(1, 0.1), (2, 0.2)]


def test_history_comes_from_storage(tmp_path: Path) -> None:
    """Storage gives the newest numbers of each refresh date from a day on, oldest first, of one report alone."""
    storage = Storage.open(tmp_path, clock=lambda: NOON)
    for day, activated, at in ((1, 1, 0), (3, 3, 1), (2, 2, 2), (3, 4, 3)):
        one = snapshot((PRODUCT, (10, activated, 0)), day=date(2026, 9, day), at=NOON + at)
        storage.save(KEY, "contoso", Standing(one, NOON + at), one)
    found = storage.reports(KEY, date(2026, 9, 2))
    assert [(one.refresh_date.day, one.rows[0].counts[1]) for one in found] == [(2, 2), (3, 4)]
    assert storage.reports(KEY.__class__("global", KEY.tenant_id, PLATFORMS), date(2026, 9, 1)) == []
    storage.close()


def test_a_history_that_cannot_be_read_costs_only_itself() -> None:
    """Where storage fails, the status has the tenant's numbers without history."""

    class Failing(Storage):
        def reports(self, *_: object) -> list[object]:  # type: ignore[override]
            raise StorageError("the disk is gone")

    of = status({"contoso": reported()}, storage=Failing(None, lambda: NOON), only="contoso")
    assert of.tenants[0].reports[USERS].products[0].history == ()


def test_consent_where_it_is_the_fix() -> None:
    """The consent URL is given for a missing permission and where the fix names it, but not without an app's id."""

    def consent(failure: Failure, client_id: str = "22222222-2222-2222-2222-222222222222", **more: Any) -> str | None:
        of = status({"contoso": failed(failure)}, tenants=[tenant(client_id=client_id, **more)])
        found = of.tenants[0].reports[USERS].failure
        assert found is not None
        return found.consent_url

    url = consent(Failure(Reason.PERMISSION, "", ""))
    assert url is not None
    assert url.startswith("https://login.microsoftonline.com/11111111-")
    assert consent(REFUSED) is None
    assert consent(Failure(Reason.CREDENTIALS, "", f"open {url}")) == url
    assert consent(Failure(Reason.PERMISSION, "", ""), client_id="") is None
    identity = Auth(managed_identity=ManagedIdentity(client_id="22222222-2222-2222-2222-222222222222"))
    assert consent(Failure(Reason.PERMISSION, "", ""), auth=identity) is None


def test_storage_in_memory_says_why(tmp_path: Path) -> None:
    """Without `storage.path` there is no problem; the history's days are those before now."""
    of = status({"contoso": reported()})
    assert (of.storage.path, of.storage.problem) == (None, None)
    asked: list[date] = []

    class Asked(Storage):
        def reports(self, key: object, since: date) -> list[object]:  # type: ignore[override]
            asked.append(since)
            return []

    status({"contoso": reported()}, storage=Asked(None, lambda: NOON), only="contoso", now=NOON)
    assert asked == [date(2026, 9, 21) - timedelta(days=90)]
