"""Syntax of cron schedules, as batch's CronJob accepts them: five fields, or a name such as ``@hourly``.

Follows the standard parser of robfig/cron, whose messages upstream shows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from zoneinfo import ZoneInfo


@lru_cache(maxsize=256)
def known_zone(name: str) -> bool:
    """Whether the zone is known here; reads one small file, once."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


_MONTHS = {
    m: i for i, m in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {d: i for i, d in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_DURATION = re.compile(r"([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+")


def schedule_error(schedule: str) -> str:
    """Why the text is no schedule; empty when it is one."""
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        zone, _, schedule = schedule.partition(" ")
        if not known_zone(zone.partition("=")[2]):
            return f"provided bad location {zone.partition('=')[2]}: unknown time zone {zone.partition('=')[2]}"
        schedule = schedule.strip()
    if schedule.startswith("@"):
        if schedule in _DESCRIPTORS:
            return ""
        if schedule.startswith("@every "):
            if _DURATION.fullmatch(schedule[7:]):
                return ""
            return f'failed to parse duration {schedule}: time: invalid duration "{schedule[7:]}"'
        return f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for text, (low, high, words) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if error := _range_error(part, low, high, words):
                return error
    return ""


def explicit_fields(schedule: str) -> list[str]:
    """The five fields of a schedule that is right, as lists of numbers; `*` for a field that does not choose.

    Where days of the month and of the week both choose, either is enough; `*/2` does choose."""
    out = []
    for text, (low, high, words) in zip(schedule.split(), _FIELDS, strict=True):
        numbers: set[int] = set()
        free = False
        for part in text.split(","):
            span, slash, step_text = part.partition("/")
            first, dash, last = span.partition("-")
            step = int(step_text) if slash else 1
            start, end = low, high
            if first not in ("*", "?"):
                start = _number(first, words) or 0
                end = (_number(last, words) or 0) if dash else high if slash else start
            elif step == 1:
                free = True
            numbers.update(range(start, end + 1, step))
        out.append("*" if free else ",".join(map(str, sorted(numbers))))
    return out


def _number(text: str, words: dict[str, int]) -> int | None:
    if text.lower() in words:
        return words[text.lower()]
    return int(text) if text.isascii() and text.isdigit() else None


def _range_error(text: str, low: int, high: int, words: dict[str, int]) -> str:
    span, slash, step_text = text.partition("/")
    if "/" in step_text:
        return f"too many slashes: {text}"
    first, dash, last = span.partition("-")
    if first in ("*", "?"):
        start, end = low, high
    else:
        parsed = _number(first, words)
        parsed_end = _number(last, words) if dash else parsed
        if parsed is None or parsed_end is None:
            bad = first if parsed is None else last
            return f'failed to parse int from {bad}: strconv.Atoi: parsing "{bad}": invalid syntax'
        start, end = parsed, parsed_end
        if slash and not dash:
            end = high
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {text}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {text}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {text}"
    if slash:
        step = _number(step_text, {})
        if step is None:
            return f'failed to parse int from {step_text}: strconv.Atoi: parsing "{step_text}": invalid syntax'
        if step == 0:
            return f"step of range should be a positive number: {text}"
    return ""
