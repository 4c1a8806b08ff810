"""All volumes of a pod: set up before its containers, kept up to date, removed after them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.foundation import log
from shirube.kubelet import pod as pods
from shirube.kubelet.object_watches import TRUST, ObjectWatches
from shirube.kubelet.volumes import kernel_mounts, payload
from shirube.kubelet.volumes.atomic_writer import UnsafePath
from shirube.kubelet.volumes.table import LIVE_TYPES, VOLUME_TYPES, volume_type
from shirube.kubelet.volumes.volume import ClaimNotReady, Host, Made, Request, VolumeError

_logger = log.get("kubelet.volumes")


class PodVolumes:
    def __init__(self, host: Host) -> None:
        self._host = host

    async def set_up(
        self, pod: pods.Pod, pod_ips: tuple[str, ...], max_age: float = 0.0, live_only: bool = False
    ) -> dict[str, Made]:
        """Where each volume is on the node. Raises VolumeError naming the first that cannot be made."""
        wanted = [
            volume for volume in pod["spec"].get("volumes") or () if not live_only or volume_type(volume) in LIVE_TYPES
        ]
        made = await asyncio.gather(*(self._one(pod, volume, pod_ips, max_age) for volume in wanted))
        return {volume["name"]: one for volume, one in zip(wanted, made, strict=True)}

    async def _one(self, pod: pods.Pod, volume: Mapping[str, Any], pod_ips: tuple[str, ...], max_age: float) -> Made:
        name, kind = volume["name"], volume_type(volume)
        plugin = VOLUME_TYPES.get(kind)
        if plugin is None:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {kind} is not supported yet')
        try:
            return await plugin(self._host, Request(pod, volume, pod_ips, max_age))
        except ClaimNotReady:
            raise
        except (VolumeError, UnsafePath, ApiError, OSError) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error

    def has_live(self, pod: pods.Pod) -> bool:
        return any(volume_type(v) in LIVE_TYPES for v in pod["spec"].get("volumes") or ())

    def follow(self, pod: pods.Pod, watches: ObjectWatches) -> None:
        """Hear at once of changes of what the pod's volumes show."""
        volumes = pod["spec"].get("volumes") or ()
        found = {reference for v in volumes for reference in payload.references(v)}
        if any(payload.trust_sources(v) for v in volumes):
            found.add(TRUST)
        watches.follow(pods.uid(pod), pods.namespace(pod), found)

    async def remove(self, pod_uid: str) -> None:
        """Unmount and delete everything of the pod below its directory. Safe to repeat."""
        top = self._host.paths.pod(pod_uid)
        try:
            kernel_mounts.unmount_all(top)
        except OSError as error:
            # Never delete what may be somebody's data seen through a mount.
            _logger.warning("cannot unmount a volume", path=str(top), error=str(error))
            return
        if self._host.image_volumes is not None:
            await self._host.image_volumes.forget(pod_uid)
        for part in ("volumes", "volume-subpaths"):
            await _remove_tree(top / part)
        self._host.tokens.forget(pod_uid)

    async def remove_directory(self, pod_uid: str) -> None:
        """Everything that is left of a pod that is gone."""
        await self.remove(pod_uid)
        await _remove_tree(self._host.paths.pod(pod_uid))


async def _remove_tree(top: Path) -> None:
    # In a thread: containers may have filled it with anything.
    if os.path.lexists(top):  # noqa: ASYNC240 - one stat
        await asyncio.to_thread(shutil.rmtree, top, True)
