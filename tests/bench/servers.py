"""The processes that are measured, each started and ended here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.bench.clients import Client
from tests.bench.installation import ROOT
from tests.bench.measuring import processor, resident, wait
from tests.process import ALL_POLLED
from tests.tools import free_address, require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from tests.bench.installation import Installation

_LONGEST_WAIT = 900.0


class Server:
    """A process that answers at `address` while the `with` block runs.

    Args:
        words: its command line.
        address: `host:port`.
        log: where its stderr goes.
        environment: its variables.
        path: what is asked until it answers with 200, which is its start; it has `/metrics`, too.
        secure: whether it speaks TLS.
        user: `name:password`, where it lets nobody else in.
    """

    def __init__(
        self,
        words: Sequence[str | Path],
        address: str,
        log: Path,
        environment: Mapping[str, str],
        path: str = "/metrics",
        *,
        secure: bool = False,
        user: str = "",
    ) -> None:
        self.address = address
        self._secure = secure
        self.user = user
        self._words = [str(word) for word in words]
        self._log = log
        self._environment = environment
        self._path = path

    def __enter__(self) -> Self:
        with self._log.open("w", encoding="utf-8") as log:
            started = time.perf_counter()
            self.process = subprocess.Popen(
                self._words, stdout=subprocess.DEVNULL, stderr=log, env=self._environment, cwd=self._log.parent
            )
        try:
            self._await_answer(self._path)
            self.started_in = time.perf_counter() - started
            if self._path != "/metrics":
                self._await_answer("/metrics")  # which is 503 until the first rendering
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        """What a scrape asks for."""
        return f"{'https' if self._secure else 'http'}://{self.address}/metrics"

    @property
    def resident(self) -> float:
        """Its resident memory, MiB."""
        return resident(self.process.pid)

    @property
    def processor(self) -> float:
        """The processor time it has taken, seconds."""
        return processor(self.process.pid)

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log.read_text(encoding="utf-8")

    def client(self, user: str = "") -> Client:
        """Connect, as another user or the one that is let in."""
        return Client(self.address, secure=self._secure, user=user or self.user)

    def _await_answer(self, path: str) -> None:
        end = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self._words[:4]} ended with {self.process.returncode}: {self.log[-2000:]}")
            try:
                with self.client() as client:
                    client.get(path)
            except OSError:
                time.sleep(0.002)
            else:
                return
        raise TimeoutError(f"{self._words[:4]} does not answer: {self.log[-2000:]}")


class Exporter(Server):
    """The exporter itself.

    Args:
        installation: by which it runs.
        configuration: its file.
        flags: further ones.
        secure: whether they make it speak TLS.
        user: `name:password`, where they let nobody else in.
    """

    def __init__(
        self, installation: Installation, configuration: Path, *flags: str, secure: bool = False, user: str = ""
    ) -> None:
        address = free_address()
        words: list[str | Path] = [installation.python, "-m", "exporter", "serve", f"--config.file={configuration}"]
        words += [f"--web.listen-address={address}", *flags]
        log = configuration.with_suffix(".log")
        super().__init__(words, address, log, installation.environment, "/-/healthy", secure=secure, user=user)

    def await_polls(self, pause: float = 0.2) -> str:
        """Return the first scrape in which no tenant is pending; between two looks are `pause` seconds."""
        text = ""
        with self.client() as client:

            def polled() -> bool:
                nonlocal text
                text = client.text()
                return re.search(ALL_POLLED, text, re.MULTILINE) is not None

            wait(polled, _LONGEST_WAIT, pause)
        return text


class Stock(Server):
    """prometheus-client's own server, bare or with a gauge for each sample of a scrape.

    Args:
        installation: by which it runs.
        folder: for its files.
        text: the scrape.
    """

    def __init__(self, installation: Installation, folder: Path, text: str | None = None) -> None:
        address = free_address()
        words: list[str | Path] = [
            installation.python,
            Path(__file__).with_name("peers.py"),
            address.rpartition(":")[2],
        ]
        if text is not None:
            samples = folder / "samples.tsv"
            with samples.open("w", encoding="utf-8") as file:
                file.writelines(_fields(text))
            words.append(samples)
        super().__init__(words, address, folder / "stock.log", installation.environment)


def _fields(text: str) -> list[str]:
    """Return the samples of a text, each as name, value, labels and their values; without those that Python adds."""
    made = []
    for line in text.splitlines():
        found = re.match(r"(?!process_|python_)(\w+)(?:\{(.*)\})? (\S+)$", line)
        if found is not None:
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or "")
            fields = [found[1], found[3], *(part for label in labels for part in label)]
            made.append("\t".join(fields) + "\n")
    return made


class Nginx(Server):
    """nginx, one worker, with a scrape as a static file, compressed beforehand.

    Args:
        folder: for its files.
        text: the scrape.
        certificate: a PEM file with key and certificate: it speaks TLS.
    """

    def __init__(self, folder: Path, text: str, certificate: Path | None = None) -> None:
        root = folder / "nginx"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        (root / "metrics").write_text(text, encoding="utf-8")
        packer = zlib.compressobj(wbits=31)
        (root / "metrics.gz").write_bytes(packer.compress(text.encode()) + packer.flush())
        address = free_address()
        tls = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
        (root / "nginx.conf").write_text(
            f"""{"user root;" if os.geteuid() == 0 else ""}
            daemon off; worker_processes 1; pid {root}/pid; error_log stderr;
            events {{ worker_connections 1024; }}
            http {{
              access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=10;
              client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root}; uwsgi_temp_path {root};
              scgi_temp_path {root};
              server {{
                listen {address} {tls};
                location = /metrics {{ root {root}; default_type text/plain; gzip_static on; }}
              }}
            }}""",
            encoding="utf-8",
        )
        words: list[str | Path] = [require("nginx"), "-p", root, "-c", root / "nginx.conf"]
        super().__init__(words, address, folder / "nginx.log", os.environ, secure=certificate is not None)


class Microsoft:
    """The simulated Microsoft.

    Args:
        folder: for its CA; FOLDER/app.pem is the certificate that its app knows.
        tenants: how many.
        latency: seconds that each answer takes.
    """

    def __init__(self, folder: Path, tenants: int, latency: float = 0.0) -> None:
        self.folder = folder
        self._words = [sys.executable, "-m", "tests.bench.simulation", str(tenants), str(latency), str(folder)]

    def __enter__(self) -> Self:
        with (self.folder / "simulation.log").open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self._words, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
        if self.process.stdout is None:
            raise AssertionError
        self.addresses = self.process.stdout.readline()
        if not self.addresses:
            raise RuntimeError((self.folder / "simulation.log").read_text(encoding="utf-8")[-2000:])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
