"""Which pod is next: an active heap by priority and age, a back-off heap, and those that wait for a change.

As upstream's scheduling queue: a pod that fits nowhere waits until an event may have helped it, then backs off 1 s,
doubling to 10 s, before it is tried again; one that never fits therefore never starves others. Pods that wait alike
(same shape, refused by the same plugins) are asked about once an event. Pure: time is passed in.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from shirube.scheduler.pod import PodInfo, Shape

_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 10.0
_LEFTOVER_SECONDS = 300.0  # nobody waits for an event longer than this

Refusal = frozenset[str]  # the plugins that refused
Helps = Callable[[PodInfo, Refusal], bool]


class SchedulingQueue:
    def __init__(self, first_backoff: float = _FIRST_BACKOFF, longest_backoff: float = _LONGEST_BACKOFF) -> None:
        self._first, self._longest = first_backoff, longest_backoff
        self._infos: dict[str, PodInfo] = {}  # by key, whatever the state
        self._active: list[tuple[int, int, str, PodInfo]] = []
        self._waiting: dict[str, tuple[Shape, Refusal]] = {}
        self._alike: dict[tuple[Shape, Refusal], dict[str, float]] = {}  # -> key -> since when
        self._backing_off: dict[str, float] = {}  # key -> until when
        self._backoffs: list[tuple[float, str]] = []
        self._attempts: dict[str, int] = {}
        self._tried_at: dict[str, float] = {}
        self._count = itertools.count()
        self.events = 0  # how many there were: whoever decides slowly sees whether one came meanwhile

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, key: str) -> bool:
        return key in self._infos

    def known(self, key: str) -> PodInfo | None:
        """The queued pod of this key, as it was last put."""
        return self._infos.get(key)

    def attempts(self, key: str) -> int:
        return self._attempts.get(key, 0)

    def put(self, info: PodInfo, now: float) -> None:
        """A new pod, or a changed one: it becomes active."""
        known = self._infos.get(info.key)
        if known is not None and known.uid != info.uid:
            self.remove(info.key)
        self._infos[info.key] = info
        self._stop_waiting(info.key)
        if info.key not in self._backing_off:
            self._activate(info)

    def replace(self, info: PodInfo) -> None:
        """The same pod with something new in it that is no reason to try it earlier."""
        self._infos[info.key] = info

    def remove(self, key: str) -> None:
        self._stop_waiting(key)
        for table in (self._infos, self._backing_off, self._attempts, self._tried_at):
            table.pop(key, None)

    def pop(self, now: float) -> PodInfo | None:
        """The next pod to place; None when there is none. It is tried: give it back with `failed` or `remove` it."""
        while self._backoffs and self._backoffs[0][0] <= now:
            until, key = heapq.heappop(self._backoffs)
            if self._backing_off.get(key) == until:
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

    def failed(self, info: PodInfo, now: float, refused_by: Refusal | None) -> None:
        """It fits nowhere now (`refused_by`: waits for an event that may help), or something went wrong (None: it is
        tried again after its back-off)."""
        known = self._infos.get(info.key)
        if known is None or known.uid != info.uid:
            return
        if refused_by is not None:
            group = (known.shape, refused_by)
            self._waiting[info.key] = group
            self._alike.setdefault(group, {})[info.key] = now
        else:
            self._back_off(info.key, now + self._backoff(info.key))

    def wake(self, now: float, helps: Helps, concerned: Refusal | None = None) -> int:
        """An event: those that it may help are tried again when their back-off is over. How many.

        `concerned`: only pods that one of these plugins refused are asked about; None: all.
        """
        self.events += 1
        woken = 0
        for group in [g for g in self._alike if concerned is None or not concerned.isdisjoint(g[1])]:
            keys = self._alike[group]
            info = self._infos[next(iter(keys))]
            if helps(info, group[1]):
                for key in list(keys):
                    self._stop_waiting(key)
                    self._back_off(key, max(now, self._tried_at.get(key, now) + self._backoff(key)))
                    woken += 1
        return woken

    def next_wake(self, now: float) -> float | None:
        """Seconds until something may become active by time alone; None when only an event can."""
        moments = [self._backoffs[0][0]] if self._backoffs else []
        # The first of a group waits longest.
        moments += [next(iter(keys.values())) + _LEFTOVER_SECONDS for keys in self._alike.values()]
        return max(0.0, min(moments) - now) if moments else None

    def flush_leftovers(self, now: float) -> None:
        late = [k for keys in self._alike.values() for k, since in keys.items() if since + _LEFTOVER_SECONDS <= now]
        for key in late:
            self._stop_waiting(key)
            self._activate(self._infos[key])

    def _stop_waiting(self, key: str) -> None:
        group = self._waiting.pop(key, None)
        if group is None:
            return
        keys = self._alike[group]
        del keys[key]
        if not keys:
            del self._alike[group]

    def _activate(self, info: PodInfo) -> None:
        heapq.heappush(self._active, (-info.priority, next(self._count), info.key, info))

    def _back_off(self, key: str, until: float) -> None:
        self._backing_off[key] = until
        heapq.heappush(self._backoffs, (until, key))

    def _backoff(self, key: str) -> float:
        attempts = max(self._attempts.get(key, 1), 1)
        return float(min(self._first * 2 ** min(attempts - 1, 30), self._longest))
