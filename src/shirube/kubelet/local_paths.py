"""Removes directories of the local-path provisioner whose volume is deleted.

An agent may neither list volumes nor read one that no pod of its node uses, so the provisioner says what is to go:
names of directories in an annotation of the node, which the agent takes away again when they are gone. Only direct
children of the provisioner's directory with a name as it gives them are touched.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES
from shirube.client.rest import Client
from shirube.foundation import log

TO_REMOVE = "shirube.dev/local-paths-to-remove"  # separated by spaces
_NAME = re.compile(r"pvc-[0-9a-f-]{36}_[a-z0-9.-]+_[a-z0-9.-]+")
_RETRY = 5.0
_logger = log.get("kubelet.local_paths")


class LocalPaths:
    def __init__(self, client: Client, node: Callable[[], Mapping[str, Any]], directory: Path) -> None:
        self._client = client
        self._node = node
        self._directory = directory
        self._wake = asyncio.Event()

    def changed(self, node: Any) -> None:
        """The API has a newer version of this node."""
        if names(node):
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._remove()
            except (ApiError, OSError) as error:
                _logger.warning("cannot remove directories of deleted volumes, trying again", error=str(error))
                await asyncio.sleep(_RETRY)
                self._wake.set()

    async def _remove(self) -> None:
        node = self._node()
        for name in names(node):
            if _NAME.fullmatch(name) is None:
                _logger.warning("left alone: not a directory of the local-path provisioner", name=name)
                continue
            path = self._directory / name
            if path.is_dir() and not path.is_symlink():
                # In a thread, and without following links: pods have filled it with anything.
                await asyncio.to_thread(shutil.rmtree, path)
        metadata = node["metadata"]
        if not names(node) or "resourceVersion" not in metadata:
            return
        # Bound to the version that was read: a name that came meanwhile must not be lost.
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": {TO_REMOVE: None}}}
        try:
            await self._client.patch(NODES, metadata["name"], patch)
        except ApiError as error:
            # The newer version wakes us again.
            if error.code != 409:
                raise


def names(node: Mapping[str, Any]) -> list[str]:
    annotations = node["metadata"].get("annotations") or {}
    return str(annotations.get(TO_REMOVE) or "").split()
