"""Archives and removes directories of NFS volumes that are deleted, as the NFS provisioner asks.

An agent may neither list volumes nor read one that no pod of its node uses, so the provisioner asks by an annotation of
the node (`shirube.api.nfs_directories`) and reads the answer there. Before the work begins the node is read from the
server, not from the cache: a question that was taken back, because this agent was silent for long, is not worked on.
Each question is worked on in a process of its own, at most four at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shirube.api import nfs_directories as directories
from shirube.api.errors import ApiError
from shirube.api.gvr import NODES
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.kubelet.volumes import nfs_directory
from shirube.kubelet.volumes.network_file_system import on_export
from shirube.kubelet.volumes.volume import VolumeError

_AT_ONCE = 4
_RETRY = 5.0
_EMPTY_SECONDS = 900.0  # what was emptied until then stays so: it goes on when asked again
_ERROR_LENGTH = 600
_logger = log.get("kubelet.nfs_directories")


class NfsDirectories:
    def __init__(self, client: Client, node_name: str, root: Path) -> None:
        self._client = client
        self._name = node_name
        self._root = root
        self._seen: dict[str, directories.Request] = {}
        self._working: set[str] = set()
        self._wake = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def changed(self, node: Mapping[str, Any]) -> None:
        """The API has a newer version of this node."""
        self._seen = directories.requests_of(node)
        if any(not one.answered for one in self._seen.values()):
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for name, one in self._seen.items():
                    if not one.answered and name not in self._working:
                        self._working.add(name)
                        group.create_task(self._work(name), name=f"NFS directory of {name}")

    async def _work(self, name: str) -> None:
        try:
            async with self._places:
                asked = directories.requests_of(await self._client.get(NODES, self._name)).get(name)
                if asked is not None and not asked.answered:
                    await self._answer(name, asked, await self._done(name, asked))
        except (ApiError, OSError) as error:
            _logger.warning("cannot answer for a volume's directory, trying again", volume=name, error=str(error))
        # Either it failed, or the cache does not show the answer yet; then the server does.
        if self._is_open(name):
            await asyncio.sleep(_RETRY)
        self._working.discard(name)
        if self._is_open(name):
            self._wake.set()

    def _is_open(self, name: str) -> bool:
        return name in self._seen and not self._seen[name].answered

    async def _done(self, name: str, asked: directories.Request) -> directories.Request:
        try:
            directory = directories.checked_directory(asked.directory)
            if asked.action not in (directories.DELETE, directories.ARCHIVE) or not asked.share.startswith("/"):
                raise VolumeError(
                    f"cannot {asked.action} a directory of {asked.share}: not a question of a provisioner"
                )
            where = self._root, asked.server, asked.share, asked.mount_options
            what = {"directory": directory, "volume": name, "target": directories.archive_name(directory, name)}
            if asked.action == directories.ARCHIVE:
                await on_export(*where, {**what, "action": nfs_directory.ARCHIVE})
            else:
                await on_export(*where, {**what, "action": nfs_directory.SET_ASIDE})
                await on_export(*where, {**what, "action": nfs_directory.EMPTY}, _EMPTY_SECONDS)
        except (VolumeError, directories.DirectoryError, OSError) as error:
            _logger.warning("cannot remove a volume's directory", volume=name, error=str(error))
            return replace(asked, error=str(error)[:_ERROR_LENGTH])
        return replace(asked, done=True)

    async def _answer(self, name: str, asked: directories.Request, answer: directories.Request) -> None:
        """Unless the question was taken back. Raises ApiError."""
        while True:
            node = await self._client.get(NODES, self._name)
            requests = directories.requests_of(node)
            if requests.get(name) != asked:
                return
            try:
                patch = directories.patch_of(node, {**requests, name: answer})
                await self._client.patch(NODES, self._name, patch)
                return
            except ApiError as error:
                if error.code != 409:  # a conflict: the node has changed in between
                    raise
