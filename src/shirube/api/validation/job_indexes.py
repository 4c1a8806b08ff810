"""The indexes of an Indexed Job as text: ``1,3-5,7``, in rising order, below the number of completions.

Follows batch's ``validateIndexesFormat`` and its neighbours, whose messages the errors carry.
"""

from __future__ import annotations

from shirube.api.errors import quote


def _number(text: str, completions: int) -> int:
    sign = text[:1] in ("+", "-")
    if not text[sign:].isdigit() or not text.isascii():
        raise ValueError(f"cannot convert string to integer for index: {quote(text)}")
    number = int(text)
    if number >= completions:
        raise ValueError(f"too large index: {quote(text)}")
    return number


def _interval(text: str, completions: int) -> tuple[int, int]:
    limits = text.split("-")
    if len(limits) > 2:
        raise ValueError(
            f"the fragment {quote(text)} violates the requirement that an index interval can have at most two parts "
            "separated by '-'"
        )
    first = _number(limits[0], completions)
    if len(limits) == 1:
        return first, first
    last = _number(limits[1], completions)
    if first >= last:
        raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
    return first, last


def intervals(text: str, completions: int) -> list[tuple[int, int]]:
    """First and last index of every run; ValueError says what is wrong."""
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        first, last = _interval(part, completions)
        if found and found[-1][1] >= first:
            raise ValueError(f"non-increasing order, previous: {found[-1][1]}, current: {first}")
        found.append((first, last))
    return found


def count_indexes(text: str, completions: int) -> int:
    """How many indexes the text names."""
    return sum(last - first + 1 for first, last in intervals(text, completions))


def first_overlap(one: str, other: str, completions: int) -> int | None:
    """The lowest index that both name; texts that are wrong overlap with nothing."""
    try:
        runs, others = intervals(one, completions), intervals(other, completions)
    except ValueError:
        return None
    i = j = 0
    while i < len(runs) and j < len(others):
        (a, b), (c, d) = runs[i], others[j]
        if a <= d and c <= b:
            return max(a, c)
        if a <= c:
            i += 1
        else:
            j += 1
    return None
