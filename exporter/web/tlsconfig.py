"""The section `tls_server_config` of the web configuration file: its keys and rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import yaml

    from exporter.web.yamlnodes import Node, Nodes

SECTION = "tls_server_config"
KEYS = (
    *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type"),
    *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites"),
    "curve_preferences",
)
# One of these is what makes the toolkit serve TLS.
_ENABLING = KEYS[:7]

SUITES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Go's names of the suites of TLS 1.2 that it holds safe, and OpenSSL's (https://pkg.go.dev/crypto/tls#CipherSuites)."""

SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""The suites of TLS 1.3: they may stand in the list, in Go as here, but TLS 1.3 always has all of them."""

CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

_VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
_TOO_OLD = ("TLS10", "TLS11")
_ANY_CERTIFICATE = ("RequireAnyClientCert", "RequireClientCert")
_VERIFYING = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
_POLICIES = ("NoClientCert", "RequestClientCert", *_VERIFYING)
# What RFC 9113 (section 9.2.2) demands of a server that offers HTTP/2; Go does not start without one of them.
_HTTP2_SUITES = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key in PEM: in a file (which goes first), or written down in place; false if neither."""

    key: str
    file: Path | None = None
    inline: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return self.file is not None or bool(self.inline)


@dataclass(frozen=True, slots=True)
class Tls:
    """The section, by the toolkit's names."""

    cert: Pem
    key: Pem
    client_ca: Pem
    client_auth_type: str
    client_allowed_sans: frozenset[str] | None
    min_version: str
    max_version: str
    cipher_suites: tuple[str, ...]
    prefer_server_cipher_suites: bool
    curve: str

    def verifies_clients(self) -> bool:
        """Say whether a client's certificate is verified, where there is one."""
        return self.client_auth_type in _VERIFYING

    def demands_certificate(self) -> bool:
        """Say whether a client must have a certificate: with names to compare, it needs one to compare them with."""
        return self.verifies_clients() and (
            self.client_auth_type == "RequireAndVerifyClientCert" or self.client_allowed_sans is not None
        )


def parse(nodes: Nodes, node: Node, directory: Path, *, http2: bool) -> Tls | None:
    """Return the section; None if it does not ask for TLS. Errors go to `nodes`.

    Args:
        nodes: the file.
        node: the section.
        directory: the file's, from which relative paths start.
        http2: whether HTTP/2 is asked for, which bears on the cipher suites.
    """
    keys = nodes.mapping(node, SECTION, KEYS)
    text = {key: nodes.text(keys.get(key), f"{SECTION}.{key}") for key in _ENABLING}
    sans = nodes.texts(keys.get("client_allowed_sans"), f"{SECTION}.client_allowed_sans")
    tls = Tls(
        cert=_pem(text, "cert", directory),
        key=_pem(text, "key", directory),
        client_ca=_pem(text, "client_ca", directory),
        client_auth_type=_policy(nodes, text["client_auth_type"]),
        client_allowed_sans=None if sans is None else frozenset(sans),
        min_version=_version(nodes, keys, "min_version", "TLS12"),
        max_version=_version(nodes, keys, "max_version", "TLS13"),
        cipher_suites=_suites(nodes, keys),
        prefer_server_cipher_suites=nodes.flag(
            keys.get("prefer_server_cipher_suites"), f"{SECTION}.prefer_server_cipher_suites", default=True
        ),
        curve=_curve(nodes, keys),
    )
    if not any(text.values()):
        return None
    _check_identity(nodes, tls)
    _check_clients(nodes, tls)
    _check_versions(nodes, tls, http2=http2)
    return tls


def _pem(text: Mapping[str, str], key: str, directory: Path) -> Pem:
    file = text[f"{key}_file"]
    return Pem(key, directory / file if file else None, text[key])


def _policy(nodes: Nodes, written: str) -> str:
    where = f"{SECTION}.client_auth_type"
    if written in _ANY_CERTIFICATE:
        nodes.error(where, f"{written} cannot be done here: use RequireAndVerifyClientCert with client_ca_file")
    elif written and written not in _POLICIES:
        nodes.error(where, f"must be one of {', '.join(_POLICIES)}")
    return written or "NoClientCert"


def _version(nodes: Nodes, keys: Mapping[str, yaml.Node], key: str, default: str) -> str:
    where = f"{SECTION}.{key}"
    written = nodes.text(keys.get(key), where)
    if written in _TOO_OLD:
        nodes.error(where, f"{written} cannot be done here: OpenSSL no longer speaks it; use TLS12 or TLS13")
    elif written not in _VERSIONS and not (written == "" and nodes.is_null(keys.get(key))):
        nodes.error(where, "is an unknown TLS version; use TLS12 or TLS13")
    return written or default


def _suites(nodes: Nodes, keys: Mapping[str, yaml.Node]) -> tuple[str, ...]:
    where = f"{SECTION}.cipher_suites"
    suites = nodes.texts(keys.get("cipher_suites"), where) or ()
    for index, suite in enumerate(suites):
        if suite not in SUITES and suite not in SUITES_13:
            nodes.error(f"{where}[{index}]", "is none of the cipher suites that Go considers safe, by Go's names")
    return suites


def _curve(nodes: Nodes, keys: Mapping[str, yaml.Node]) -> str:
    where = f"{SECTION}.curve_preferences"
    curves = nodes.texts(keys.get("curve_preferences"), where) or ()
    for index, curve in enumerate(curves):
        if curve not in CURVES:
            nodes.error(f"{where}[{index}]", f"is an unknown curve; known are {', '.join(CURVES)}")
    if len(set(curves)) > 1:
        nodes.error(where, "several curves cannot be done here: name one, or none to leave it to OpenSSL")
    return curves[0] if curves else ""


def _check_identity(nodes: Nodes, tls: Tls) -> None:
    for pem in (tls.cert, tls.key):
        if not pem:
            nodes.error(SECTION, f"needs one of {pem.key} and {pem.key}_file")


def _check_clients(nodes: Nodes, tls: Tls) -> None:
    if tls.client_ca and tls.client_auth_type == "NoClientCert":
        nodes.error(
            f"{SECTION}.client_auth_type",
            "a client CA without a policy has no use: add client_auth_type: RequireAndVerifyClientCert",
        )
    if tls.client_allowed_sans is not None and not tls.verifies_clients():
        nodes.error(
            f"{SECTION}.client_allowed_sans",
            "protects nothing unless certificates are verified: add client_auth_type: RequireAndVerifyClientCert",
        )


def _check_versions(nodes: Nodes, tls: Tls, *, http2: bool) -> None:
    if tls.min_version > tls.max_version:
        nodes.error(f"{SECTION}.min_version", "is above max_version: no client could connect")
    if not tls.cipher_suites or tls.min_version == "TLS13":
        return
    where = f"{SECTION}.cipher_suites"
    if tls.max_version == "TLS12" and not set(tls.cipher_suites) - set(SUITES_13):
        nodes.error(where, "has only suites of TLS 1.3, which max_version forbids: no client could connect")
    elif http2 and not set(tls.cipher_suites) & set(_HTTP2_SUITES):
        nodes.error(where, f"lacks what HTTP/2 demands: add {_HTTP2_SUITES[0]} or set http_server_config.http2: false")
