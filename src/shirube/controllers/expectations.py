"""Writes that the cache has not shown yet.

A controller that has just made three pods and is called again before its informer has seen them would make
three more. It therefore expects what it has done, and does not act on a key until the informer has shown it
all, or five minutes have passed (an event may have been lost, e.g. the pod was gone before it was seen).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shirube.foundation.clock import SYSTEM, Clock

_TIMEOUT_SECONDS = 300.0


@dataclass(slots=True)
class _Expected:
    at: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._expected: dict[str, _Expected] = {}

    def _of(self, key: str) -> _Expected:
        expected = self._expected.setdefault(key, _Expected(self._clock.monotonic()))
        expected.at = self._clock.monotonic()
        return expected

    def expect_creations(self, key: str, count: int) -> None:
        expected = self._of(key)
        expected.creations = max(expected.creations, 0) + count

    def expect_deletions(self, key: str, uids: Iterable[str]) -> None:
        self._of(key).deletions.update(uids)

    def creation_observed(self, key: str, count: int = 1) -> None:
        """Seen by the informer, or failed and never to be seen."""
        if expected := self._expected.get(key):
            expected.creations -= count

    def deletion_observed(self, key: str, uid: str) -> None:
        if expected := self._expected.get(key):
            expected.deletions.discard(uid)

    def satisfied(self, key: str) -> bool:
        expected = self._expected.get(key)
        if expected is None:
            return True
        if expected.creations <= 0 and not expected.deletions:
            return True
        return self._clock.monotonic() - expected.at > _TIMEOUT_SECONDS

    def forget(self, key: str) -> None:
        self._expected.pop(key, None)
