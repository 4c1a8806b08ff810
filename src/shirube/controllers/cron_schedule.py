"""Cron expressions in a time zone: which times lie between two moments.

`cronsim` reads the five fields as Vixie cron does; descriptors (`@hourly`, `@every 90m`) are read here.
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

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
_DURATION = re.compile(r"([0-9.]+)(h|ms|us|µs|ns|m|s)")


class UnknownTimeZone(ValueError):
    pass


class UnparseableSchedule(ValueError):
    pass


class Schedule:
    """Times are seconds since the epoch."""

    def __init__(self, text: str, time_zone: str | None = None) -> None:
        self._every = 0.0
        try:
            self.zone = ZoneInfo(time_zone) if time_zone else UTC
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UnknownTimeZone(f"unknown time zone {time_zone}") from error
        text = text.strip()
        if text.startswith("@every "):
            parts = _DURATION.findall(text[7:])
            if not parts or "".join(n + u for n, u in parts) != text[7:].strip():
                raise UnparseableSchedule(f"failed to parse duration {text}")
            self._every = max(float(int(sum(float(n) * _UNITS[u] for n, u in parts))), 1.0)
            return
        self._fields = _DESCRIPTORS.get(text, text).replace("?", "*")
        try:
            CronSim(self._fields, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise UnparseableSchedule(str(error)) from error

    def _from(self, at: float, *, back: bool = False) -> Iterator[datetime]:
        return CronSim(self._fields, datetime.fromtimestamp(at, self.zone), reverse=back)

    def after(self, at: float) -> float | None:
        """The first time later than `at`; None when there never is one."""
        if self._every:
            return float(int(at)) + self._every
        found = next(self._from(at), None)
        return found.timestamp() if found is not None else None

    def latest(self, since: float, now: float) -> float | None:
        """The last time later than `since` and not later than `now`."""
        if self._every:
            count = int((now - since) // self._every)
            return float(int(since)) + count * self._every if count > 0 else None
        # Backwards from the next second, as the present moment may itself be one.
        found = next(self._from(float(int(now)) + 1, back=True), None)
        return found.timestamp() if found is not None and found.timestamp() > since else None

    def missed(self, since: float, now: float, limit: int = 101) -> int:
        """How many times lie in that span; counts no further than `limit`."""
        if self._every:
            return min(int((now - since) // self._every), limit)
        count = 0
        for at in self._from(since):
            if at.timestamp() > now or count >= limit:
                break
            count += 1
        return count
