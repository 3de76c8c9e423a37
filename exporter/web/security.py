"""The web configuration, ready for use: TLS context, users, headers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Security:
    """How connections and requests are guarded; all of it left out: not at all.

    Attributes:
        context: TLS for new connections; None for plain HTTP.
        allowed_sans: the names of which a client's certificate must carry one; None where any will do.
        headers: set on every response.
        users: bcrypt hashes by user name; empty where no password is asked for.
    """

    context: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[bytes, bytes] = field(default_factory=dict)
