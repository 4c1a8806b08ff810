"""Writes pod statuses to the API: the newest of each pod, only when it changed, never in a worker's way.

One write a pod is under way at a time; what changes meanwhile is written next. While the API server is away
the newest status waits. The write is a strategic merge patch bound to the pod's UID, so that a pod of the same
name made since is not touched, and conditions of other owners stay. What somebody else writes over the node's part
is put right as soon as the node sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet import pod as pods

_logger = log.get("kubelet.status")
_PARALLEL = 10
_RETRY_FIRST, _RETRY_MOST = 0.5, 10.0


@dataclass(slots=True)
class _Entry:
    namespace: str
    name: str
    wanted: Mapping[str, Any]
    written: Mapping[str, Any] | None
    version: int = 0  # of the pod as our last write left it
    task: asyncio.Task[None] | None = None


class StatusWriter:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._entries: dict[str, _Entry] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)

    def set(self, pod: pods.Pod, status: Mapping[str, Any]) -> None:
        """Make this the pod's status in the API, soon."""
        pod_uid = pods.uid(pod)
        entry = self._entries.get(pod_uid)
        if entry is None:
            entry = _Entry(pods.namespace(pod), pods.name(pod), status, _if_same(pod, status))
            self._entries[pod_uid] = entry
        entry.wanted = status
        if entry.version and _version(pod) > entry.version and _if_same(pod, status) is None:
            entry.written = None  # somebody else has written since
        if entry.task is None and not _same(entry.wanted, entry.written):
            entry.task = spawn(self._write(pod_uid, entry), name=f"status {entry.namespace}/{entry.name}")

    async def flush(self, pod_uid: str) -> None:
        """Wait until the pod's last status is written (or the pod is gone)."""
        entry = self._entries.get(pod_uid)
        if entry is not None and entry.task is not None:
            await asyncio.wait([entry.task])

    def forget(self, pod_uid: str) -> None:
        entry = self._entries.pop(pod_uid, None)
        if entry is not None and entry.task is not None:
            entry.task.cancel()

    async def close(self, seconds: float = 1.0) -> None:
        """Give what is under way a moment, then stop."""
        tasks = [e.task for e in self._entries.values() if e.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        await cancel(*tasks)

    async def _write(self, pod_uid: str, entry: _Entry) -> None:
        pause = _RETRY_FIRST
        try:
            while not _same(entry.wanted, entry.written):
                wanted = entry.wanted
                try:
                    async with self._slots:
                        await self._patch(pod_uid, entry, wanted)
                    entry.written, pause = wanted, _RETRY_FIRST
                except ApiError as error:
                    if error.code in (404, 409, 422, 403):
                        # Gone, replaced, or refused for good: the next change tries again.
                        entry.written = wanted
                        if error.code != 404:
                            _logger.warning(
                                "cannot write pod status", pod=f"{entry.namespace}/{entry.name}", error=str(error)
                            )
                        continue
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _RETRY_MOST)
        finally:
            entry.task = None

    async def _patch(self, pod_uid: str, entry: _Entry, wanted: Mapping[str, Any]) -> None:
        body = dict(wanted)
        if "podIPs" in body:
            # podIPs merge by address: say that the list is whole.
            body["podIPs"] = [*body["podIPs"], {"$patch": "replace"}]
        patch = {"metadata": {"uid": pod_uid}, "status": body}
        answer = await self._client.patch(
            PODS, entry.name, patch, namespace=entry.namespace, type="strategic", subresource="status"
        )
        entry.version = _version(answer)


def _version(pod: Mapping[str, Any]) -> int:
    """0 when there is none that can be compared."""
    text = str(pod["metadata"].get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0


def _same(wanted: Mapping[str, Any], written: Mapping[str, Any] | None) -> bool:
    return written is not None and wanted == written


def _if_same(pod: pods.Pod, status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The status, if the API already holds all of it (as after a restart of the agent)."""
    held = pod.get("status") or {}
    return status if all(_holds(held.get(key), value) for key, value in status.items()) else None


def _holds(held: Any, value: Any) -> bool:
    """Whether `held` says what `value` says; null and absent are the same, other owners' conditions pass."""
    if value is None or value == {}:
        return not held
    if isinstance(value, Mapping):
        return isinstance(held, Mapping) and all(_holds(held.get(k), v) for k, v in value.items())
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "type" in value[0]:
        known = {c.get("type"): c for c in held or ()}
        return all(_holds(known.get(c["type"]), c) for c in value)
    if isinstance(value, list):
        return (
            isinstance(held, list)
            and len(held) == len(value)
            and all(_holds(h, v) for h, v in zip(held, value, strict=True))
        )
    return bool(held == value)
