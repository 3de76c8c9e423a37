"""Small servers with one bad habit each, and the certificates they show."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import trustme


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve every connection with `handle`, each in a thread of its own; give the port."""
    stop = threading.Event()

    def one(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            secure = tls.wrap_socket(plain, server_side=True) if tls else plain
            with secure:
                handle(secure)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def accept() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port: int = listener.getsockname()[1]
        try:
            yield port
        finally:
            stop.set()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 5).close()
            thread.join(10)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Return a handler that reads one request and answers with these bytes."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return handle


def certificate(
    authority: trustme.CA, *names: str, begins: datetime | None = None, ends: datetime | None = None
) -> ssl.SSLContext:
    """Return a server's TLS context with a certificate of the authority for `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_before=begins, not_after=ends).configure_cert(context)
    return context
