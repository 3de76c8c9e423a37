"""The configuration of a run: what its file says at each time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from exporter.state import Key
from tests.builders import PLATFORMS, USERS

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path

    from tests.full_simulator import Simulator

DAY = 86400.0
RENAMES: tuple[Mapping[str, str], ...] = (
    {},
    {"MICROSOFT 365 APPS FOR ENTERPRISE": "M365 Apps"},
    {"visio plan 2": 'Visio "two"', "Project Plan 3": "Project\\3", "OFFICE FOR MAC": "Büro für Mac"},
)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# A poll costs two milliseconds of real time: few tenants are polled every hour, most some times a day, as is enough
# for a report that changes once a day.
_IN_FILES = 0.3
"""The share of tenants whose secret stands in a file of its own; each is looked at after every step."""

_RHYTHMS: tuple[tuple[int, Mapping[str, object]], ...] = (
    (1, {"interval": "1h"}),
    (3, {"interval": "4h", "jitter": "10m"}),
    (5, {"interval": "6h"}),
    (9, {"interval": "12h", "jitter": "0s"}),
    (9, {"interval": "1d", "jitter": "1h"}),
    (4, {"schedule": "15 */6 * * *", "timezone": "Europe/Berlin"}),
)


@dataclass(frozen=True, slots=True)
class Account:
    """One tenant as the configuration file has it."""

    name: str
    tenant_id: str
    client_id: str
    secret: str
    secret_file: Path | None
    poll: Mapping[str, object]
    reports: tuple[str, ...]
    max_age: float
    json: bool
    renames: Mapping[str, str]
    ratio: float | None
    min_assigned: int
    enabled: bool = True

    def report_keys(self) -> tuple[Key, ...]:
        """Return what its reports are stored under."""
        return tuple(Key("global", self.tenant_id, report) for report in self.reports)

    def document(self) -> dict[str, Any]:
        """Return its entry in the configuration file."""
        report = {"max_age": f"{self.max_age:.0f}s", "product_names": dict(self.renames)}
        if self.json:
            report |= {"format": "json", "api_version": "beta"}
        return {
            "name": self.name,
            "tenant_id": self.tenant_id,
            "client_id": self.client_id,
            "auth": {"client_secret_file": str(self.secret_file)}
            if self.secret_file
            else {"client_secret": self.secret},
            "poll": dict(self.poll),
            "report": report,
            "reports": list(self.reports),
            "targets": {"ratio": self.ratio, "min_assigned": self.min_assigned},
            "enabled": self.enabled,
        }


class Configuration:
    """The configuration file, and the secrets next to it.

    Args:
        folder: where they stand.
        simulator: whose tenants are polled.
        rng: draws their settings.
        retention: how long reports are stored, seconds.

    Attributes:
        accounts: the tenants by tenant id, as last written.
        file: the configuration file.
        storage: the folder of `storage.path`.
    """

    def __init__(self, folder: Path, simulator: Simulator, rng: random.Random, retention: float) -> None:
        self.file = folder / "exporter.yaml"
        self.storage = folder / "storage"
        self.retention = retention
        self._renamed = 0
        self.accounts: dict[str, Account] = {}
        for known in simulator.tenants:
            secret_file = folder / f"{known.name}.secret" if rng.random() < _IN_FILES else None
            if secret_file is not None:
                secret_file.write_text(known.secret, encoding="utf-8")
            weights = [weight for weight, _ in _RHYTHMS]
            rhythm = rng.choices(_RHYTHMS, weights)[0][1]
            self.accounts[known.tenant_id] = Account(
                name=known.name,
                tenant_id=known.tenant_id,
                client_id=known.client_id,
                secret=known.secret,
                secret_file=secret_file,
                poll={**rhythm, "timeout": rng.choice(("10s", "30s", "60s"))},
                reports=rng.choice(((USERS,), (USERS,), (PLATFORMS,), (USERS, PLATFORMS))),
                max_age=rng.choice((0.75, 1.0, 3.0)) * DAY,
                json=rng.random() < 0.2,
                renames=rng.choice(RENAMES),
                ratio=rng.choice((0.5, 0.5, 0.8, None)),
                min_assigned=rng.choice((0, 25, 500)),
            )
        self.write()

    def write(self) -> None:
        """Write the configuration file."""
        document = {
            "storage": {"path": str(self.storage), "retention": f"{self.retention / DAY:.0f}d"},
            "tenants": [account.document() for account in self.accounts.values()],
        }
        self.file.write_text(yaml.dump(document, Dumper=_DUMPER, sort_keys=False), encoding="utf-8")

    def keep_secret(self, tenant_id: str, secret: str) -> None:
        """Write a tenant's new secret where its old one stands."""
        account = self.accounts[tenant_id]
        if account.secret_file is not None:
            account.secret_file.write_text(secret, encoding="utf-8")
        else:
            self.accounts[tenant_id] = replace(account, secret=secret)
            self.write()

    def spoil(self) -> None:
        """Write a configuration that cannot be used."""
        self.file.write_text("tenants: [{name: nobody}]\nno_such_key: 1\n", encoding="utf-8")

    def change(self, account: Account, rng: random.Random) -> str:
        """Change one setting of a tenant and write the file; say what."""
        what = rng.choice(("name", "renames", "enabled", "poll", "json", "max_age", "reports", "ratio"))
        value: Any
        match what:
            case "name":
                self._renamed += 1
                value = f"{account.name.partition(' ')[0]} {self._renamed}"
            case "renames":
                value = rng.choice(RENAMES)
            case "enabled":
                value = not account.enabled or not any(
                    other.enabled for other in self.accounts.values() if other is not account
                )
            case "poll":
                value = {**account.poll, "timeout": rng.choice(("10s", "30s", "60s"))}
            case "json":
                value = not account.json
            case "max_age":
                value = rng.choice((0.75, 1.0, 3.0)) * DAY
            case "reports":
                value = rng.choice(((USERS,), (PLATFORMS,), (USERS, PLATFORMS)))
            case _:
                value = rng.choice((0.5, 0.8, None))
        self.accounts[account.tenant_id] = replace(account, **{what: value})
        self.write()
        return f"{what} of {account.name}"
