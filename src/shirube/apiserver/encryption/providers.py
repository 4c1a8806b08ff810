"""Ciphers over stored values, in upstream's formats: `k8s:enc:PROVIDER:v1:KEYNAME:` before what the cipher made.

`aesgcm` binds a value to its storage key (additional authenticated data): a value that is copied under another key
does not open. `secretbox` (XSalsa20 and Poly1305) and `aescbc` have no such data, in upstream's format either.
`identity` writes plain text and reads only plain text.

See "Encrypting Confidential Data at Rest" in the upstream documentation. AES comes from `cryptography`, secretbox from
libsodium (`PyNaCl`, imported when it is configured).
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shirube.apiserver.configuration_file import ConfigurationError, Fields

PREFIX = b"k8s:enc:"
_NONCE = 12
_BLOCK = 16
_SECRETBOX_NONCE = 24


class Unreadable(Exception):
    """Why a value cannot be decrypted."""


class Opened(NamedTuple):
    value: bytes
    stale: bool  # written by another key or provider than the one that writes now


class KeyCipher(Protocol):
    """One key of one provider."""

    def seal(self, value: bytes, bound: bytes) -> bytes: ...

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """Raises Unreadable."""
        ...


class Gcm:
    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(secret)

    def seal(self, value: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, bound)

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
        except (InvalidTag, ValueError) as error:
            raise Unreadable("cipher: message authentication failed") from error


class Cbc:
    """Without authentication: upstream advises against it, it is here to read and leave such stores."""

    def __init__(self, secret: bytes) -> None:
        self._algorithm = algorithms.AES(secret)

    def seal(self, value: bytes, bound: bytes) -> bytes:
        start = secrets.token_bytes(_BLOCK)
        padder = padding.PKCS7(_BLOCK * 8).padder()
        encryptor = Cipher(self._algorithm, modes.CBC(start)).encryptor()
        return start + encryptor.update(padder.update(value) + padder.finalize()) + encryptor.finalize()

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        try:
            decryptor = Cipher(self._algorithm, modes.CBC(sealed[:_BLOCK])).decryptor()
            unpadder = padding.PKCS7(_BLOCK * 8).unpadder()
            plain = decryptor.update(sealed[_BLOCK:]) + decryptor.finalize()
            return unpadder.update(plain) + unpadder.finalize()
        except ValueError as error:
            raise Unreadable("the stored data is not a valid AES-CBC message of this key") from error


class Secretbox:
    def __init__(self, secret: bytes) -> None:
        from nacl.secret import SecretBox

        self._box = SecretBox(secret)

    def seal(self, value: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(_SECRETBOX_NONCE)
        return bytes(self._box.encrypt(value, nonce))

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            return self._box.decrypt(sealed[_SECRETBOX_NONCE:], sealed[:_SECRETBOX_NONCE])
        except (CryptoError, TypeError, ValueError) as error:
            raise Unreadable("the stored data is not a valid secretbox message of this key") from error


class Provider(Protocol):
    prefix: bytes

    def seal(self, value: bytes, key: str) -> bytes: ...

    def open(self, stored: bytes, key: str) -> Opened:
        """`stored` begins with the prefix. Raises Unreadable."""
        ...


class Keyed:
    """A provider with named keys: the first writes, all read."""

    def __init__(self, name: str, shown: str, keys: Sequence[tuple[str, KeyCipher]]) -> None:
        self.prefix = PREFIX + f"{name}:v1:".encode()
        self._shown = shown
        self._keys = [(f"{key}:".encode(), cipher) for key, cipher in keys]

    def seal(self, value: bytes, key: str) -> bytes:
        name, cipher = self._keys[0]
        return self.prefix + name + cipher.seal(value, key.encode())

    def open(self, stored: bytes, key: str) -> Opened:
        rest = stored[len(self.prefix) :]
        failed: Unreadable | None = None
        for n, (name, cipher) in enumerate(self._keys):
            if rest.startswith(name):
                try:
                    return Opened(cipher.open(rest[len(name) :], key.encode()), n > 0)
                except Unreadable as error:  # two keys may share a name: the other may fit
                    failed = error
        raise failed or Unreadable(f"no matching key was found for the provided {self._shown} transformer")


class Identity:
    prefix = b""

    def seal(self, value: bytes, key: str) -> bytes:
        return value

    def open(self, stored: bytes, key: str) -> Opened:
        if stored.startswith(PREFIX):
            raise Unreadable("identity transformer tried to read encrypted data")
        return Opened(stored, False)


# provider -> (sizes of a key in bytes, cipher, what upstream's messages call it)
_CIPHERS: dict[str, tuple[tuple[int, ...], Callable[[bytes], KeyCipher], str]] = {
    "aesgcm": ((16, 24, 32), Gcm, "AES"),
    "aescbc": ((16, 24, 32), Cbc, "AES"),
    "secretbox": ((32,), Secretbox, "Secretbox"),
}
_EXPECTED = "provider does not contain any of the expected providers: aesgcm, aescbc, secretbox, identity"


def provider_of(fields: Fields) -> Provider:
    """One item of `providers`. Raises ConfigurationError."""
    named = [name for name in (*_CIPHERS, "identity", "kms") if fields.has(name)]
    if not named:
        raise ConfigurationError(f"{fields.path}: {_EXPECTED}")
    if len(named) > 1:
        raise ConfigurationError(
            f"{fields.path}: more than one provider specified in a single element, should split into different "
            "list elements"
        )
    name = named[0]
    if name == "kms":
        raise ConfigurationError(
            f"{fields.path}.kms: key management services are not supported; use aesgcm or secretbox"
        )
    config = fields.object(name)
    assert config is not None
    fields.done()
    if name == "identity":
        config.done()
        return Identity()
    sizes, cipher, shown = _CIPHERS[name]
    keys = [_key(item, sizes) for item in config.objects("keys")]
    config.done()
    if not keys:
        raise ConfigurationError(f"{config.path}.keys: Required value: at least one keys is required")
    return Keyed(name, shown, [(key, cipher(secret)) for key, secret in keys])


def _key(fields: Fields, sizes: Sequence[int]) -> tuple[str, bytes]:
    name = fields.text("name", required=True)
    encoded = fields.text("secret", required=True)
    fields.done()
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(f"{fields.path}.secret: secrets must be base64 encoded") from error
    if len(secret) not in sizes:
        shown = " ".join(map(str, sizes))
        raise ConfigurationError(
            f"{fields.path}.secret: secret is not of the expected length, got {len(secret)}, expected one of [{shown}]"
        )
    return name, secret
