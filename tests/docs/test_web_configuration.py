"""docs/web-configuration.md, made from the tables of the code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.web.limits import Limits
from tests.web.differences import DIFFERENCES

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parent.parent.parent / "docs" / "web-configuration.md"

TEXT = """# Web configuration

<!-- Made from the code by tests/docs; `pytest tests/docs --update-golden` writes it. -->

`--web.config.file` takes the web configuration file of Prometheus'
[exporter-toolkit](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md): TLS, client
certificates, passwords, headers.

```yaml
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
basic_auth_users:
  prometheus: $2y$10$…        # htpasswd -nBC 10 ""
```

The file and the certificates are checked every few seconds. A change, once it is seen twice alike, applies to new
connections; open ones are kept. A broken file changes nothing and is logged; at the start it is an error with exit
code 2. A file without users where there were some counts as broken: only a restart turns passwords off. Without such a
file, on an address that others can reach, one log line says that the endpoint is open.

Choose one bcrypt cost for all users. An unknown user costs as much time as the most expensive one: where costs differ,
the time of an answer tells which names exist. Each password is computed once and remembered until the file changes.

## What differs from the exporter-toolkit

A key that cannot be honoured is refused by name, never ignored.

| key | value | exporter-toolkit | here | why |
| --- | --- | --- | --- | --- |
{differences}

## What one client can hold

Beyond these bounds a client gets a 4xx or 503, or is cut off, so that it starves neither scrapes nor polls. When all
connections or scrapes are taken, the client with the most loses one to another client. An IPv6 /64 counts as one
client.

| bound | |
| --- | --- |
{limits}
"""
WORDS = {
    "connections": "open connections",
    "scrapes": "scrapes, status pages and status requests at once",
    "grace": "after which one of them may be cut off for another client that has as many, seconds",
    "unsent": "sent to one client and not yet acknowledged, bytes (the kernel reserves twice as much)",
    "unread": "received from one client and not yet read, bytes (the kernel reserves twice as much)",
    "line": "request line, bytes",
    "head": "request line and headers, bytes",
    "headers": "headers of a request",
    "body": "request body, bytes",
    "request": "from a request's first byte to its last, and the TLS handshake, seconds",
    "idle": "between two requests, seconds",
    "response": "from a request to its response's last byte, seconds",
    "linger": "for which a refused client may keep sending, seconds",
    "stop": "for responses in progress when the exporter stops, seconds",
}


def test_the_page_is_the_codes_own_tables(golden: Callable[[Path, str], None]) -> None:
    """The page lists every difference from the exporter-toolkit and every bound, as the code has them."""
    differences = "\n".join(
        f"| `{one.key}` | {one.value} | {one.toolkit} | {one.here} | {one.why} |" for one in DIFFERENCES
    )
    limits = "\n".join(f"| {WORDS[field.name]} | {getattr(Limits(), field.name):,g} |" for field in fields(Limits))
    golden(PAGE, TEXT.format(differences=differences, limits=limits))
