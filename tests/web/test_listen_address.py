"""Listen addresses."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpx
import pytest
from structlog.testing import capture_logs

from exporter.config.types import split_host
from exporter.errors import ConfigError
from exporter.web.server import bind, is_loopback
from tests.web.serving import running

if TYPE_CHECKING:
    from pathlib import Path

HAS_IPV6 = socket.has_dualstack_ipv6()


@pytest.mark.parametrize(
    ("written", "address", "loopback"),
    [
        (":9365", ("", "9365"), False),
        ("0.0.0.0:9365", ("0.0.0.0", "9365"), False),  # noqa: S104 - parsed, not bound
        ("localhost:1", ("localhost", "1"), True),
        ("LOCALHOST:1", ("LOCALHOST", "1"), True),
        ("127.0.0.2:65535", ("127.0.0.2", "65535"), True),
        ("monitoring.example:80", ("monitoring.example", "80"), False),
        ("[::]:9365", ("::", "9365"), False),
        ("[::1]:9365", ("::1", "9365"), True),
        ("[fe80::1%eth0]:9365", ("fe80::1%eth0", "9365"), False),
        ("unix:/run/o365.sock", None, True),
    ],
)
def test_addresses(written: str, address: tuple[str, str] | None, loopback: bool) -> None:  # noqa: FBT001 - a table's column
    """Every form of the flag means its address, and is known as loopback or not."""
    assert split_host(written) == address
    assert is_loopback(written) is loopback


def test_several_addresses(tmp_path: Path) -> None:
    """All addresses are served, on IPv4, IPv6 and a Unix socket whose file goes when the server ends."""
    path = tmp_path / "o365.sock"
    written = ("127.0.0.1:0", "localhost:0", f"unix:{path}", *(("[::1]:0", ":0") if HAS_IPV6 else (":0",)))
    with running(listen_address=written) as server:
        for address in server.addresses:
            if address.startswith("unix:"):
                transport = httpx.HTTPTransport(uds=str(path))
                with httpx.Client(transport=transport) as client:
                    assert client.get("http://any/-/healthy").status_code == 200
            else:
                reachable = address.replace("[::]", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - not bound
                assert httpx.get(f"http://{reachable}/-/healthy").status_code == 200
                if address.startswith("[::]"):
                    assert httpx.get(f"http://{address.replace('::', '::1')}/-/healthy").status_code == 200
        assert len(server.addresses) == len(written)
    assert not path.exists()


def test_an_address_in_use_is_named() -> None:
    """An address that another process listens at is an error that names it."""
    with running() as server:
        taken = f"127.0.0.1:{server.port}"
        with pytest.raises(ConfigError) as caught, running(listen_address=(taken,)):
            pass
    assert f"--web.listen-address: cannot listen at {taken}: Address already in use" in caught.value.errors[0]


@pytest.mark.parametrize(
    ("written", "fix"),
    [
        ("nowhere.invalid:1", "choose an address of this machine"),
        ("192.0.2.1:0", "choose an address of this machine"),
        ("unix:/nowhere/x.sock", "choose one in a folder that exists"),
    ],
)
def test_an_address_that_is_not_there_is_named(written: str, fix: str) -> None:
    """An address that this machine does not have is an error that names it, with the fix for its kind."""
    with pytest.raises(ConfigError, match=rf"cannot listen at {written}: .*; {fix}"):
        bind(written)


def test_unix_sockets_left_behind(tmp_path: Path) -> None:
    """The socket of a dead process is replaced; a living one's, or another kind of file, is left alone."""
    path = tmp_path / "o365.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running(listen_address=(f"unix:{path}",)) as server:
        assert server.addresses == (f"unix:{path}",)
        with pytest.raises(ConfigError, match="Address already in use"):
            bind(f"unix:{path}")
        assert path.exists()
    path.write_text("a file")
    with pytest.raises(ConfigError, match="Address already in use"):
        bind(f"unix:{path}")
    assert path.read_text() == "a file"


@pytest.mark.parametrize(("address", "lines"), [("0.0.0.0:0", 1), ("localhost:0", 0)])
def test_an_open_endpoint_is_said_once(address: str, lines: int) -> None:
    """One line of the log says that an endpoint without web configuration is open, unless it is on loopback."""
    with capture_logs() as logs, running(listen_address=("127.0.0.1:0", address)):
        pass
    said = [one for one in logs if "open to everyone" in one["event"]]
    assert [one["address"] for one in said] == [address] * lines


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("127.0.0.1:80", "ports below 1024 need CAP_NET_BIND_SERVICE"),
        ("unix:/run/x.sock", "check the permissions of its folder"),
    ],
)
def test_without_permission(monkeypatch: pytest.MonkeyPatch, address: str, fix: str) -> None:
    """Where the system forbids an address, the fix is the one for that kind of address."""

    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.create_server", forbid)
    monkeypatch.setattr("exporter.web.server._bind_unix", forbid)
    with pytest.raises(ConfigError, match=f"cannot listen at {address}: Permission denied; {fix}"):
        bind(address)
