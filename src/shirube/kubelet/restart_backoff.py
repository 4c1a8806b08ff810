"""How long a crashing container waits: 10 s, doubled at each crash to 300 s, forgotten after ten quiet minutes.

The first crash is free: a container is restarted at once and only the next crash waits. One record a
container and spec; times are wall-clock seconds, because the runtime tells when a container ended.
Follows upstream's `flowcontrol.Backoff` as the kubelet uses it.
"""

from __future__ import annotations

from typing import NamedTuple

INITIAL, MAXIMUM = 10.0, 300.0
FORGET_AFTER = 2 * MAXIMUM

Key = tuple[str, str, str]  # pod UID, container name, container hash (or image)


class _Entry(NamedTuple):
    delay: float
    updated: float


class RestartBackoff:
    def __init__(self, initial: float = INITIAL, maximum: float = MAXIMUM) -> None:
        self._initial = initial
        self._maximum = maximum
        self._entries: dict[Key, _Entry] = {}

    def delay(self, key: Key) -> float:
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def until(self, key: Key, ended: float) -> float:
        """When what ended at `ended` may start again: a time that may be in the past."""
        entry = self._entries.get(key)
        if entry is None or ended - entry.updated > FORGET_AFTER:
            return ended
        return ended + entry.delay

    def next(self, key: Key, now: float) -> None:
        """It is started again now: the wait after its next end is longer."""
        entry = self._entries.get(key)
        if entry is None or now - entry.updated > FORGET_AFTER:
            self._entries[key] = _Entry(self._initial, now)
        else:
            self._entries[key] = _Entry(min(entry.delay * 2, self._maximum), now)

    def forget(self, pod_uid: str) -> None:
        for key in [key for key in self._entries if key[0] == pod_uid]:
            del self._entries[key]
