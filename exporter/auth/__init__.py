"""From a tenant's credential to a bearer token, by MSAL."""

from exporter.auth.credentials import CredentialExpiry, Credentials
from exporter.auth.hints import Token, advice
from exporter.auth.tokens import TokenSource

__all__ = ["CredentialExpiry", "Credentials", "Token", "TokenSource", "advice"]
