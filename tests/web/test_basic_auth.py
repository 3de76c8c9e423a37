"""Passwords."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
import time
from typing import TYPE_CHECKING

import bcrypt
import httpx
import pytest

from exporter.web import basic_auth
from exporter.web.basic_auth import Passwords
from exporter.web.limits import client_key
from exporter.web.worker import BusyError
from tests.web.serving import running, until

if TYPE_CHECKING:
    from tests.web.conftest import Certificates

COST = 4


def hashed(password: str, prefix: bytes = b"2b", cost: int = COST) -> str:
    """Return a bcrypt hash."""
    made = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost, b"2b"))
    return made.replace(b"$2b$", b"$" + prefix + b"$").decode()


def header(user: str, password: str) -> str:
    """Return an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """What bcrypt is asked to compute."""
    asked: list[tuple[bytes, bytes]] = []
    real = bcrypt.checkpw

    def record(password: bytes, against: bytes) -> bool:
        asked.append((password, against))
        return real(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", record)
    return asked


def remembered(passwords: Passwords, authorization: str) -> bool | None:
    """Return what is remembered of a header; None if nothing is."""
    attempt = passwords._attempt(authorization)
    assert attempt is not None
    digest, _ = attempt
    return True if digest in passwords._right else False if digest in passwords._wrong else None


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_users_get_in(certificates: Certificates, prefix: bytes) -> None:
    """The right password opens everything, a wrong one or none opens nothing but the probes."""
    path = certificates.write(f"basic_auth_users:\n  alice: {hashed('näh:secret', prefix)}\n")
    with running(config_file=path, enable_lifecycle=True) as server, httpx.Client(base_url=server.url) as client:
        for where in ("/metrics", "/", "/api/v1/status", "/nowhere", "/-/reload"):
            for auth in (None, ("alice", "wrong"), ("bob", "näh:secret"), ("alice", ""), ("", "")):
                answer = client.get(where, auth=auth)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Basic realm=")
            good = httpx.BasicAuth("alice", "näh:secret")
            assert client.get(where, auth=good).status_code == {"/nowhere": 404, "/-/reload": 405}.get(where, 200)
        assert client.post("/-/reload", auth=("alice", "näh:secret")).status_code == 200
        for where in ("/-/healthy", "/-/ready"):
            assert client.get(where).status_code == 200


@pytest.mark.parametrize(
    "crooked",
    ["", "Basic", "Basic !", "Basic YQ", "Basic YQ==", "Bearer x", "Digest username=alice", "Basic \xff", "Basic :"],
)
def test_crooked_headers(certificates: Certificates, crooked: str, computed: list[tuple[bytes, bytes]]) -> None:
    """A header that is no basic authentication is refused, and costs nothing."""
    path = certificates.write(f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    with running(config_file=path) as server:
        headers = [(b"Authorization", crooked.encode("latin-1"))]
        assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 401
    assert computed == []


def test_the_scheme_may_be_in_any_case(certificates: Certificates) -> None:
    """`basic` is `Basic`."""
    path = certificates.write(f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    with running(config_file=path) as server:
        lower = header("alice", "secret").replace("Basic", "basic")
        assert httpx.get(f"{server.url}/metrics", headers={"Authorization": lower}).status_code == 200


def test_long_passwords_and_zeros(certificates: Certificates) -> None:
    """As in Go, 72 bytes of a password count, zeros among them."""
    long, zero = "x" * 72, "a\0b"
    path = certificates.write(f"basic_auth_users: {{long: '{hashed(long)}', zero: '{hashed(zero)}'}}\n")
    with running(config_file=path) as server, httpx.Client(base_url=server.url) as client:
        for user, password, code in (
            ("long", long, 200),
            ("long", long + "more", 200),
            ("long", long[:-1], 401),
            ("zero", zero, 200),
            ("zero", "a", 401),
        ):
            assert client.get("/metrics", auth=(user, password)).status_code == code


def test_each_pair_is_computed_once(certificates: Certificates, computed: list[tuple[bytes, bytes]]) -> None:
    """Right and wrong pairs are remembered, until the web configuration changes."""
    path = certificates.write(f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    with running(config_file=path) as server, httpx.Client(base_url=server.url) as client:
        for _ in range(5):
            assert client.get("/metrics", auth=("alice", "secret")).status_code == 200
            assert client.get("/metrics", auth=("alice", "wrong")).status_code == 401
            assert client.get("/metrics", auth=("bob", "secret")).status_code == 401
        assert len(computed) == 3
        certificates.write(f"basic_auth_users: {{alice: '{hashed('other')}'}}\n")
        until(lambda: client.get("/metrics", auth=("alice", "secret")).status_code == 401)
        assert client.get("/metrics", auth=("alice", "other")).status_code == 200


def test_unknown_users_cost_what_known_ones_cost(computed: list[tuple[bytes, bytes]]) -> None:
    """An unknown user's password is checked against the most expensive hash, and is never right."""
    users = {b"cheap": hashed("a", cost=4).encode(), b"expensive": hashed("a", cost=5).encode()}

    async def main() -> None:
        passwords = Passwords(users)
        for number in range(20):
            assert not await passwords.check(header(f"user{number}", "a"), "192.0.2.1")

    asyncio.run(main())
    assert {against for _, against in computed} == {users[b"expensive"]}


def test_a_removed_user_is_out_though_another_has_the_same_hash() -> None:
    """What is remembered as right is forgotten with the configuration, and never holds for an unknown user."""
    same = hashed("secret").encode()

    async def main() -> None:
        passwords = Passwords({b"alice": same, b"bob": same})
        alice = header("alice", "secret")
        assert await passwords.check(alice, "192.0.2.1")
        assert remembered(passwords, alice) is True
        # What is under way at a change is not remembered either.
        under_way = asyncio.ensure_future(passwords.check(header("bob", "secret"), "192.0.2.1"))
        await asyncio.sleep(0)
        passwords.use({b"bob": same})
        assert await under_way
        assert remembered(passwords, header("bob", "secret")) is None
        assert remembered(passwords, alice) is None
        assert not await passwords.check(alice, "192.0.2.1")
        assert remembered(passwords, alice) is False

    asyncio.run(main())


def test_equal_checks_share_the_work(computed: list[tuple[bytes, bytes]]) -> None:
    """Requests that arrive together with one pair have it computed once, though some of them give up."""
    users = {b"alice": hashed("secret").encode()}

    async def main() -> None:
        passwords = Passwords(users)
        waits = [
            asyncio.ensure_future(passwords.check(header("alice", "secret"), f"192.0.2.{number}"))
            for number in range(50)
        ]
        await asyncio.sleep(0)
        waits[0].cancel()
        assert all(await asyncio.gather(*waits[1:]))
        assert remembered(passwords, header("alice", "secret")) is True

    asyncio.run(main())
    assert len(computed) == 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, wrong passwords are being computed and come to no end; the right one does."""
    gate = threading.Event()
    real = bcrypt.checkpw

    def slow(password: bytes, against: bytes) -> bool:
        assert password == b"secret" or gate.wait(20)
        return real(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    return gate


def test_a_flood_is_bounded(gate: threading.Event) -> None:
    """Four checks of one address and twenty in all may wait; the next are refused, and places come back."""

    async def main() -> None:
        passwords = Passwords({b"alice": hashed("secret").encode()})

        def ask(password: str, address: str) -> asyncio.Future[bool]:
            return asyncio.ensure_future(passwords.check(header("alice", password), address))

        one = [ask(f"{number}", "192.0.2.1") for number in range(9)]
        others = [ask(f"x{number}", f"192.0.2.{100 + number}") for number in range(20)]
        await asyncio.sleep(0.05)
        assert [wait.done() for wait in one] == [False] * 4 + [True] * 5
        assert [wait.done() for wait in others] == [False] * 16 + [True] * 4
        gate.set()
        results = await asyncio.gather(*one, *others, return_exceptions=True)
        assert sum(isinstance(result, BusyError) for result in results) == 9
        assert await passwords.check(header("alice", "secret"), "192.0.2.1")
        passwords.end()
        with pytest.raises(BusyError):
            await passwords.check(header("alice", "late"), "192.0.2.1")

    asyncio.run(main())


def test_guesses_from_many_addresses_lock_nobody_out(gate: threading.Event) -> None:
    """While guesses from forty addresses fill every place they can, a new client with its password gets in at once."""

    async def main() -> None:
        passwords = Passwords({b"alice": hashed("secret").encode()})

        async def guess(number: int) -> None:
            with contextlib.suppress(BusyError):
                await passwords.check(header("alice", f"{number}"), f"198.51.100.{number % 40}")

        gate.set()
        # Each address has guessed something wrong: until then nobody can tell it from a new client.
        for number in range(40):
            await guess(number)
        gate.clear()
        flood = [asyncio.ensure_future(guess(100 + number)) for number in range(200)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(passwords.check(header("alice", "secret"), "192.0.2.7"), 10)
        assert sum(not guess.done() for guess in flood) == 16
        gate.set()
        await asyncio.gather(*flood)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_what_an_address_is_counted_under(address: str, client: str) -> None:
    """An IPv4 address counts for itself, an IPv6 address for its /64."""
    assert client_key(address) == client


def test_a_flood_at_a_high_cost_starves_nobody(certificates: Certificates) -> None:
    """While guesses at cost 15 pour in, a known scraper, the probes and the stop are served at once."""
    dear, cheap = hashed("dear", cost=4).replace("$04$", "$15$"), hashed("secret")
    path = certificates.write(f"basic_auth_users: {{dear: '{dear}', alice: '{cheap}'}}\n")
    before = set(threading.enumerate())
    done = threading.Event()
    codes: list[int] = []

    def flood() -> None:
        with httpx.Client(timeout=60) as client:
            while not done.is_set():
                try:
                    codes.append(client.get(f"{server.url}/metrics", auth=("dear", f"{time.time()}")).status_code)
                except httpx.TransportError:
                    return

    with running(config_file=path, stop=0.2) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/metrics", auth=("alice", "secret")).status_code == 200
        threads = [threading.Thread(target=flood) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: 429 in codes)
        for _ in range(20):
            assert client.get("/metrics", auth=("alice", "secret")).status_code == 200
            assert client.get("/-/healthy").status_code == 200
        done.set()
        server.end()
    for thread in threads:
        thread.join(20)
    assert 200 not in codes
    # The interpreter must not end under a thread that computes.
    until(
        lambda: not any(thread.name.startswith("web-passwords") for thread in set(threading.enumerate()) - before), 30
    )


def test_what_is_remembered_is_bounded() -> None:
    """The memory forgets what was used longest ago."""
    memory = basic_auth._Memory(2)
    memory.add(b"a")
    memory.add(b"b")
    assert b"a" in memory
    memory.add(b"c")
    assert (b"a" in memory, b"b" in memory, b"c" in memory) == (True, False, True)
