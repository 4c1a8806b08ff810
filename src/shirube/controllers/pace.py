"""Pods that become ready one after another are told together.

When many pods of one owner start, each of them would be a write of the owner's status, of its budget's and of its
endpoints, and each of these writes wakes others. `Pace` knows when good news of an object was last written: the first
pod that is ready is told at once, those that follow within a moment with one write at its end. What is lost, or to be
done, is not held back, but for DaemonSets when nodes come and go in crowds.
"""

from __future__ import annotations

from shirube.foundation.clock import SYSTEM, Clock

SECONDS = 0.25
_MANY = 4096


class Pace:
    def __init__(self, clock: Clock = SYSTEM, seconds: float = SECONDS) -> None:
        self._clock, self._seconds = clock, seconds
        self._next: dict[str, float] = {}  # key -> when it may be written again
        self._untold: dict[str, None] = {}  # keys with good news

    def done(self, key: str) -> None:
        """The object was just written, or looked at with all that it has."""
        if key not in self._untold:
            return
        del self._untold[key]
        now = self._clock.monotonic()
        if len(self._next) >= _MANY:
            self._next = {known: at for known, at in self._next.items() if at > now}
        self._next[key] = now + self._seconds

    def left(self, key: str) -> float:
        """Seconds for which the good news that has just come of this object can wait; for `WorkQueue.add_after`."""
        if len(self._untold) >= _MANY:
            self._untold.clear()  # objects that are gone among them: the others are told once more at once
        self._untold[key] = None
        at = self._next.get(key)
        return 0.0 if at is None else max(at - self._clock.monotonic(), 0.0)
