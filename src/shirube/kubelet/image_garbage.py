"""Removes images that nobody uses when their file system fills: above the high mark, the longest unused first,
until it is below the low mark.

Never removed: images that a container uses (running or not), pinned ones, the sandbox's, those seen for less than
two minutes, and those that did not come from a registry (no digest: loaded by hand, nothing could bring them back).
Follows https://kubernetes.io/docs/concepts/architecture/garbage-collection/#containers-images.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from typing import Any

import orjson

from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.stats_disk import FileSystem

_logger = log.get("kubelet.images")
_LEAST_AGE = 120.0
_PERIOD = 300.0


@dataclass(slots=True)
class _Seen:
    first: float  # on the monotonic clock, as the next
    used: float


class ImageGarbage:
    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        file_system: Callable[[], Awaitable[FileSystem]],
        tell: Callable[[str, str, str], None],
        *,
        high: int = 85,
        low: int = 80,
        least_age: float = _LEAST_AGE,
        in_volumes: Callable[[], Set[str]] = frozenset,
    ) -> None:
        """`high` and `low` are percentages of the images' file system; a high mark of 100 turns this off."""
        self._runtime = runtime
        self._clock = clock
        self._file_system = file_system
        self._tell = tell
        self._high, self._low = high, low
        self._least_age = least_age
        self._in_volumes = in_volumes  # names of images that volumes of pods show
        self._seen: dict[str, _Seen] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.collect()
            except (CriError, OSError) as error:
                _logger.warning("cannot collect unused images", error=str(error))
            await asyncio.sleep(_PERIOD)

    async def collect(self) -> int:
        """Bytes that were won back. Raises CriError, OSError."""
        unused = await self._look()
        found = await self._file_system()
        if self._high >= 100 or not found.capacity or found.used * 100 < self._high * found.capacity:
            return 0
        wanted = found.used - found.capacity * self._low // 100
        won = await self._remove(unused, wanted)
        if won < wanted:
            text = f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, "
            self._tell("Warning", "FreeDiskSpaceFailed", text + f"but only found {won} bytes eligible to free.")
        return won

    async def remove_all_unused(self) -> int:
        """Under disk pressure nothing is kept that can be pulled again."""
        try:
            return await self._remove(await self._look(), None)
        except CriError as error:
            _logger.warning("cannot remove unused images", error=str(error))
            return 0

    async def _look(self) -> list[Any]:
        """The images that may go, the longest unused first."""
        now = self._clock.monotonic()
        images = (await self._runtime.call("ListImages")).images
        containers = (await self._runtime.call("ListContainers")).containers
        used = {c.image_ref for c in containers} | {c.image.image for c in containers} | self._in_volumes()
        sandbox = await self._sandbox_image()
        free = []
        for image in images:
            names = {image.id, *image.repo_tags, *image.repo_digests}
            seen = self._seen.setdefault(image.id, _Seen(now, 0.0))
            if names & used:
                seen.used = now
            elif not image.pinned and image.repo_digests and sandbox not in names:
                free.append(image)
        for gone in self._seen.keys() - {image.id for image in images}:
            del self._seen[gone]
        old = [image for image in free if now - self._seen[image.id].first >= self._least_age]
        return sorted(old, key=lambda image: (self._seen[image.id].used, self._seen[image.id].first))

    async def _sandbox_image(self) -> str:
        answer = await self._runtime.call("Status", verbose=True)
        try:
            return str(orjson.loads(answer.info.get("config", "{}")).get("sandboxImage", ""))
        except (ValueError, AttributeError):
            return ""

    async def _remove(self, images: list[Any], wanted: int | None) -> int:
        won = 0
        for image in images:
            if wanted is not None and won >= wanted:
                break
            await self._runtime.call("RemoveImage", image={"image": image.id})
            _logger.info("removed an unused image", image=(list(image.repo_tags) or [image.id])[0], size=image.size)
            won += int(image.size)
        return won
