"""The model of a credential, `auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BeforeValidator, model_validator

from exporter.config.errors import rule
from exporter.config.fields import Day, FilePath, Flag, Secret, Settings, Uuid, setting

if TYPE_CHECKING:
    from pathlib import Path

AuthKind = Literal["client_secret", "certificate", "federated_token", "managed_identity", "device_code"]

# The keys of `auth` that name a credential, and the kind that each means.
AUTH_KINDS: Final[dict[str, AuthKind]] = {
    "client_secret": "client_secret",
    "client_secret_file": "client_secret",
    "certificate_file": "certificate",
    "federated_token_file": "federated_token",
    "managed_identity": "managed_identity",
    "device_code": "device_code",
}


# These go with `certificate_file` only.
_CERTIFICATE_KEYS: Final = (
    "certificate_password",
    "certificate_password_file",
    "certificate_key_file",
    "send_certificate_chain",
)


def _empty_is_map(value: object) -> object:
    """`managed_identity:` with nothing after it means one without settings."""
    return {} if value is None else value


class ManagedIdentity(Settings):
    """The identity of the Azure resource that the exporter runs on."""

    client_id: Uuid | None = setting(None, "a user-assigned identity; left out: the system-assigned one")


class DeviceCode(Settings):
    """A person's delegated sign-in, made with the command `login`."""


class Auth(Settings):
    """One credential. Exactly one kind of it is set."""

    client_secret: Secret | None = setting(None, "the app's client secret (the value, not its ID)")
    client_secret_file: FilePath | None = setting(None, "a file that holds the client secret")
    expires: Day | None = setting(None, "when the client secret expires, for the metric and the warning")
    certificate_file: FilePath | None = setting(None, "certificate and private key, PEM or PFX")
    certificate_key_file: FilePath | None = setting(None, "the private key, PEM, where it is in a file of its own")
    send_certificate_chain: Flag | None = setting(
        None, "true: send the certificates that signed it too (trust by subject name and issuer)"
    )
    certificate_password: Secret | None = setting(None, "the password of the certificate's key")
    certificate_password_file: FilePath | None = setting(None, "a file that holds that password")
    federated_token_file: FilePath | None = setting(None, "a token of another identity provider (workload identity)")
    managed_identity: Annotated[ManagedIdentity | None, BeforeValidator(_empty_is_map)] = setting(
        None, "the Azure resource's own identity"
    )
    device_code: Annotated[DeviceCode | None, BeforeValidator(_empty_is_map)] = setting(
        None, "a person's sign-in by `login`, a last resort"
    )

    @property
    def kind(self) -> AuthKind:
        return next(kind for key, kind in AUTH_KINDS.items() if getattr(self, key) is not None)

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        given = [key for key in AUTH_KINDS if getattr(self, key) is not None]
        if not given:
            raise rule("names no credential", f"add one of {', '.join(AUTH_KINDS)}")
        if len(given) > 1:
            raise rule(f"names {len(given)} credentials, {' and '.join(given)}", "keep one of them", *given)
        if self.certificate_password is not None and self.certificate_password_file is not None:
            keys = ("certificate_password", "certificate_password_file")
            raise rule("sets both certificate_password and certificate_password_file", "keep one of them", *keys)
        for key in _CERTIFICATE_KEYS:
            if getattr(self, key) is not None and self.kind != "certificate":
                raise rule(
                    f"sets {key} without certificate_file",
                    "remove it, or add certificate_file",
                    key,
                    "certificate_file",
                )
        if self.expires is not None and self.kind != "client_secret":
            raise rule("sets expires, which is for client secrets only", "remove expires", "expires")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that this credential is read from."""
        return tuple(
            path
            for path in (
                self.client_secret_file,
                self.certificate_file,
                self.certificate_key_file,
                self.certificate_password_file,
                self.federated_token_file,
            )
            if path is not None
        )
