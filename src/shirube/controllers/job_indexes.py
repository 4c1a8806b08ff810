"""Sets of completion indexes as text: `1,3-5,7`, as in `status.completedIndexes`."""

from __future__ import annotations

from collections.abc import Iterable

from shirube.client.rest import Object

ANNOTATION = "batch.kubernetes.io/job-completion-index"


def parse(text: str | None, limit: int | None = None) -> set[int]:
    """The indexes below `limit`. What cannot be read is left out: the text is our own."""
    out: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            continue
        stop = int(last or first) + 1
        out.update(range(int(first), stop if limit is None else min(stop, limit)))
    return out


def format(indexes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in runs)


def index_of(pod: Object) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    return int(text) if text.isdigit() else None
