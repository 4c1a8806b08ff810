"""Which pod is next: an active heap by priority and age, a back-off heap, and those that wait for a change.

As upstream's scheduling queue: a pod that fits nowhere waits until an event may have helped it, then backs off 1 s,
doubling to 10 s, before it is tried again; one that never fits therefore never starves others. Pure: time is passed in.
"""

from __future__ import annotations

import heapq
import itertools

from shirube.scheduler.pod import PodInfo

_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 10.0
_LEFTOVER_SECONDS = 300.0  # nobody waits for an event longer than this


class SchedulingQueue:
    def __init__(self) -> None:
        self._infos: dict[str, PodInfo] = {}  # by key, whatever the state
        self._active: list[tuple[int, int, str, PodInfo]] = []
        self._waiting: dict[str, float] = {}  # key -> since when
        self._backing_off: dict[str, float] = {}  # key -> until when
        self._attempts: dict[str, int] = {}
        self._tried_at: dict[str, float] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, key: str) -> bool:
        return key in self._infos

    def known(self, key: str) -> PodInfo | None:
        """The queued pod of this key, as it was last put."""
        return self._infos.get(key)

    def put(self, info: PodInfo, now: float) -> None:
        """A new pod, or a changed one: it becomes active."""
        known = self._infos.get(info.key)
        if known is not None and known.uid != info.uid:
            self.remove(info.key)
        self._infos[info.key] = info
        self._waiting.pop(info.key, None)
        if info.key not in self._backing_off:
            self._activate(info)

    def remove(self, key: str) -> None:
        for table in (self._infos, self._waiting, self._backing_off, self._attempts, self._tried_at):
            table.pop(key, None)

    def pop(self, now: float) -> PodInfo | None:
        """The next pod to place; None when there is none. It is tried: give it back with `failed` or `remove` it."""
        for key in [k for k, until in self._backing_off.items() if until <= now]:
            del self._backing_off[key]
            self._activate(self._infos[key])
        while self._active:
            *_, info = heapq.heappop(self._active)
            current = self._infos.get(info.key)
            if current is info and info.key not in self._waiting and info.key not in self._backing_off:
                self._attempts[info.key] = self._attempts.get(info.key, 0) + 1
                self._tried_at[info.key] = now
                return info
        return None

    def failed(self, info: PodInfo, now: float, *, wait_for_event: bool) -> None:
        """It fits nowhere now (`wait_for_event`), or something went wrong (it is tried again after its back-off)."""
        if self._infos.get(info.key) is not info:
            return
        if wait_for_event:
            self._waiting[info.key] = now
        else:
            self._backing_off[info.key] = now + self._backoff(info.key)

    def something_changed(self, now: float) -> None:
        """An event that may help: whoever waits is tried again when its back-off is over."""
        for key in self._waiting:
            self._backing_off[key] = max(now, self._tried_at.get(key, now) + self._backoff(key))
        self._waiting.clear()

    def next_wake(self, now: float) -> float | None:
        """Seconds until something may become active by time alone; None when only an event can."""
        moments = list(self._backing_off.values()) + [since + _LEFTOVER_SECONDS for since in self._waiting.values()]
        return max(0.0, min(moments) - now) if moments else None

    def flush_leftovers(self, now: float) -> None:
        for key in [k for k, since in self._waiting.items() if since + _LEFTOVER_SECONDS <= now]:
            del self._waiting[key]
            self._activate(self._infos[key])

    def _activate(self, info: PodInfo) -> None:
        heapq.heappush(self._active, (-info.priority, next(self._count), info.key, info))

    def _backoff(self, key: str) -> float:
        attempts = max(self._attempts.get(key, 1), 1)
        return float(min(_FIRST_BACKOFF * 2 ** (attempts - 1), _LONGEST_BACKOFF))
