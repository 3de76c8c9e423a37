"""Follows changes of the web configuration file and its certificates."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from exporter.errors import ConfigError
from exporter.files import MIB, read_file
from exporter.log import get_logger
from exporter.web import webconfig

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.web.security import Security

log = get_logger(__name__)


class Watch:
    """Checks whether the file at `path`, or a certificate it names, has changed.

    Files are compared by content: Kubernetes swaps a symbolic link, others keep the time of change. A change counts
    only once it is seen twice alike: a file that is being written is empty for a moment, and an empty one asks for
    neither TLS nor passwords.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[Path, bytes] = {}
        self._settling: dict[Path, bytes] | None = None
        self._said: set[str] = set()
        self._has_users = False

    def begin(self) -> Security:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be used.
        """
        return self._load()

    def look(self) -> Security | None:
        """Return what new connections and requests have to obey from now on; None if that has not changed.

        A file that cannot be used is logged, once for each time it changes, and changes nothing.
        """
        now = self._now()
        settled, self._settling = now == self._settling, now
        if now == self._seen or not settled:
            return None
        try:
            security = self._load()
        except ConfigError as error:
            log.error(  # noqa: TRY400 - the errors say it all
                "the web configuration cannot be used: the previous one remains in force",
                file=str(self._path),
                errors="; ".join(error.errors),
            )
            return None
        if self._now() != self._seen:
            return None
        log.info("the web configuration was read again", file=str(self._path))
        return security

    def _now(self) -> dict[Path, bytes]:
        return {file: _digest(file) for file in self._seen}

    def _load(self) -> Security:
        # Each file's digest is taken before it is read, so that a change in between is seen at the next check.
        self._seen = {self._path: _digest(self._path)}
        config = webconfig.parse(self._path)
        self._seen |= {file: _digest(file) for file in config.files()[1:]}
        security = webconfig.load(config)
        if self._has_users and not security.users:
            raise ConfigError(
                (f"{self._path}:basic_auth_users: has no users any more; restart the exporter to ask for no password",)
            )
        self._has_users = bool(security.users)
        for remark in config.remarks:
            if remark not in self._said:
                self._said.add(remark)
                log.warning(remark, file=str(self._path))
        return security


def _digest(file: Path) -> bytes:
    """Return what tells one content of `file` from another; nothing if it cannot be read."""
    try:
        return hashlib.sha256(read_file(file, MIB)).digest()
    except OSError:
        return b""
