"""The ConfigMaps and Secrets that this node's pods use, each read from the API when it is old.

A pod that starts reads afresh. What volumes of running pods show is followed by `object_watches` and answered from what
was heard last; should a watch be broken, volumes still follow within `REFRESH` seconds. Objects that nobody asked for
lately are forgotten. When the API server is away the last answer serves.
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
_FOLLOWED = 300.0  # seconds after which even a followed object is read again
KINDS = {"configmaps": CONFIGMAPS, "secrets": SECRETS}

Reference = tuple[str, str]  # (plural, name)


@dataclass(slots=True)
class _Known:
    obj: Mapping[str, Any] | None
    read_at: float
    used_at: float
    followed: bool = False  # a watch tells of every change


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
            settled = known.followed or (known.obj is not None and known.obj.get("immutable"))
            if now - known.read_at <= (_FOLLOWED if max_age and settled else max_age):
                return known.obj
        try:
            obj: Mapping[str, Any] | None = await self._client.get(KINDS[kind], name, namespace)
        except ApiError as error:
            if error.code == 404:
                obj = None
            elif known is not None and error.code >= 500:
                return known.obj
            else:
                raise
        # A watch may have told of something newer while the answer was on its way.
        current = self._known.get(key)
        if current is known or current is None or (current.obj is not None and not _is_older(obj, current.obj)):
            self._known[key] = _Known(obj, now, now, current is not None and current.followed)
        return obj

    def heard(self, key: tuple[str, str, str], obj: Mapping[str, Any] | None) -> bool:
        """A watch told of the object's state; whether that is news."""
        known, now = self._known.get(key), self._clock.monotonic()
        if known is not None and _is_older(obj, known.obj):
            return False
        self._known[key] = _Known(obj, now, now, followed=True)
        return known is None or _version(obj) != _version(known.obj)

    def unfollow(self, key: tuple[str, str, str]) -> None:
        if (known := self._known.get(key)) is not None:
            known.followed = False

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


def _version(obj: Mapping[str, Any] | None) -> str:
    return "" if obj is None else str(obj["metadata"].get("resourceVersion", ""))


def _is_older(obj: Mapping[str, Any] | None, than: Mapping[str, Any] | None) -> bool:
    """Of two states of one object; a deletion has no version, it counts as newest."""
    one, other = _version(obj), _version(than)
    return one.isdigit() and other.isdigit() and int(one) < int(other)
