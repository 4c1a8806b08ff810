"""Answers from outside, kept as long as they say and 30 s at most, negative ones too (RFC 2308). No I/O.

Pods ask for names outside over and over, each with every suffix of their search path: without this every one of them
would be a question to the resolvers. The key is the question, the way it came and what the client takes, so an answer
is handed out as it came but for its identity and its lifetimes.
"""

from __future__ import annotations

from collections import OrderedDict

from shirube.foundation.clock import Clock
from shirube.network.dns import wire

_MOST_ENTRIES = 10_000
_MOST_SECONDS = 30
_GOOD = (0, 3)  # NOERROR, NXDOMAIN; failures are not kept


class AnswerCache:
    """Bounded; the longest unused goes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[bytes, bool], tuple[float, bytes, list[int]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, query: bytes, tcp: bool) -> bytes | None:
        key = (query[2:], tcp)
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored, answer, places = entry
        age = int(self._clock.monotonic() - stored)
        left = min(_lifetime(answer, p) for p in places) - age
        if left <= 0 or age >= _MOST_SECONDS:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        aged = bytearray(answer)
        aged[:2] = query[:2]
        for place in places:
            aged[place : place + 4] = (_lifetime(answer, place) - age).to_bytes(4, "big")
        return bytes(aged)

    def put(self, query: bytes, tcp: bool, answer: bytes) -> None:
        if len(answer) < 12 or answer[3] & 0xF not in _GOOD or answer[2] & 0x02:
            return  # failed, or cut off
        places = wire.lifetimes(answer)
        # An empty answer without an SOA says nothing about how long it holds.
        if not places or min(_lifetime(answer, p) for p in places) <= 0:
            return
        self._entries[(query[2:], tcp)] = (self._clock.monotonic(), answer, places)
        if len(self._entries) > _MOST_ENTRIES:
            self._entries.popitem(last=False)


def _lifetime(packet: bytes, place: int) -> int:
    return int.from_bytes(packet[place : place + 4], "big")
