"""The file that a backup is: every key with its value at one revision, whatever kept them.

Compressed with gzip; inside: a line that says what it is, a line of JSON (the revision), then for each key the lengths
of key and value, its create and its last revision, key, value; a key of length 0 ends them, followed by their number
and the SHA-256 of everything before. A file that is cut short, changed or not one of these is refused before anything
is written with it. Values are as the store has them: encrypted at rest stays encrypted.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from shirube.storage.types import KeyValue, StorageError

_MAGIC = b"shirube backup 1\n"
_RECORD = struct.Struct(">IIQQ")
_END = struct.Struct(">Q32s")
_LONGEST = 64 << 20  # bytes of a key or value; more is a damaged file


class Contents(NamedTuple):
    revision: int
    keys: int


def write(path: Path, revision: int, items: Iterable[KeyValue]) -> Contents:
    """Mode 0600 (it holds every Secret), by rename: a backup that fails leaves what was there. Raises StorageError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    keys = 0
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", filename="", compresslevel=1, mtime=0) as packed:
                out = _Summed(cast("IO[bytes]", packed))
                out.write(_MAGIC + json.dumps({"revision": revision}).encode() + b"\n")
                for item in items:
                    key = item.key.encode()
                    head = _RECORD.pack(len(key), len(item.value), item.create_revision, item.mod_revision)
                    out.write(head + key + item.value)
                    keys += 1
                out.write(_RECORD.pack(0, 0, 0, 0))
                packed.write(_END.pack(keys, out.sum.digest()))
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(part, path)
    except OSError as error:
        raise StorageError(f"cannot write the backup {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return Contents(revision, keys)


def check(path: Path) -> Contents:
    """Read all of it; raises StorageError when it is not whole."""
    keys = sum(1 for _ in read(path))
    with _opened(path) as file:
        return Contents(_head(file, path), keys)


def read(path: Path) -> Iterator[KeyValue]:
    """Its keys in order. What is wrong with the file may only be found at its end: `check` it first."""
    with _opened(path) as raw:
        try:
            _head(raw, path)
            raw.seek(0)
            yield from _records(raw, path)
        except EOFError as error:
            raise StorageError(f"cannot use the backup {path}: it is cut short; take another one") from error
        except (OSError, zlib.error, UnicodeDecodeError) as error:
            raise _damaged(path, str(error)) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise StorageError(f"cannot read the backup {path}: {error.strerror}") from error
    with raw, gzip.GzipFile(fileobj=raw, mode="rb") as packed:
        yield cast("IO[bytes]", packed)


def _head(file: IO[bytes], path: Path) -> int:
    """The revision."""
    try:
        magic = file.readline(100)
    except gzip.BadGzipFile:
        magic = b""
    if magic != _MAGIC:
        raise StorageError(f"cannot use {path}: it is not a backup made by `shirube backup`, or of another version")
    try:
        return int(json.loads(file.readline(1000))["revision"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "its head cannot be read") from error


def _records(packed: IO[bytes], path: Path) -> Iterator[KeyValue]:
    file = _Summed(packed)
    file.take(len(_MAGIC))
    while file.take(1) != b"\n":
        pass
    keys = 0
    while True:
        key_size, value_size, create, modified = _RECORD.unpack(file.take(_RECORD.size))
        if key_size == 0:
            break
        if key_size > _LONGEST or value_size > _LONGEST:
            raise _damaged(path, "a length is out of range")
        key = file.take(key_size).decode()
        yield KeyValue(key, file.take(value_size), create, modified)
        keys += 1
    expected = file.sum.digest()
    if _END.unpack(_exactly(packed, _END.size)) != (keys, expected):
        raise _damaged(path, "its checksum does not fit")
    packed.read(1)  # gzip checks its own sum at the end


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _damaged(path: Path, how: str) -> StorageError:
    return StorageError(f"cannot use the backup {path}: it is damaged ({how}); take another one")


class _Summed:
    """A file, and the sum of what went through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.sum.update(data)
        self._file.write(data)

    def take(self, size: int) -> bytes:
        data = _exactly(self._file, size)
        self.sum.update(data)
        return data
