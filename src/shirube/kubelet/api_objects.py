"""The ConfigMaps and Secrets that this node's pods use, each read from the API when it is old.

The node authoriser lets an agent read only single objects that its pods name, so there is nothing to list and
one watch an object would cost a connection each. A pod that starts reads afresh; volumes of running pods
follow within `REFRESH` seconds. Objects that nobody asked for lately are forgotten. When the API server is
away the last answer serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, SECRETS
from shirube.client.rest import Client
from shirube.foundation.clock import Clock

REFRESH = 30.0
_FORGET = 600.0
_KINDS = {"configmaps": CONFIGMAPS, "secrets": SECRETS}

Reference = tuple[str, str]  # (plural, name)


@dataclass(slots=True)
class _Known:
    obj: Mapping[str, Any] | None
    read_at: float
    used_at: float


class ApiObjects:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str, str], _Known] = {}

    async def get(self, kind: str, namespace: str, name: str, max_age: float = 0.0) -> Mapping[str, Any] | None:
        """The object, at most `max_age` seconds old; None when there is none. Raises ApiError."""
        key = (kind, namespace, name)
        now = self._clock.monotonic()
        known = self._known.get(key)
        if known is not None:
            known.used_at = now
            # An immutable object never changes; its deletion only matters to pods that start.
            if now - known.read_at <= max_age or (max_age and known.obj and known.obj.get("immutable")):
                return known.obj
        try:
            obj: Mapping[str, Any] | None = await self._client.get(_KINDS[kind], name, namespace)
        except ApiError as error:
            if error.code == 404:
                obj = None
            elif known is not None and error.code >= 500:
                return known.obj
            else:
                raise
        self._known[key] = _Known(obj, now, now)
        return obj

    async def get_all(
        self, namespace: str, references: Iterable[Reference], max_age: float = 0.0
    ) -> dict[Reference, Mapping[str, Any]]:
        """Those of the objects that exist. Raises ApiError."""
        wanted = list(dict.fromkeys(references))
        found = await asyncio.gather(*(self.get(kind, namespace, name, max_age) for kind, name in wanted))
        return {ref: obj for ref, obj in zip(wanted, found, strict=True) if obj is not None}

    def forget_unused(self) -> None:
        limit = self._clock.monotonic() - _FORGET
        for key in [key for key, known in self._known.items() if known.used_at < limit]:
            del self._known[key]
