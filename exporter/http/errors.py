"""What went wrong on the network, as a sentence and a hint."""

from __future__ import annotations

import ssl

import httpx

from exporter.errors import NetworkError

_FIREWALL = "check the path to the host (firewall, proxy); raise poll.timeout if the host is just slow"
_PROXY = "check http.proxy (or HTTPS_PROXY): host, port, and whether it allows this host"
_PROXY_PASSWORD = "check user and password in http.proxy (or HTTPS_PROXY)"  # noqa: S105 - advice, no password
_UNTRUSTED = "if your own proxy or gateway signs it, add its CA to http.ca_file"
# OpenSSL's numbers: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_CERTIFICATE_HINTS = {
    9: "check this machine's clock",
    10: "check this machine's clock; if it is right, whoever runs the host must renew its certificate",
    62: "another host answers in its place: check DNS, the proxy and, for a custom cloud, its addresses",
    64: "another host answers in its place: check DNS, the proxy and, for a custom cloud, its addresses",
}
_PROXY_WANTS_PASSWORD = "407"  # noqa: S105 - a status
_CUT = ("Server disconnected", "peer closed connection")


def network_error(error: Exception, endpoint: str, url: str, *, proxy: str, seconds: float) -> NetworkError:
    """Return the error that says what happened on the way, and what to check.

    The address may hold a signature, so only its host is ever shown. `proxy` is the proxy's host and port, if there was
    one, and `seconds` how long the whole poll may take.
    """
    what, hint = _explained(error, proxy, seconds)
    through = f" through the proxy {proxy}" if proxy else ""
    return NetworkError(f"{endpoint} host {_host(url)}{through}: {what}", hint=hint)


def _explained(error: Exception, proxy: str, seconds: float) -> tuple[str, str]:
    cause = _root(error)
    what, hint = f"the connection broke: {str(cause) or type(error).__name__}", ""
    match error:
        case httpx.TimeoutException():
            what, hint = f"no complete answer within {seconds:g} s", _FIREWALL
        case httpx.ProxyError():
            wants_password = str(error).startswith(_PROXY_WANTS_PASSWORD)
            what, hint = f"the proxy refused: {error}", _PROXY_PASSWORD if wants_password else _PROXY
        case _ if isinstance(cause, ssl.SSLCertVerificationError):
            what = f"its certificate is not trusted: {cause.verify_message}"
            hint = _CERTIFICATE_HINTS.get(cause.verify_code, _UNTRUSTED)
        case httpx.ConnectError():
            what, hint = f"cannot connect: {cause}", _PROXY if proxy else ""
        case httpx.DecodingError():
            what = str(error)
        case httpx.ProtocolError() if not str(error).startswith(_CUT):
            # The library quotes the line that it could not read: it may be a preauthenticated Location.
            what = "its answer is not valid HTTP"
    return what, hint


def _host(url: str) -> str:
    try:
        return httpx.URL(url).netloc.decode("ascii") or "(no host)"
    except httpx.InvalidURL:
        return "(unreadable address)"


def _root(error: BaseException) -> BaseException:
    """Return the first error of a chain; httpcore hides the one of the TLS library as if it were of no interest."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
