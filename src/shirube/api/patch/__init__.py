"""Patches: JSON patch, JSON merge patch, strategic merge patch. One module each, one `apply` each.

`apply` takes plain objects and returns a new one that shares nothing with them, so callers may default and
prune the result in place. What a client got wrong is an `ApiError`: 400 where the patch is malformed, 422
where it does not fit the object. Server-side apply is in `shirube.api.managed_fields`.
"""

from __future__ import annotations

from typing import Any

import orjson


def plain_copy(value: Any) -> Any:
    """A copy of plain data; several times faster than walking it."""
    return orjson.loads(orjson.dumps(value))
