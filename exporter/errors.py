"""The tree of errors, each with its reason and its hint.

Each class carries its fixed `reason`, the value of the metrics' label, and a hint: what a person can do about it.
No message or hint ever holds a secret, a token or a preauthenticated URL.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Why a poll failed: the closed list behind the label `reason`."""

    CONFIG = "config"
    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    TENANT = "tenant"
    UNSUPPORTED = "unsupported"
    THROTTLED = "throttled"
    NETWORK = "network"
    SERVER = "server"
    DOWNLOAD = "download"
    REDIRECT = "redirect"
    REPORT = "report"
    INTERNAL = "internal"


NEEDS_OPERATOR = frozenset({Reason.CONFIG, Reason.CREDENTIALS, Reason.PERMISSION, Reason.TENANT, Reason.UNSUPPORTED})
"""Failures that no retry recovers from; the poll that follows one takes a fresh token, since the fix may be new."""


class ExporterError(Exception):
    """Something failed: what, where and why in the message, the fix in `hint`.

    Args:
        message: one sentence for people, without secrets.
        hint: what to do about it; the class's own hint where left out.
        request_id: Graph's `request-id`, which Microsoft's support asks for; empty where there is none.
    """

    reason: ClassVar[Reason] = Reason.INTERNAL
    transient: bool = False
    """Whether trying again within the same poll may succeed."""
    default_hint: ClassVar[str] = "this is a bug in the exporter: please report it with the log lines around it"
    support_hint: ClassVar[str] = ""
    """Follows the class's own hint where there is a request-id to give."""

    def __init__(self, message: str, *, hint: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self._hint = hint

    @property
    def hint(self) -> str:
        return self._hint or self.default_hint + (self.support_hint if self.request_id else "")


class InternalError(ExporterError):
    """An error in the exporter itself."""


class ConfigError(ExporterError):
    """The configuration cannot be used; `errors` lists every reason, one line each."""

    reason = Reason.CONFIG
    default_hint = "fix the configuration as the lines above say"

    def __init__(self, errors: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__("\n".join(errors), hint=hint)
        self.errors = errors


class CredentialsError(ExporterError):
    """Microsoft refused the credential: a 4xx of the token endpoint, or Graph's 401 with a new token."""

    reason = Reason.CREDENTIALS
    default_hint = "check the tenant's client_id and auth in the app registration"


class PermissionMissingError(ExporterError):
    """Graph's 403: the app lacks the permission, or consent for it is missing in the tenant."""

    reason = Reason.PERMISSION
    default_hint = "grant the application permission Reports.Read.All and admin consent in the tenant"


class TenantError(ExporterError):
    """The tenant is unknown, or Microsoft has no report data for it yet."""

    reason = Reason.TENANT
    default_hint = "check tenant_id; a new tenant has its first report some days after its first licence"


class UnsupportedError(ExporterError):
    """This cloud or API version lacks the report."""

    reason = Reason.UNSUPPORTED
    default_hint = "set report.api_version: beta (national clouds and JSON have the report in beta only)"


class ThrottledError(ExporterError):
    """A 429; `retry_after` is how many seconds Microsoft asks to wait."""

    reason = Reason.THROTTLED
    transient = True
    default_hint = "nothing to do: the next poll waits as long as Microsoft asks; if it persists, poll less often"

    def __init__(self, message: str, *, retry_after: float, hint: str = "", request_id: str = "") -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.retry_after = retry_after


class NetworkError(ExporterError):
    """DNS, connect, TLS, a timeout or a cut connection, anywhere on the way."""

    reason = Reason.NETWORK
    transient = True
    default_hint = "check DNS, firewall and proxy for the named host (http.proxy, http.ca_file)"


class ServerError(ExporterError):
    """A 5xx, Graph's passing 403 MissingCredentials, or any other answer that fits no rule."""

    reason = Reason.SERVER
    transient = True
    default_hint = "an error on Microsoft's side: the poll is tried again"
    support_hint = "; if it persists, give the request-id to Microsoft's support"

    def __init__(self, message: str, *, transient: bool = True, hint: str = "", request_id: str = "") -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.transient = transient


class DownloadError(ExporterError):
    """A 4xx of the preauthenticated download: it has expired."""

    reason = Reason.DOWNLOAD
    transient = True
    default_hint = (
        "the short-lived download address expired: Graph is asked for a new one; if it persists, check the host's clock"
    )


class RedirectError(ExporterError):
    """Graph's Location may not be followed."""

    reason = Reason.REDIRECT
    default_hint = "a proxy or gateway may have changed what Microsoft answered"
    support_hint = "; if there is none, give the request-id to Microsoft's support"


class ReportError(ExporterError):
    """The report cannot be read, is too large, or has no good row."""

    reason = Reason.REPORT
    default_hint = "it is read again at the next poll; Microsoft sometimes sends such reports for a day or so"
    support_hint = "; if it persists, give the request-id to Microsoft's support"
