"""Durations as people read them: ``45s``, ``3m10s``, ``5h12m``, ``12d``, ``2y30d``.

Precise while young, rough when old: apimachinery's ``duration.HumanDuration``.
"""

from __future__ import annotations

from shirube.foundation.clock import parse_rfc3339

UNKNOWN = "<unknown>"


def human_duration(seconds: float) -> str:
    """At most two units; a clock that is a second off is forgiven."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * 60:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 3 * 60:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _two(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _two(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def since(timestamp: str | None, now: float) -> str:
    """How long ago an API time was."""
    if not timestamp:
        return UNKNOWN
    try:
        return human_duration(now - parse_rfc3339(timestamp))
    except ValueError:
        return UNKNOWN


def age(obj: dict[str, object], now: float) -> str:
    """How old an object is."""
    metadata = obj.get("metadata")
    return since(metadata.get("creationTimestamp") if isinstance(metadata, dict) else None, now)
