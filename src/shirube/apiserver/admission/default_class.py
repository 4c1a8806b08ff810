"""Which object of a kind is the default: the newest that is marked so, and of two the first by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def choose(objects: Iterable[Json], *annotations: str) -> Json | None:
    """The default among `objects`; marked by any of `annotations` being "true"."""
    marked = [
        o for o in objects if any((o["metadata"].get("annotations") or {}).get(key) == "true" for key in annotations)
    ]
    if not marked:
        return None
    newest = max(o["metadata"].get("creationTimestamp", "") for o in marked)
    same = [o for o in marked if o["metadata"].get("creationTimestamp", "") == newest]
    return min(same, key=lambda o: str(o["metadata"]["name"]))
