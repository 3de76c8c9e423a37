"""The web configuration file of Prometheus' exporter-toolkit: its keys, its rules, and the settings that it makes.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md

As in Go, any scalar is accepted as text (`X-XSS-Protection: 1`). A setting that has no equivalent here is refused by
name, never ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from exporter.config.errors import choose, config_error, one_of, rule
from exporter.config.types import Settings, Utf8, must
from exporter.config.yamlfile import parse_file
from exporter.errors import ConfigError
from exporter.files import MIB, Watch
from exporter.log import get_logger
from exporter.web.site import Security

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

log = get_logger(__name__)

SUITES: Final[Mapping[str, str]] = {
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
"""Go's names of the TLS 1.2 suites that it considers safe, and OpenSSL's (https://pkg.go.dev/crypto/tls#CipherSuites)."""

CURVES: Final[Mapping[str, str]] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

# As in Go, they are accepted in the list, but TLS 1.3 always offers all of them.
_SUITES_13: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
# RFC 9113 (section 9.2.2) requires one of them for HTTP/2; without it, Go does not start.
_HTTP2_SUITES: Final = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
_VERSIONS: Final = ("TLS12", "TLS13")
_VERIFYING: Final = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
_POLICIES: Final = ("NoClientCert", "RequestClientCert", *_VERIFYING)
_VERIFY: Final = "add client_auth_type: RequireAndVerifyClientCert"
_TRUE: Final = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE: Final = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_HASH: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}\Z", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_BREAKS: Final = re.compile(r"[\r\n]")
_ZERO: Final = re.compile(r"[+-]?(?:0+|(?:0+(?:\.0*)?(?:ns|us|µs|ms|s|m|h))+)\Z")
_INTEGER: Final = re.compile(r"[+-]?\d+\Z", re.ASCII)


def _flag(value: object) -> object:
    return value in _TRUE if isinstance(value, str) and value in _TRUE | _FALSE else value


def _policy(value: str) -> str:
    if value in ("RequireAnyClientCert", "RequireClientCert"):
        raise rule(f"{value} is not supported here", "use RequireAndVerifyClientCert with client_ca_file")
    if value and value not in _POLICIES:
        raise rule("is an unknown policy", choose(value, _POLICIES))
    return value


def _version(value: str) -> str:
    if value in ("TLS10", "TLS11"):
        raise rule(f"{value} is not supported here: OpenSSL no longer supports it", f"write {one_of(_VERSIONS)}")
    if value not in _VERSIONS:
        raise rule("is an unknown TLS version", f"write {one_of(_VERSIONS)}")
    return value


def _suite(value: str) -> str:
    if value not in SUITES and value not in _SUITES_13:
        fix = choose(value, (*SUITES, *_SUITES_13))
        raise rule("is not among the cipher suites that Go considers safe (Go's names)", fix)
    return value


def _header(*allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        # As in Go, a value folded over several lines becomes one line.
        text = _LINE_BREAKS.sub(" ", value).strip()
        if allowed and text not in allowed:
            raise rule(f"must be {one_of(allowed)}", "write it that way, or leave the header out")
        if _CONTROL.search(text):
            raise rule("contains a control character", "remove it")
        return text

    return AfterValidator(check)


_Flag = Annotated[bool, BeforeValidator(_flag), Field(strict=True)]
_Version = Annotated[Utf8, AfterValidator(_version)]
_Suite = Annotated[Utf8, AfterValidator(_suite)]
_Curve = Annotated[Utf8, must(CURVES.__contains__, "is an unknown curve", f"write {one_of(tuple(CURVES))}")]
_OneCurve = must(
    lambda curves: len(set(curves)) < 2,
    "several curves are not supported here",
    "name one, or leave it out and let OpenSSL choose",
)
_Hash = Annotated[
    Any,
    must(
        lambda value: isinstance(value, str) and _HASH.match(value),
        "is not a bcrypt hash ($2a$, $2b$ or $2y$, cost 04 to 31, 60 characters)",
        "make one with htpasswd -nBC 10",
    ),
]


class _Section(Settings):
    """A section; a key without a value counts as missing."""

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class Tls(_Section):
    """How connections are encrypted; a file takes precedence over the same value inline."""

    cert: Utf8 = ""
    key: Utf8 = Field("", repr=False)
    client_ca: Utf8 = ""
    cert_file: Utf8 = ""
    key_file: Utf8 = ""
    client_ca_file: Utf8 = ""
    client_auth_type: Annotated[Utf8, AfterValidator(_policy)] = ""
    client_allowed_sans: tuple[Utf8, ...] | None = None
    min_version: _Version = "TLS12"
    max_version: _Version = "TLS13"
    cipher_suites: tuple[_Suite, ...] = ()
    prefer_server_cipher_suites: _Flag = True
    curve_preferences: Annotated[tuple[_Curve, ...], _OneCurve] = ()

    @property
    def is_on(self) -> bool:
        """Whether a key is set with which the toolkit serves TLS."""
        files = (self.cert_file, self.key_file, self.client_ca_file)
        return any((*files, self.cert, self.key, self.client_ca, self.client_auth_type))

    @property
    def verifies_clients(self) -> bool:
        """Whether a client's certificate is verified, if it has one."""
        return self.client_auth_type in _VERIFYING

    @property
    def suites(self) -> frozenset[str]:
        """The cipher suites that apply; none if only TLS 1.3 is offered, which has its own."""
        return frozenset(self.cipher_suites) if self.min_version < "TLS13" else frozenset()

    @model_validator(mode="after")
    def _check(self) -> Tls:
        if not self.is_on:
            return self
        for key in ("cert", "key"):
            if not getattr(self, key) and not getattr(self, f"{key}_file"):
                raise rule(f"needs one of {key} and {key}_file", f"add {key}_file")
        if (self.client_ca or self.client_ca_file) and self.client_auth_type in ("", "NoClientCert"):
            raise rule("a client CA has no effect without client_auth_type", _VERIFY, "client_auth_type")
        if self.client_allowed_sans is not None and not self.verifies_clients:
            raise rule("protects nothing unless certificates are verified", _VERIFY, "client_allowed_sans")
        if self.min_version > self.max_version:
            raise rule("is above max_version: no client could connect", "raise max_version", "min_version")
        if self.suites and self.max_version == "TLS12" and not self.suites - set(_SUITES_13):
            what = "has only suites of TLS 1.3, which max_version forbids: no client could connect"
            raise rule(what, "raise max_version", "cipher_suites")
        return self


_Headers: Any = create_model(
    "_Headers",
    __base__=_Section,
    **{
        "Strict-Transport-Security": (Annotated[Utf8, _header()], ""),
        "X-Content-Type-Options": (Annotated[Utf8, _header("nosniff")], ""),
        "X-Frame-Options": (Annotated[Utf8, _header("deny", "sameorigin")], ""),
        "X-XSS-Protection": (Annotated[Utf8, _header()], ""),
        "Content-Security-Policy": (Annotated[Utf8, _header()], ""),
    },
)  # type: ignore[call-overload]  # the names are headers


class _Http(_Section):
    http2: _Flag = True
    headers: _Headers = _Headers()


class _RateLimit(_Section):
    interval: Annotated[Utf8, must(_ZERO.match, "rate limits are not supported here", "remove the section")] = "0"
    burst: Annotated[Utf8, must(_INTEGER.match, "must be a whole number", "write it in digits")] = "0"


class WebConfig(_Section):
    """The whole file."""

    tls_server_config: Tls | None = None
    http_server_config: _Http = _Http()
    basic_auth_users: dict[Utf8, _Hash] = Field({}, repr=False)
    rate_limit: _RateLimit = _RateLimit()

    @property
    def tls(self) -> Tls | None:
        """The TLS section; None if it does not turn TLS on."""
        section = self.tls_server_config
        return section if section is not None and section.is_on else None

    @model_validator(mode="after")
    def _check(self) -> WebConfig:
        suites = self.tls.suites if self.tls is not None else frozenset()
        if suites and self.http_server_config.http2 and not suites & set(_HTTP2_SUITES):
            what = "cipher_suites lack a suite that HTTP/2 requires"
            raise rule(what, f"add {_HTTP2_SUITES[0]} or set http_server_config.http2: false", "tls_server_config")
        return self

    def remarks(self) -> Iterator[str]:
        """Yield a sentence for each setting that is accepted but works differently here."""
        if self.tls is None:
            if self.tls_server_config is not None:
                yield "tls_server_config names no certificate: TLS is off, as in the exporter-toolkit"
            return
        http = self.http_server_config
        if http.http2 and "http2" in http.model_fields_set:
            yield "http2: true is accepted, and served as HTTP/1.1"
        if self.tls.client_auth_type == "RequestClientCert":
            yield "client_auth_type RequestClientCert is accepted, but no certificate is requested"


class WebConfigFile:
    """A web configuration file with the certificates that it names, and their changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: tuple[Path, ...] = (path,)
        self._watch = Watch(lambda: self._files)
        self._has_users = False

    def load(self) -> Security:
        """Return the settings of the file.

        Raises:
            ConfigError: it cannot be read, or breaks the toolkit's rules or the exporter's; every error is listed.
        """
        before = self._watch.now()
        try:
            config = parse_file(WebConfig, self._path, limit=MIB, only_text=True)
            tls = config.tls
            names = (tls.cert_file, tls.key_file, tls.client_ca_file) if tls is not None else ()
            self._files = (self._path, *(self._path.parent / name for name in names if name))
            before = {**self._watch.now(), **before}
            security = self._security(config)
        finally:
            self._watch.accept(before)
        if self._has_users and not security.users:
            fix = "restart the exporter to turn passwords off"
            raise config_error(f"{self._path}:basic_auth_users", "no longer has any users", fix)
        self._has_users = bool(security.users)
        for remark in config.remarks():
            log.warning(remark, file=str(self._path))
        return security

    def changed(self) -> Security | None:
        """Return the new settings if the files have changed, else None.

        A file that cannot be used is logged, once for each change, and the previous settings remain.
        """
        if not self._watch.changed():
            return None
        try:
            security = self.load()
        except ConfigError as error:
            log.error(  # noqa: TRY400 - a traceback would add nothing
                "the web configuration cannot be used: the previous one remains in force",
                file=str(self._path),
                errors="; ".join(error.errors),
            )
            return None
        if self._watch.differences(self._watch.now()):
            return None  # changed while it was read: the next check reads it again
        log.info("the web configuration was read again", file=str(self._path))
        return security

    def _security(self, config: WebConfig) -> Security:
        headers = {name: value for name, value in config.http_server_config.headers if value}
        users = {name.encode(): hashed.encode("ascii") for name, hashed in config.basic_auth_users.items()}
        if config.tls is None:
            return Security(headers=headers, users=users)
        from exporter.web import tls  # noqa: PLC0415 - only where TLS is

        names = config.tls.client_allowed_sans
        allowed = None if names is None else frozenset(names)
        return Security(tls.server_context(config.tls, self._path), allowed, headers, users)
