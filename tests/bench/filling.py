"""Exporters with many tenants: to be polled, or filled from storage where it is not polls that are measured."""

from __future__ import annotations

import json
import random
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from exporter.config import load
from exporter.simulator.reports import PRODUCTS
from exporter.simulator.tenants import make_tenants
from exporter.state import Outcome, Row, Snapshot, Standing
from exporter.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PRODUCTS = sorted(name.upper() for name, _ in PRODUCTS)[:6]
_NOWHERE = '{"authority": "https://localhost:1", "graph": "https://localhost:1", "download_host": "localhost:1"}'


def configure(
    folder: Path,
    count: int,
    addresses: str = _NOWHERE,
    *,
    live: int = 0,
    every: str = "1m",
    own_secrets: bool = False,
    **more: Any,
) -> Path:
    """Write the configuration of an exporter with `count` tenants; return its path.

    Args:
        folder: where to; holds the simulation's ca.pem.
        count: how many tenants.
        addresses: what `Microsoft` printed; left out: nobody is there to be polled.
        live: the first so many are polled often, the others once a day.
        every: how often.
        own_secrets: give each tenant its credential, in place of one for all.
        more: further keys of the file.
    """
    known = make_tenants(0, count, shared_app=True)
    where = json.loads(addresses)
    auth = {"client_secret": known[0].secret}
    document: dict[str, Any] = {
        "cloud": {"authority": where["authority"], "graph": where["graph"]},
        "http": {"download_hosts": [where["download_host"]]},
        "client_id": known[0].client_id,
        "poll": {"interval": "1d"},
        "auth": auth,
        **more,
        "tenants": [
            {
                "name": tenant.name,
                "tenant_id": tenant.tenant_id,
                **({"auth": dict(auth)} if own_secrets else {}),
                **({"poll": {"interval": every, "jitter": "0s"}} if number < live else {}),
            }
            for number, tenant in enumerate(known)
        ],
    }
    if (folder / "ca.pem").exists():
        document["http"]["ca_file"] = str(folder / "ca.pem")
    path = folder / "exporter.yaml"
    path.write_text(yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)), encoding="utf-8")
    path.chmod(0o600)
    return path


def fill(configuration: Path, *, live: int = 0) -> None:
    """Store a good report of six product types for each tenant but the first `live`, as if polled a moment ago."""
    config = load({"config.file": str(configuration)}, {})
    if config.root.storage.path is None:
        raise AssertionError("the configuration has no storage")
    now = time.time()
    rng = random.Random(0)
    with closing(Storage.open(config.root.storage.path, clock=lambda: now)) as storage:
        for tenant in config.tenants[live:]:
            snapshot = _report(rng, now)
            standing = Standing().after(Outcome(now, 0.25, snapshot, rejected_rows=0))
            storage.save(tenant.keys[0], tenant.name, standing, snapshot)


def _report(rng: random.Random, now: float) -> Snapshot:
    rows = []
    for name in _PRODUCTS:
        assigned = rng.randrange(5, 5000)
        rows.append(Row(name, (assigned, rng.randrange(assigned), rng.randrange(assigned // 5 + 1))))
    return Snapshot(datetime.fromtimestamp(now, UTC).date(), tuple(rows), now, "")


def stored(folder: Path) -> Mapping[str, Any]:
    """Return the key of a configuration that has storage in the folder."""
    return {"storage": {"path": str(folder / "storage")}}
