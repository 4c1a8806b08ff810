"""The checkpoint thread: carries what is in the log over to the database file, beside the commits.

SQLite would do it within the commit that makes the log too long, and 32 writers would wait for 8 MB to reach the disk.
Here the commit thread only says that the log has grown. This thread then copies what it can on a connection of its own
(a "passive" checkpoint waits for nobody), and asks the commit thread for the rest, a few pages, at a moment when it
does not write: only then has everything been carried over, and the next commit begins the log from its start again.
When commits come faster than that, the log may grow to `LIMIT_PAGES`; then the commit thread carries over alone.

A failed checkpoint harms nothing: what is in the log is durable. It is tried again when the log has grown further.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from shirube.foundation import log
from shirube.storage.sqlite_file import connect, explain

PAGES = 1024  # 8 MB of log
LIMIT_PAGES = 16 * PAGES

_logger = log.get("storage")


class Checkpoints:
    def __init__(self, path: Path, rest: Callable[[Callable[[sqlite3.Connection], None]], None]) -> None:
        """`rest(work)` has `work` done by the commit thread between two groups."""
        self._path = path
        self._rest = rest
        self._wanted = threading.Event()
        self._ended = False
        self._pages = 0  # about what was logged since the last time; of the commit thread
        self._under_way = False
        self._thread = threading.Thread(target=self._run, name="shirube-checkpoint", daemon=True)
        self._thread.start()

    def grown(self, connection: sqlite3.Connection, rows: int, size: int) -> None:
        """In the commit thread, after a group of so many rows and bytes is answered. Does not fail."""
        # Each row dirties at most a page of the index, and rows are appended one after the other.
        self._pages += (size >> 13) + rows + 2
        if self._pages >= LIMIT_PAGES:
            self._finish(connection)
        elif self._pages >= PAGES and not self._under_way:
            self._under_way = True
            self._wanted.set()

    def _finish(self, connection: sqlite3.Connection) -> None:
        """In the commit thread: what is left."""
        self._pages = 0
        self._under_way = False
        try:
            _carry_over(connection)
        except sqlite3.Error as error:
            self._complain(error)

    def _complain(self, error: sqlite3.Error) -> None:
        _logger.warning("cannot shorten the log yet", error=str(explain(error, self._path, "write")))

    def stop(self) -> None:
        """Blocks until a running checkpoint is done."""
        self._ended = True
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                if self._ended:
                    return
                try:
                    if connection is None:
                        connection = connect(self._path, checkpoints=True)
                    _carry_over(connection)
                except sqlite3.Error as error:
                    self._complain(error)
                self._rest(self._finish)
        finally:
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()


def _carry_over(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
