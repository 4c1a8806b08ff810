"""Keeps the node alive under pressure: watches what is left, reclaims, and evicts pods one at a time.

Every few seconds the signals are read. A threshold that is met sets its node condition (which stays for a while
after it is over, so that pods do not flap); then what nobody needs is removed (unused images), and only if that
is not enough one pod is evicted, the first of `eviction.rank`, and nothing more until it is gone. Pods over their
own limits of local storage go whatever the node has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.kubelet import eviction
from shirube.kubelet import pod as pods
from shirube.kubelet.eviction import Reading, Threshold
from shirube.kubelet.image_garbage import ImageGarbage
from shirube.kubelet.node_usage import NodeUsage, memory, pids
from shirube.kubelet.pod_registry import PodRegistry
from shirube.kubelet.stats import PodUsage, Snapshot

_logger = log.get("kubelet.pressure")
_IMMEDIATE = 1.0  # seconds that a pod gets when there is no time
_STORAGE_SECONDS = 10.0

Readings = Mapping[str, Reading]
Tell = Callable[[str, str, str], None]  # about the node: type, reason, message


class Evictable(Protocol):
    """`pod_worker.PodWorker`."""

    ended: bool

    def evict(self, reason: str, message: str, grace: float) -> None: ...


async def read_signals(usage: NodeUsage) -> dict[str, Reading]:
    """What is left now. Raises OSError."""
    node_fs, image_fs = await usage.file_systems()
    most, running = pids()
    return {
        eviction.MEMORY: Reading(*memory()),
        eviction.PIDS: Reading(most, most - running),
        eviction.NODE_DISK: Reading(node_fs.capacity, node_fs.available),
        eviction.NODE_INODES: Reading(node_fs.inodes, node_fs.inodes_free),
        eviction.IMAGE_DISK: Reading(image_fs.capacity, image_fs.available),
        eviction.IMAGE_INODES: Reading(image_fs.inodes, image_fs.inodes_free),
    }


class NodePressure:
    def __init__(
        self,
        registry: PodRegistry,
        usage: NodeUsage,
        images: ImageGarbage,
        clock: Clock,
        thresholds: Sequence[Threshold],
        tell: Tell,
        changed: Callable[[], None],
        *,
        transition: float = 300.0,
        most_grace: float = 0.0,
        signals: Callable[[], Awaitable[Readings]] | None = None,
    ) -> None:
        """`transition` is how long a condition outlives its cause, `most_grace` what soft evictions may take at
        most (seconds). `changed` is called when `conditions` changed."""
        self._registry = registry
        self._usage = usage
        self._images = images
        self._clock = clock
        self._thresholds = thresholds
        self._tell = tell
        self._changed = changed
        self._transition = transition
        self._most_grace = most_grace
        self.signals = signals or (lambda: read_signals(usage))
        self._met_since: dict[Threshold, float] = {}
        self._last_met: dict[str, float] = {}  # condition -> monotonic time
        self._evicting: Evictable | None = None
        self._storage_at = 0.0
        self.conditions: tuple[str, ...] = ()

    async def run(self, period: float) -> None:
        """Look every `period` seconds until cancelled."""
        while True:
            try:
                await self.look()
            except OSError as error:
                _logger.warning("cannot read what the node has left", error=str(error))
            await asyncio.sleep(period)

    async def look(self) -> None:
        """One round."""
        readings = await self.signals()
        acting = self._judge(readings)
        if acting and (self._evicting is None or self._evicting.ended):
            await self._act(acting[0], readings)
        if self._clock.monotonic() >= self._storage_at:
            self._storage_at = self._clock.monotonic() + _STORAGE_SECONDS
            await self.enforce_local_limits()

    # -- thresholds and conditions

    def _judge(self, readings: Readings) -> list[Threshold]:
        """Update the conditions; the thresholds that must be acted on now."""
        now = self._clock.monotonic()
        acting = []
        for threshold in self._thresholds:
            reading = readings.get(threshold.signal)
            reclaiming = threshold in self._met_since
            if reading is None or not threshold.is_met(reading, reclaiming=reclaiming):
                self._met_since.pop(threshold, None)
                continue
            since = self._met_since.setdefault(threshold, now)
            self._last_met[eviction.SIGNALS[threshold.signal][0]] = now
            if threshold.grace is None or now - since >= threshold.grace:
                acting.append(threshold)
        held = tuple(
            condition
            for condition in ("MemoryPressure", "DiskPressure", "PIDPressure")
            if condition in self._last_met and now - self._last_met[condition] <= self._transition
        )
        if held != self.conditions:
            self.conditions = held
            self._changed()
        return acting

    # -- acting

    async def _act(self, threshold: Threshold, readings: Readings) -> None:
        condition, resource = eviction.SIGNALS[threshold.signal]
        self._tell("Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if condition == "DiskPressure":
            await self._images.remove_all_unused()
            readings = await self.signals()
            if not threshold.is_met(readings[threshold.signal], reclaiming=True):
                return
        snapshot = await self._usage.stats.snapshot(disk=condition == "DiskPressure")
        for usage in eviction.rank(threshold.signal, snapshot.pods):
            text = eviction.message(threshold, readings[threshold.signal], usage)
            if self._evict(usage, text, self._grace(threshold, usage.pod)):
                return
        _logger.error("the node is under pressure and there is no pod to evict", signal=threshold.signal)

    def _grace(self, threshold: Threshold, pod: pods.Pod) -> float:
        if threshold.grace is None:
            return _IMMEDIATE
        return min(self._most_grace, float(pods.grace_period(pod))) or _IMMEDIATE

    def _evict(self, usage: PodUsage, text: str, grace: float) -> bool:
        worker: Any = self._registry.worker_of(pods.uid(usage.pod))
        if worker is None or worker.ended:
            return False
        _logger.info("evicting pod", pod=pods.full_name(usage.pod), why=text)
        worker.evict("Evicted", text, grace)
        self._evicting = worker
        return True

    async def enforce_local_limits(self) -> None:
        """Evict the pods that hold more local storage than they may."""
        if not any(_has_local_limits(pod) for pod in self._registry.list()):
            return
        snapshot: Snapshot = await self._usage.stats.snapshot(max_age=_STORAGE_SECONDS / 2)
        for usage in snapshot.pods:
            if text := eviction.over_local_limits(usage):
                self._evict(usage, text, _IMMEDIATE)


def _has_local_limits(pod: pods.Pod) -> bool:
    if any((volume.get("emptyDir") or {}).get("sizeLimit") for volume in pod["spec"].get("volumes") or ()):
        return True
    return any("ephemeral-storage" in ((c.get("resources") or {}).get("limits") or {}) for _, c in pods.containers(pod))
