"""A simulation's history: one number for everything that was ever committed, in order.

Two runs are the same when every commit of theirs was: same revision, key and bytes. `digest` says so cheaply for
a hundred thousand commits; `lines` (kept only when asked for) shows where two runs part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from shirube.storage.types import Event


class History:
    def __init__(self, *, keep: bool = False) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines: list[str] | None = [] if keep else None
        self.commits = 0

    def __call__(self, events: Sequence[Event]) -> None:
        """For `MemoryStorage(on_commit)`."""
        self.commits += 1
        for event in events:
            head = f"{event.revision} {event.kind} {event.key} "
            self._hash.update(head.encode())
            self._hash.update(event.value)
            if self.lines is not None:
                self.lines.append(head + event.value.decode(errors="replace"))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
