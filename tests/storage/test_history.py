"""The CSV that bills are written from."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cli.history import write_csv
from exporter.errors import ConfigError
from exporter.state import Key, Row, Snapshot
from exporter.storage import Storage, StorageError
from exporter.storage.history import History, Series
from tests.builders import tenant
from tests.storage.samples import CONTOSO, DAY, FABRIKAM, START, Clock, day, good, report, standing

if TYPE_CHECKING:
    from collections.abc import Sequence

USERS = "activations_user_counts"
PLATFORMS = "activations_platform_counts"
FIRST = "2026-03-01T06:00:00Z,request-1772344800"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def save(storage: Storage, key: Key, name: str, *snapshots: Snapshot) -> None:
    """Save the polls that read `snapshots`."""
    outcomes = [good(snapshot) for snapshot in snapshots]
    for number, snapshot in enumerate(snapshots, start=1):
        storage.save(key, name, standing(*outcomes[:number]), snapshot)


def csv_text(history: History, chosen: list[Series], since: float = 0.0, until: float = math.inf) -> str:
    """Return the CSV of the chosen tenants' reports."""
    out = io.StringIO(newline="")
    write_csv(out, history, chosen, since, until)
    return out.getvalue()


def records(text: str) -> list[dict[str, str]]:
    """Return the records of a CSV, as a reader takes them."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def two_tenants(storage: Storage) -> Storage:
    """Two tenants, one of them with two reports and a revision."""
    save(
        storage,
        CONTOSO,
        "contoso",
        report(0, START, OFFICE=(10, 5, 1), VISIO=(3, 2, 0)),
        report(0, START + 60, OFFICE=(11, 5, 1), VISIO=(3, 2, 0)),
        report(1, START + DAY),
    )
    save(storage, Key(CONTOSO.cloud, CONTOSO.tenant_id, PLATFORMS), "contoso", report(0, START, OFFICE=(7, 8)))
    save(storage, FABRIKAM, "fabrikam", report(0, START, **{'=SUM(A1), "x"\r\n': (1, 2, 3)}))
    storage.record_call(Key("china", "3", USERS), START)
    return storage


def test_every_stored_report_is_a_record(two_tenants: Storage, folder: Path) -> None:
    """The CSV has each product type of each date once, with its last numbers, while the storage is in use."""
    with History(folder) as history:
        text = csv_text(history, history.series())
    assert text == (
        "cloud,tenant_id,tenant,report,refresh_date,product_type,assigned_users,activated_users,"
        "shared_computer_users,platform_activations_windows,platform_activations_mac,platform_activations_android,"
        "platform_activations_ios,platform_activations_windows_10_mobile,collected_at,request_id\r\n"
        f"global,{CONTOSO.tenant_id},contoso,{PLATFORMS},2026-02-27,OFFICE,,,,7,8,,,,{FIRST}\r\n"
        f"global,{CONTOSO.tenant_id},contoso,{USERS},2026-02-27,OFFICE,11,5,1,,,,,,2026-03-01T06:01:00Z,request-1772344860\r\n"
        f"global,{CONTOSO.tenant_id},contoso,{USERS},2026-02-27,VISIO,3,2,0,,,,,,2026-03-01T06:01:00Z,request-1772344860\r\n"
        f"global,{CONTOSO.tenant_id},contoso,{USERS},2026-02-28,OFFICE,101,51,1,,,,,,2026-03-02T06:00:00Z,request-1772431200\r\n"
        f'usgov,{FABRIKAM.tenant_id},fabrikam,{USERS},2026-02-27,"=SUM(A1), ""x""\r\n",1,2,3,,,,,,{FIRST}\r\n'
    )


def test_dates_and_tenants_choose_records(two_tenants: Storage, folder: Path) -> None:
    """--since takes the day it names, --until does not, and --tenant takes a name or an id."""
    second = START + DAY - 6 * 3600 - 2 * DAY  # midnight of the second report's date

    def chosen(tenants: Sequence[str] = (), since: float = 0.0, until: float = math.inf) -> list[tuple[str, str]]:
        with History(folder) as history:
            found = records(csv_text(history, history.series(tenants=tenants), since, until))
        return [(record["tenant"], record["refresh_date"]) for record in found]

    assert chosen(since=second) == [("contoso", "2026-02-28")]
    assert chosen(until=second, tenants=["contoso"]) == [("contoso", "2026-02-27")] * 3
    assert chosen(tenants=[FABRIKAM.tenant_id]) == [("fabrikam", "2026-02-27")]


def test_a_renamed_tenant_keeps_its_history(two_tenants: Storage, folder: Path) -> None:
    """The name in the configuration counts, also for reports that were stored under another one."""
    with History(folder) as history:
        configured = [tenant("woodgrove", tenant_id=CONTOSO.tenant_id)]
        found = records(csv_text(history, history.series(configured, ["woodgrove"])))
    assert [record["tenant"] for record in found] == ["woodgrove"] * 4


def test_an_unknown_tenant_is_named_with_the_known_ones(two_tenants: Storage, folder: Path) -> None:
    """A tenant of which nothing is stored is a usage error, not an empty bill."""
    with History(folder) as history, pytest.raises(ConfigError) as caught:
        history.series(tenants=["contoso", "contosso"])
    assert caught.value.errors == ("--tenant contosso: nothing is stored for it (stored: 3, contoso, fabrikam)",)


def test_a_missing_storage_is_named(tmp_path: Path) -> None:
    """History of a folder without a storage is an error and creates nothing."""
    with pytest.raises(StorageError, match=r"office365-activations.db: does not exist"):
        History(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_storage_is_a_storage_error(tmp_path: Path) -> None:
    """History of a damaged file says so, and leaves it where it is."""
    (tmp_path / "office365-activations.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        History(tmp_path)


@given(st.dictionaries(TEXT, st.integers(0, 2**63 - 1), min_size=1), TEXT, TEXT)
@settings(max_examples=50)
def test_any_name_survives_the_csv(products: dict[str, int], name: str, request_id: str) -> None:
    """Whatever the names hold, a CSV reader gets them back as Microsoft gave them."""
    rows = tuple(Row(name, (count,)) for name, count in sorted(products.items()))
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.open(Path(folder), clock=Clock())
        save(storage, CONTOSO, name, Snapshot(day(0), rows, START, request_id))
        with History(Path(folder)) as history:
            found = records(csv_text(history, history.series()))
        storage.close()
    assert {record["product_type"]: int(record["assigned_users"]) for record in found} == products
    assert {(record["tenant"], record["request_id"]) for record in found} == {(name, request_id)}
