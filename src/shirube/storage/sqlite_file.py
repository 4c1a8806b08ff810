"""The SQLite file: its schema, its lock, how connections are opened, and its errors in words.

One table, `history`, holds every change that is not compacted. A row's `id` is its revision and its place in the
commit (`revision << 10 | n`), so rows are appended in revision order and need no second index on revisions; the
index on (key, id) answers "this key at that revision" and, being covering, lists keys without touching values.
`meta` holds the compact revision.

WAL with synchronous=FULL: a commit is one fsync of the log; readers never wait for the writer. Pages of 8 KB suit
objects of that size best (measured against 4 and 16 KB).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from shirube.storage.types import StorageError, StorageUnavailable

OP_BITS = 10
MAX_OPS = 1 << OP_BITS
STATEMENT_ROWS = 64  # rows of the largest INSERT that is kept prepared

_APPLICATION_ID = 0x53484952  # "SHIR"
_SCHEMA_VERSION = 1

# The index of the log needs room, too: 32 KB when a store is opened.
_NO_ROOM = (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP)

_SCHEMA = """
CREATE TABLE history (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  create_revision INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX history_key ON history (key, id, create_revision, deleted);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('compact_revision', 0);
"""


def make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {path}: {error.strerror}") from error


class FileLock:
    """Keeps a second process from the same file. The kernel drops it with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        name = f"{path}.lock"
        try:
            self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot open {name}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip()
            os.close(self._fd)
            who = f"process {holder}" if holder else "another process"
            raise StorageUnavailable(f"cannot open {path}: {who} has it open; stop that one first") from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a word about whose it is
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def connect(path: Path, *, writer: bool = False, checkpoints: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode; may be handed from thread to thread, used by one at a time."""
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        timeout=10.0,
        cached_statements=STATEMENT_ROWS + 32,
    )
    connection.execute("PRAGMA synchronous = FULL")
    if writer:
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # see sqlite_checkpoint
    elif checkpoints:
        connection.execute("PRAGMA cache_size = -100")
    else:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA cache_size = -2000")
    return connection


def open_writer(path: Path) -> sqlite3.Connection:
    """The writing connection; makes the file and its schema when they are not there yet."""
    try:
        connection = connect(path, writer=True)
    except sqlite3.Error as error:
        raise explain(error, path, "open") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path, "open") from error
    except StorageError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if tables == 0:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
            f" PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
        )
        os.chmod(path, 0o600)
        return
    if application != _APPLICATION_ID:
        raise StorageError(f"cannot open {path}: it is an SQLite database, but not one of ours; choose another path")
    if version != _SCHEMA_VERSION:
        raise StorageError(
            f"cannot open {path}: it has format {version}, this version reads format {_SCHEMA_VERSION}; "
            "use the version that wrote it"
        )
    connection.execute("PRAGMA journal_mode = WAL")


def explain(error: sqlite3.Error, path: Path, doing: str) -> StorageError:
    """The error with what to do about it."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL or extended in _NO_ROOM:
        advice = "the disk is full; free some space and try again, nothing that was acknowledged is lost"
    elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        advice = f"the file is damaged ({error}); restore a backup, or move it away to start empty"
    elif code == sqlite3.SQLITE_IOERR:
        advice = f"the disk failed ({error}); the outcome of the write is unknown, look at the kernel log"
        if doing != "write":
            advice = f"the disk failed ({error}); look at the kernel log"
    elif code == sqlite3.SQLITE_CANTOPEN:
        advice = "the file cannot be opened; check that the directory exists and its permissions"
    elif code == sqlite3.SQLITE_READONLY:
        advice = "the file is read-only; check its permissions"
    else:
        advice = str(error)
    return StorageError(f"cannot {doing} {path}: {advice}")


def roll_back(connection: sqlite3.Connection) -> None:
    """Leave whatever transaction an error left open."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
