"""Time, passed in: components take a `Clock`, so that tests and the simulation can own it.

Sleeping is `asyncio.sleep` (the simulation runs on an event loop with virtual time); only the calendar
and the stopwatch come from here.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    # The functions themselves: a request asks some forty times what time it is.
    now = staticmethod(time.time)  # noqa: TID251 - the one place
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until it is told to advance. For tests."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds


SYSTEM = SystemClock()


def rfc3339(seconds: float) -> str:
    """`metav1.Time`: whole seconds, `2026-01-02T03:04:05Z`."""
    return _rfc3339(math.floor(seconds))


@lru_cache(maxsize=256)  # thousands of objects are made within a second
def _rfc3339(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def rfc3339_micro(seconds: float) -> str:
    """`metav1.MicroTime`: `2026-01-02T03:04:05.000006Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_day(seconds: float) -> str:
    """`2026-01-02`. Days of that form compare as text."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def parse_utc_day(text: str) -> float:
    """When a day began; raises ValueError for any other form, also another one of ISO 8601."""
    begun = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    if begun.date().isoformat() != text:
        raise ValueError(f"{text!r} is no day of the form YYYY-MM-DD")
    return begun.timestamp()


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time with any offset and fraction; raises ValueError."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"time {text!r} has no zone")
    return when.timestamp()
