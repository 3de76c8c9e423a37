"""Certificates with their private keys, PEM or PFX.

What Microsoft takes: https://learn.microsoft.com/entra/identity-platform/certificate-credentials
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from exporter.auth.files import fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.config.tenants import Tenant
    from exporter.errors import ConfigError

_KEY = "certificate_file"
_ONE_FILE = "put certificate and private key, both PEM, into this one file (in any order)"
_PFX_ANEW = "export it anew as PFX, with its private key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that can prove who we are.

    Attributes:
        credential: what MSAL takes; the key is an object, because parsing it costs more than a poll.
        fingerprint: SHA-256, in hexadecimal.
        not_after: when it ends, Unix seconds.
    """

    credential: dict[str, Any]
    fingerprint: str
    not_after: float


def load_certificate(tenant: Tenant, content: bytes, password: bytes) -> Certificate:
    """Return what `certificate_file` holds.

    Args:
        tenant: whose, for messages.
        content: the file's, PEM or PFX.
        password: empty for none.

    Raises:
        ConfigError: a part is missing or unreadable, the password is wrong, or it is no RSA pair.
    """
    key, certificates = (_pem if b"-----BEGIN " in content else _pfx)(tenant, content, password)
    if not isinstance(key, RSAPrivateKey):
        mend = "Microsoft's login takes RSA certificates only: make one with an RSA key of 2048 bits or more"
        raise fault(tenant, _KEY, "its key is not RSA", mend)
    # A chain may stand in any order: the certificate meant is the key's.
    own = next((each for each in certificates if _public_key(each) == key.public_key()), None)
    if own is None:
        mend = "put the certificate and the key that it was made with into one file"
        raise fault(tenant, _KEY, "its key does not belong to its certificate", mend)
    credential = {"private_key": key, "public_certificate": own.public_bytes(Encoding.PEM).decode("ascii")}
    return Certificate(credential, own.fingerprint(SHA256()).hex(), own.not_valid_after_utc.timestamp())


def _pem(tenant: Tenant, content: bytes, password: bytes) -> tuple[Any, Sequence[x509.Certificate]]:
    if b"-----BEGIN CERTIFICATE" not in content:
        raise fault(tenant, _KEY, "it holds no certificate", _ONE_FILE)
    if b"PRIVATE KEY-----" not in content:
        raise fault(tenant, _KEY, "it holds no private key", _ONE_FILE)
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise fault(tenant, _KEY, "its certificate cannot be read", "copy it anew, whole") from None
    try:
        return load_pem_private_key(content, password or None), certificates
    except TypeError:
        raise _password_fault(tenant, encrypted=not password) from None
    except (ValueError, UnsupportedAlgorithm):
        if password:
            raise _wrong_password(tenant, "its private key cannot be opened with the password given") from None
        raise fault(tenant, _KEY, "its private key cannot be read", "copy it anew, whole") from None


def _pfx(tenant: Tenant, content: bytes, password: bytes) -> tuple[Any, Sequence[x509.Certificate]]:
    try:
        # A PFX without a password may have been made with none or with an empty one.
        bundle = load_pkcs12(content, password or None)
    except (ValueError, UnsupportedAlgorithm):
        raise _pfx_fault(tenant, content, password) from None
    found = [each.certificate for each in (bundle.cert, *bundle.additional_certs) if each is not None]
    if bundle.key is None or not found:
        raise fault(tenant, _KEY, f"the PFX holds no {'certificate' if bundle.key else 'private key'}", _PFX_ANEW)
    return bundle.key, found


def _pfx_fault(tenant: Tenant, content: bytes, password: bytes) -> ConfigError:
    """Return what is wrong with a file that is not PEM and does not open as a PFX."""
    if _is_bare_certificate(content):
        return fault(tenant, _KEY, "it holds the certificate alone, without its private key", _PFX_ANEW)
    if password:
        return _wrong_password(tenant, "it is no PFX that the password given opens")
    mend = "if it has a password, set auth.certificate_password_file; else check that it is the right file"
    return fault(tenant, _KEY, "it is neither PEM nor a PFX without a password", mend)


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


def _password_fault(tenant: Tenant, *, encrypted: bool) -> ConfigError:
    if encrypted:
        mend = "set auth.certificate_password_file to a file that holds its password"
        return fault(tenant, _KEY, "its private key has a password, and none is given", mend)
    mend = "remove auth.certificate_password (or its file)"
    return fault(tenant, _KEY, "a password is given, but its private key has none", mend)


def _wrong_password(tenant: Tenant, what: str) -> ConfigError:
    return fault(tenant, _KEY, what, "check auth.certificate_password (or its file): it is that of the private key")
