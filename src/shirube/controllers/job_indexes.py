"""Sets of completion indexes as text: `1,3-5,7`, as in `status.completedIndexes`."""

from __future__ import annotations

from collections.abc import Iterable

from shirube.client.rest import Object

ANNOTATION = "batch.kubernetes.io/job-completion-index"
_MOST_DIGITS = 10  # of a 32-bit number


def parse(text: str | None, limit: int | None = None) -> set[int]:
    """The indexes below `limit`. What cannot be read is left out: the text is our own."""
    out: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        start, end = number(first), number(last or first)
        if start is None or end is None:
            continue
        out.update(range(start, end + 1 if limit is None else min(end + 1, limit)))
    return out


def format(indexes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in runs)


def number(text: str) -> int | None:
    """What people may have written where an index or a count should be; None when it is neither."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def index_of(pod: Object) -> int | None:
    return number((pod["metadata"].get("annotations") or {}).get(ANNOTATION, ""))
