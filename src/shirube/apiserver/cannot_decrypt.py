"""A stored value that cannot be decrypted: what the watch caches and `handle` need to know of encryption."""

from __future__ import annotations

from shirube.storage.types import StorageError


class CannotDecrypt(StorageError):
    """A stored value that no configured provider can read; the text names the storage key, never a secret."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f'unable to transform key "{key}": {why}')
        self.key = key
