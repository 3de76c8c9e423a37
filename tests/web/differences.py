"""What differs from Prometheus' exporter-toolkit in the web configuration file, as a table for docs and tests."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """One thing that differs from the exporter-toolkit.

    Attributes:
        key: where in the file.
        value: which values it is about.
        toolkit: what the toolkit does with it.
        here: what happens here.
        why: the reason.
    """

    key: str
    value: str
    toolkit: str
    here: str
    why: str


_REFUSED = "refused"
_SERVED = "accepted"

DIFFERENCES = (
    Difference(
        "tls_server_config.client_auth_type",
        "RequireAnyClientCert, RequireClientCert",
        "asks for a certificate and accepts any",
        _REFUSED,
        "Python's ssl cannot accept a certificate without verifying it; use RequireAndVerifyClientCert",
    ),
    Difference(
        "tls_server_config.client_auth_type",
        "RequestClientCert",
        "asks for a certificate and checks none",
        "accepted, without asking for one",
        "nothing checks it",
    ),
    Difference(
        "tls_server_config.client_allowed_sans",
        "without VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        "ignored, or compared with a certificate that nobody verified",
        _REFUSED,
        "names that are not verified protect nothing",
    ),
    Difference(
        "tls_server_config.client_allowed_sans",
        "a client's verified certificate without an allowed name",
        "TLS alert bad_certificate",
        "403 with the reason, before anything is read",
        "Python's ssl cannot refuse a certificate that is verified",
    ),
    Difference(
        "tls_server_config.client_ca, client_ca_file",
        "without a readable certificate",
        "starts, and then refuses every client",
        _REFUSED,
        "a server that nobody can reach is a mistake",
    ),
    Difference(
        "tls_server_config.min_version, max_version",
        "TLS10, TLS11",
        _SERVED,
        _REFUSED,
        "OpenSSL 3 supports them only below its default level of security (RFC 8996)",
    ),
    Difference(
        "tls_server_config.min_version, max_version",
        "a minimum above the maximum",
        "starts, and then refuses every client",
        _REFUSED,
        "a server that nobody can reach is a mistake",
    ),
    Difference(
        "tls_server_config.cipher_suites",
        "only suites of TLS 1.3 with max_version: TLS12",
        "starts, and then refuses every client",
        _REFUSED,
        "a server that nobody can reach is a mistake",
    ),
    Difference(
        "tls_server_config.curve_preferences",
        "more than one curve",
        _SERVED,
        _REFUSED,
        "Python's ssl can set one curve (the first of 3.11 not X25519) or leave the choice to OpenSSL",
    ),
    Difference(
        "tls_server_config",
        "whole, without certificate and key (only min_version, cipher_suites, …)",
        "serves plain HTTP",
        "serves plain HTTP, and a log line says so",
        "it is easily mistaken for TLS",
    ),
    Difference(
        "http_server_config.http2",
        "true, the default",
        "serves HTTP/2 over TLS",
        "accepted and served as HTTP/1.1, logged once if it is written down",
        "Prometheus scrapes over either",
    ),
    Difference(
        "http_server_config.headers",
        "a control character other than a line break",
        "sent as it is",
        _REFUSED,
        "no client could read the answer",
    ),
    Difference(
        "basic_auth_users",
        "hashes other than $2a$, $2b$ and $2y$, or not 60 characters long",
        "accepted, where length and cost are plausible",
        _REFUSED,
        "no password would ever match",
    ),
    Difference(
        "rate_limit",
        "an interval other than 0",
        "answers 429 beyond the rate",
        _REFUSED,
        "the concurrency of scrapes and of password checks is bounded instead",
    ),
    Difference(
        "the file",
        "more than one YAML document",
        "reads the first",
        _REFUSED,
        "the second would be ignored",
    ),
    Difference(
        "http_server_config.http2, tls_server_config.prefer_server_cipher_suites",
        "true or false in quotes",
        _REFUSED,
        _SERVED,
        "it can mean nothing else",
    ),
    Difference(
        "basic_auth_users",
        "on /-/healthy and /-/ready",
        "asks for a password",
        "asks for none",
        "the kubelet's probes have none",
    ),
)
"""What differs from the exporter-toolkit: the table that the documentation shows and the tests hold true."""
