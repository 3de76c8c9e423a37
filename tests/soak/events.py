"""What befalls a run: drawn one by one, each by its weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.full_simulator import SCENARIOS
from tests.soak.faults import names

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from tests.soak.configuration import Account
    from tests.soak.run import Run

_HOUR = 3600.0
_SCENARIOS = tuple(sorted(SCENARIOS))
_POOLS = {json: names(json=json) for json in (False, True)}


class Events:
    """Draws what happens next.

    Args:
        run: what it happens to.
        rng: draws.
        tenants: how many there are: what befalls the whole process does not befall it more often for having many.
    """

    def __init__(self, run: Run, rng: random.Random, tenants: int) -> None:
        self._run = run
        self._rng = rng
        self._state = run.simulator
        of_all = 5 / max(tenants, 5)
        self._events: Mapping[Callable[[], str], float] = {
            self._fault: 50,
            self._scenario: 14,
            self._consent: 6,
            self._tokens: 3,
            self._rotation: 4 * max(of_all, 0.5),
            self._lost_secret: 1,
            self._revision: 5,
            self._reload: 7 * max(of_all, 0.3),
            self._bad_reload: 1 * of_all,
            self._restart: 3 * of_all,
            self._kill: 6 * of_all,
            self._power_cut: 2 * of_all,
            self._jump: 3 * of_all,
            self._disk: 4 * of_all,
            self._damage: 1 * of_all,
            self._outage: 1 * of_all,
        }

    def happen(self) -> str:
        """Let one thing happen; return what."""
        event = self._rng.choices(list(self._events), list(self._events.values()))[0]
        return event()

    def _account(self) -> Account:
        return self._rng.choice(list(self._run.configuration.accounts.values()))

    def _fault(self) -> str:
        account = self._account()
        name = self._rng.choice(_POOLS[account.json])
        times = self._rng.choice((1, 1, 1, 2, 3, 12, None))
        self._state.inject(account.tenant_id, name, times=times)
        if times is None or times > 3:
            self._run.later(self._rng.uniform(0.5, 8) * _HOUR, lambda: self._state.clear(account.tenant_id))
        return f"fault {name} x{times} at {account.name}"

    def _scenario(self) -> str:
        account, name = self._account(), self._rng.choice(_SCENARIOS)
        self._state.set_scenario(account.tenant_id, name)
        hours = self._rng.choice((0.2, 2, 12, 12, 30, 100))
        self._run.later(hours * _HOUR, lambda: self._state.set_scenario(account.tenant_id, "healthy"))
        return f"scenario {name} at {account.name}"

    def _outage(self) -> str:
        for account in self._run.configuration.accounts.values():
            self._state.set_scenario(account.tenant_id, "outage")

        def end() -> None:
            for account in self._run.configuration.accounts.values():
                self._state.set_scenario(account.tenant_id, "healthy")

        self._run.later(self._rng.choice((0.5, 4, 20)) * _HOUR, end)
        return "outage everywhere"

    def _consent(self) -> str:
        account = self._account()
        self._state.revoke_consent(account.tenant_id)
        if self._rng.random() < 0.5:
            self._state.revoke_tokens(account.tenant_id)
        self._run.later(self._rng.uniform(0.01, 10) * _HOUR, lambda: self._state.grant_consent(account.tenant_id))
        return f"consent revoked at {account.name}"

    def _tokens(self) -> str:
        account = self._account()
        self._state.revoke_tokens(account.tenant_id)
        return f"tokens revoked at {account.name}"

    def _rotation(self) -> str:
        account = self._account()
        secret = f"rotated {self._rng.random()}"
        self._state.expire_secret(account.tenant_id)
        self._state.set_secret(account.tenant_id, secret)
        self._state.revoke_tokens(account.tenant_id)

        def write() -> None:
            self._run.configuration.keep_secret(account.tenant_id, secret)

        self._run.later(self._rng.choice((0, 0.5, 5)) * _HOUR, write)
        return f"secret rotated at {account.name}"

    def _lost_secret(self) -> str:
        account = self._account()
        if account.secret_file is None:
            return "nothing: its secret is in no file"
        file = account.secret_file
        secret = file.read_text(encoding="utf-8")
        file.unlink(missing_ok=True)

        def write() -> None:
            if not file.exists():
                file.write_text(secret, encoding="utf-8")

        self._run.later(self._rng.uniform(0.1, 5) * _HOUR, write)
        return f"secret file lost at {account.name}"

    def _revision(self) -> str:
        account = self._account()
        self._state.revise(account.tenant_id)
        return f"numbers corrected at {account.name}"

    def _reload(self) -> str:
        account = self._account()
        self._state.clear(account.tenant_id)  # its faults are those of its format
        what = self._run.configuration.change(account, self._rng)
        if self._rng.random() < 0.5:
            self._run.reload()
        return f"configuration: {what}"

    def _bad_reload(self) -> str:
        self._run.configuration.spoil()
        self._run.reload()
        self._run.later(self._rng.uniform(0.1, 3) * _HOUR, self._run.configuration.write)
        return "a configuration that cannot be used"

    def _restart(self) -> str:
        self._run.end()
        self._run.time.sleep(self._rng.choice((0.0, 5.0, 700.0, 20 * _HOUR)))
        self._run.begin()
        return "restart"

    def _kill(self) -> str:
        how = self._rng.choice(("now", "request", "statement", "statement"))
        if how == "now":
            self._run.crash()
        elif how == "request":
            self._run.network.kill_in(self._rng.randint(1, 12))
        else:
            self._run.process.disk.kill_in(self._rng.randint(1, 40), self._run.wreck)
        return f"kill: {how}"

    def _power_cut(self) -> str:
        self._run.crash(power_cut=True)
        return "power cut"

    def _jump(self) -> str:
        seconds = self._rng.choice((6, 90, 900, 3 * _HOUR, 3 * _HOUR, 40 * _HOUR)) * self._rng.choice((-1, 1))
        # It never strays so far that everything stored looks years old.
        if abs(self._run.time.skew + seconds) > 100 * _HOUR:
            seconds = -self._run.time.skew
        self._run.jump(seconds)
        return f"clock jump by {seconds:.0f} s"

    def _disk(self) -> str:
        disk = self._run.process.disk
        full = self._rng.random() < 0.5
        (disk.fill if full else disk.fail)()
        self._run.later(self._rng.choice((0.2, 2, 30)) * _HOUR, self._heal)
        return "disk full" if full else "disk gone"

    def _heal(self) -> None:
        self._run.process.disk.heal()  # that of the process that runs by then

    def _damage(self) -> str:
        self._run.crash(damage=True)
        return "storage damaged"
