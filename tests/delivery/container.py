"""A container of an unpacked image, started as an orchestrator would, without a container engine; needs root.

Process 1 in its own mounts and processes, no writable place but its volume, a user without any capability.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parent.parent.parent
STORAGE = "/var/lib/office365-activations-exporter"
FILES = "/mnt"
"""Where a container sees the files that it is given."""


class Container:
    """A container, while the `with` block runs.

    Args:
        root: the unpacked image.
        config: its configuration.
        variables: more than the image sets.
        folder: for what it needs on this side: its volume, its log, and `files`, which it sees in `FILES`.
        network: whether it has a network of its own, a loopback, in place of the host's.
        temporary: whether it has a /tmp that can be written.
    """

    def __init__(
        self,
        root: Path,
        config: dict[str, Any],
        variables: dict[str, str],
        folder: Path,
        *,
        network: bool = False,
        temporary: bool = False,
    ) -> None:
        self._config = config
        self._log = folder / "log"
        volume = folder / "volume"
        if not volume.exists():  # as the engines do: owner and mode are those of the image's folder
            wanted = (root / STORAGE.lstrip("/")).stat()
            volume.mkdir()
            volume.chmod(wanted.st_mode)
            os.chown(volume, wanted.st_uid, wanted.st_gid)
        user, _, group = config["User"].partition(":")
        self._enter = ["chroot", str(root), "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        self._enter += ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "env", "-i"]
        self._enter += [*config["Env"], *(f"{name}={text}" for name, text in variables.items())]
        command = self._enter + config["Entrypoint"] + config["Cmd"]
        prepared = json.dumps([str(root), str(volume), str(folder / "files"), network, temporary, command])
        apart = ["unshare", "--mount", "--pid", "--fork", *(["--net"] if network else [])]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*apart, sys.executable, "-m", "tests.delivery.container", prepared],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def __enter__(self) -> Self:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while not children.read_text("ascii"):
            self.must_live()
            time.sleep(0.01)
        self.first = int(children.read_text("ascii"))
        """Its process 1, as this side numbers it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.kill(self.first, signal.SIGKILL)
        self._process.wait()

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log.read_text("utf-8")

    def healthy(self, **variables: str) -> bool:
        """Return what the image's own health check says."""
        self.must_live()
        kind, *command = self._config["Healthcheck"]["Test"]
        assert kind == "CMD", "no shell stands between"
        more = [f"{name}={text}" for name, text in variables.items()]
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", *self._enter, *more]
        return subprocess.run([*enter, *command], capture_output=True, check=False, timeout=60).returncode == 0

    def must_live(self) -> None:
        """Fail if it has ended."""
        assert self._process.poll() is None, f"it ended with {self._process.returncode}; the log:\n{self.log}"

    def stop(self, seconds: float) -> int:
        """Send SIGTERM and return its exit code."""
        os.kill(self.first, signal.SIGTERM)
        return self._process.wait(seconds)


def main() -> None:
    """Make the container's surroundings, and become its process 1."""
    root, volume, files, network, temporary, command = json.loads(sys.argv[1])
    if network:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x1))  # SIOCSIFFLAGS, IFF_UP
    mounts = [
        ["--bind", root, root],
        ["-t", "proc", "proc", f"{root}/proc"],
        ["--bind", "/dev", f"{root}/dev"],
        ["--bind", volume, f"{root}{STORAGE}"],
        ["--bind", "-o", "ro", files, f"{root}{FILES}"],
        ["-o", "remount,bind,ro", root],
        *([["-t", "tmpfs", "tmpfs", f"{root}/tmp"]] if temporary else []),  # noqa: S108 - of the container
    ]
    for words in mounts:
        subprocess.run(["mount", *words], check=True)
    os.execvp(command[0], command)  # noqa: S606 - it is what is run


if __name__ == "__main__":
    main()
