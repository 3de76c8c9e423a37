"""Certificates with their private keys, from PEM or PFX.

What Microsoft takes: https://learn.microsoft.com/entra/identity-platform/certificate-credentials
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

if TYPE_CHECKING:
    from collections.abc import Sequence

_ONE_FILE = (
    "put the certificate and its private key into this file (both PEM, in any order), "
    "or set auth.certificate_key_file to the key's file"
)
_COPY = "copy the whole file again"
_PFX_AGAIN = "export it again as PFX, with its private key"
_WRONG_ONE = "check auth.certificate_password (or its file): it must be the private key's password"


class CertificateError(Exception):
    """A certificate or its key cannot be used: the key of `auth` that names the file, what is wrong, and the fix."""

    def __init__(self, what: str, fix: str, *, key: str = "certificate_file") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.key = key


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its private key, as MSAL takes it, its SHA-256 in hexadecimal, and when it ends, Unix seconds.

    The key is an object, because parsing it costs more than a poll.
    """

    credential: dict[str, Any]
    fingerprint: str
    not_after: float


def load_certificate(
    content: bytes, password: bytes, *, key_content: bytes | None = None, chain: bool = False
) -> Certificate:
    """Return what a certificate file (PEM or PFX) holds, and the key file (PEM) where the key is apart.

    An empty password is none; with `chain` the certificates that signed it are sent too.

    Raises:
        CertificateError: a part is missing or unreadable, the password is wrong, or it is no RSA pair.
    """
    of_key = "certificate_file" if key_content is None else "certificate_key_file"
    if key_content is None and b"-----BEGIN " not in content:
        key, certificates = _pfx(content, password)
    else:
        key = _private_key(content if key_content is None else key_content, password, of_key)
        certificates = _pem_certificates(content)
    if not isinstance(key, RSAPrivateKey):
        fix = "Microsoft's login accepts only RSA certificates: create one with an RSA key of 2048 bits or more"
        raise CertificateError("its key is not RSA", fix, key=of_key)
    # The certificates of a chain may be in any order: the one meant is the key's.
    own = next((each for each in certificates if _public_key(each) == key.public_key()), None)
    if own is None:
        fix = "put the certificate and the key that it was made with into one file"
        if key_content is not None:
            fix = "use the key that the certificate was made with"
        raise CertificateError("its key does not belong to its certificate", fix, key=of_key)
    credential: dict[str, Any] = {"private_key": key, "public_certificate": _text(own)}
    if chain:
        # MSAL sends a whole chain only with this thumbprint, the one that Microsoft's SDKs send with it.
        credential |= {
            "thumbprint": own.fingerprint(SHA1()).hex(),  # noqa: S303 - names the certificate, protects nothing
            "public_certificate": "".join(_text(each) for each in _chain(own, certificates)),
        }
    return Certificate(credential, own.fingerprint(SHA256()).hex(), own.not_valid_after_utc.timestamp())


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _chain(own: x509.Certificate, certificates: Sequence[x509.Certificate]) -> Sequence[x509.Certificate]:
    """Return the certificate and, each after the one that it signed, those that lead to its root."""
    chain = [own]
    while signer := next((one for one in certificates if one.subject == chain[-1].issuer and one not in chain), None):
        chain.append(signer)
    return chain


def _pem_certificates(content: bytes) -> Sequence[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE" not in content:
        raise CertificateError("it contains no certificate", _ONE_FILE)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CertificateError("its certificate cannot be read", _COPY) from None


def _private_key(content: bytes, password: bytes, of_key: str) -> Any:
    if b"PRIVATE KEY-----" not in content:
        fix = _ONE_FILE if of_key == "certificate_file" else "put the private key into this file, as PEM"
        raise CertificateError("it contains no private key", fix, key=of_key)
    try:
        return load_pem_private_key(content, password or None)
    except TypeError:
        if password:
            what, fix = (
                "a password is given, but its private key has none",
                "remove auth.certificate_password (or its file)",
            )
        else:
            what = "its private key has a password, and no password is given"
            fix = "set auth.certificate_password_file to a file that holds its password"
    except (ValueError, UnsupportedAlgorithm):
        what, fix = "its private key cannot be read", _COPY
        if password:
            what, fix = "its private key cannot be opened with the given password", _WRONG_ONE
    raise CertificateError(what, fix, key=of_key)


def _pfx(content: bytes, password: bytes) -> tuple[Any, Sequence[x509.Certificate]]:
    try:
        # A PFX without a password may have been made with none or with an empty one.
        bundle = load_pkcs12(content, password or None)
    except (ValueError, UnsupportedAlgorithm):
        if _is_bare_certificate(content):
            what = "it contains the certificate but not its private key"
            raise CertificateError(what, _PFX_AGAIN) from None
        if password:
            raise CertificateError("the given password does not open it as a PFX", _WRONG_ONE) from None
        fix = "if it has a password, set auth.certificate_password_file; else check that it is the right file"
        raise CertificateError("it is neither PEM nor a PFX without a password", fix) from None
    found = [each.certificate for each in (bundle.cert, *bundle.additional_certs) if each is not None]
    if bundle.key is None or not found:
        raise CertificateError(f"the PFX contains no {'certificate' if bundle.key else 'private key'}", _PFX_AGAIN)
    return bundle.key, found


def _is_bare_certificate(content: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        return False
    return True


def _public_key(certificate: x509.Certificate) -> Any:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
