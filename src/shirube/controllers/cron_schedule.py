"""Cron expressions in a time zone: which times lie between two moments.

The API's own reading of the five fields decides what they mean; `cronsim` walks the times on a clock's face;
descriptors (`@hourly`, `@every 90m`) are read here. A time is due whenever the clock in that zone shows it, as upstream
has it (and Vixie cron has not): one that is skipped when clocks go forward is not, one that comes twice when they go
back is due twice.
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from shirube.api.validation.cron import explicit_fields, schedule_error

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NEAR = timedelta(hours=3)  # no clock is put back by more
_DURATION = re.compile(r"([0-9.]+)(h|ms|us|µs|ns|m|s)")


class UnknownTimeZone(ValueError):
    pass


class UnparseableSchedule(ValueError):
    pass


class Schedule:
    """Times are seconds since the epoch."""

    def __init__(self, text: str, time_zone: str | None = None) -> None:
        self._every, self.never = 0.0, False
        text = text.strip()
        if text.startswith(("TZ=", "CRON_TZ=")):  # of the days before there was a field for it
            prefix, _, text = text.partition(" ")
            time_zone = time_zone or prefix.partition("=")[2]
        try:
            self.zone = ZoneInfo(time_zone) if time_zone else UTC
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UnknownTimeZone(f"unknown time zone {time_zone}") from error
        if text.startswith("@every "):
            parts = _DURATION.findall(text[7:])
            if not parts or "".join(n + u for n, u in parts) != text[7:].strip():
                raise UnparseableSchedule(f"failed to parse duration {text}")
            self._every = max(float(int(sum(float(n) * _UNITS[u] for n, u in parts))), 1.0)
            return
        if wrong := schedule_error(text):
            raise UnparseableSchedule(wrong)
        self._fields = " ".join(explicit_fields(_DESCRIPTORS.get(text, text)))
        try:
            CronSim(self._fields, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError:
            self.never = True  # right, but of a day that no month has

    def _shown(self, at: float) -> datetime:
        """What the clock shows then."""
        return datetime.fromtimestamp(at, self.zone).replace(tzinfo=None)

    def _moments(self, shown: datetime) -> list[float]:
        """When the clock shows that: once, twice when it was put back, never when it was put forward past it."""
        either = (shown.replace(tzinfo=self.zone, fold=fold).timestamp() for fold in (0, 1))
        return sorted({at for at in either if self._shown(at) == shown})

    def _put_back(self, since: float, until: float) -> bool:
        return self._shown(until) - self._shown(since) < timedelta(seconds=until - since)

    def _nearest(self, times: Iterator[datetime], between: tuple[float, float], enough: timedelta) -> Iterator[float]:
        """The moments of those times, as long as they may matter: of the first that has any, and of those that are
        shown so much away from it, as one that comes twice may be nearer."""
        first: datetime | None = None
        for shown in times:
            if first is not None and abs(shown - first) > enough:
                return
            for at in self._moments(shown):
                if between[0] < at <= between[1]:
                    first = first or shown
                    yield at
            if first is not None and not enough:
                return

    def after(self, at: float) -> float | None:
        """The first time later than `at`; None when there never is one."""
        if self._every:
            return float(int(at)) + self._every
        if self.never:
            return None
        back = _NEAR if self._put_back(at, at + _NEAR.total_seconds()) else timedelta()
        times = CronSim(self._fields, self._shown(at) - back)
        return min(self._nearest(times, (at, math.inf), 2 * back), default=None)

    def latest(self, since: float, now: float) -> float | None:
        """The last time later than `since` and not later than `now`."""
        if self._every:
            count = int((now - since) // self._every)
            return float(int(since)) + count * self._every if count > 0 else None
        if self.never:
            return None
        back = _NEAR if self._put_back(now - _NEAR.total_seconds(), now) else timedelta()
        # Backwards from the next second, as the present moment may itself be one.
        times = CronSim(self._fields, self._shown(float(int(now)) + 1) + back, reverse=True)
        nearest = itertools.takewhile(lambda shown: shown >= self._shown(since) - _NEAR, times)
        return max(self._nearest(nearest, (since, now), 2 * back), default=None)

    def missed(self, since: float, now: float, limit: int = 101) -> int:
        """How many times lie in that span; counts no further than `limit`."""
        if self._every:
            return min(int((now - since) // self._every), limit)
        count, at = 0, self.after(since)
        while at is not None and at <= now and count < limit:
            count, at = count + 1, self.after(at)
        return count
