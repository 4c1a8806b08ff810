"""Node pressure, decided: which thresholds are met, which conditions hold, which pod goes first. Pure.

A threshold is a signal and the least that must be available, as an amount or a share of the capacity. Pods that
use more than they asked for go first, then the less important, then the larger. Texts are upstream's.
Follows https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shirube.api import quantity
from shirube.kubelet import pod as pods
from shirube.kubelet import qos
from shirube.kubelet.stats import PodUsage

MEMORY, PIDS = "memory.available", "pid.available"
NODE_DISK, NODE_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGE_DISK, IMAGE_INODES = "imagefs.available", "imagefs.inodesFree"

# Signal -> (the condition that it sets, the resource that messages name), most urgent first.
SIGNALS = {
    MEMORY: ("MemoryPressure", "memory"),
    PIDS: ("PIDPressure", "pids"),
    NODE_DISK: ("DiskPressure", "ephemeral-storage"),
    NODE_INODES: ("DiskPressure", "inodes"),
    IMAGE_DISK: ("DiskPressure", "ephemeral-storage"),
    IMAGE_INODES: ("DiskPressure", "inodes"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is of something: bytes, inodes or processes."""

    capacity: int
    available: int


@dataclass(frozen=True, slots=True)
class Threshold:
    signal: str
    text: str  # as given: "100Mi" or "5%"
    grace: float | None = None  # seconds that it must be met for; None acts at once
    reclaim: int = 0  # how much more than the threshold is to be won back

    def least(self, reading: Reading) -> int:
        if self.text.endswith("%"):
            return int(reading.capacity * float(self.text[:-1]) / 100)
        return quantity.value(self.text)

    def is_met(self, reading: Reading, *, reclaiming: bool = False) -> bool:
        """Whether there is too little."""
        more = self.reclaim if reclaiming else 0
        return reading.available < self.least(reading) + more


def thresholds(
    hard: Mapping[str, str],
    soft: Mapping[str, str] | None = None,
    grace: Mapping[str, float] | None = None,
    reclaim: Mapping[str, str] | None = None,
) -> list[Threshold]:
    """Raises ValueError naming what is wrong. "0%" and "0" turn a signal off."""
    reclaim = reclaim or {}
    found = []
    for given, delays in ((hard, None), (soft or {}, grace or {})):
        for signal, text in given.items():
            if signal not in SIGNALS:
                raise ValueError(f"unknown eviction signal {signal!r}: use one of {', '.join(SIGNALS)}")
            if delays is not None and signal not in delays:
                raise ValueError(f"soft eviction threshold {signal!r} has no grace period")
            if not text.endswith("%"):
                quantity.value(text)
            if text.rstrip("%") in ("0", ""):
                continue
            wins = quantity.value(reclaim[signal]) if signal in reclaim else 0
            found.append(Threshold(signal, text, delays[signal] if delays is not None else None, wins))
    order = list(SIGNALS)
    return sorted(found, key=lambda threshold: order.index(threshold.signal))


# -- whom


def rank(signal: str, usages: Iterable[PodUsage]) -> list[PodUsage]:
    """Those that may be evicted for the signal, first the one to go."""
    found = [usage for usage in usages if not is_critical(usage.pod)]

    def key(usage: PodUsage) -> tuple[bool, int, int]:
        used, asked = _used(signal, usage), _requested(signal, usage.pod)
        return (used <= asked, usage.pod["spec"].get("priority") or 0, asked - used)

    return sorted(found, key=key)


def is_critical(pod: pods.Pod) -> bool:
    return pods.is_static(pod) or (pod["spec"].get("priority") or 0) >= 2_000_000_000


def _used(signal: str, usage: PodUsage) -> int:
    if signal == MEMORY:
        return usage.usage.working_set or 0
    if signal == PIDS:
        return usage.usage.processes or 0
    return usage.disk.inodes if signal.endswith("inodesFree") else usage.disk.bytes


def _requested(signal: str, pod: pods.Pod) -> int:
    if signal == MEMORY:
        return qos.pod_total(pod, "requests", "memory") or 0
    if signal in (NODE_DISK, IMAGE_DISK):
        return qos.pod_total(pod, "requests", "ephemeral-storage") or 0
    return 0


def message(threshold: Threshold, reading: Reading, usage: PodUsage) -> str:
    """Why this pod was evicted."""
    resource = SIGNALS[threshold.signal][1]
    counts = threshold.signal == PIDS or threshold.signal.endswith("inodesFree")
    least = threshold.least(reading)

    def shown(value: int) -> str:
        return str(value) if counts else format_bytes(value)

    text = f"The node was low on resource: {resource}. "
    text += f"Threshold quantity: {shown(least)}, available: {shown(reading.available)}. "
    if threshold.signal not in (MEMORY, NODE_DISK, IMAGE_DISK):
        return text
    for each in usage.containers:
        container = pods.container_named(usage.pod, each.record.name)
        used = (each.usage.working_set or 0) if resource == "memory" else each.layer.bytes + each.logs.bytes
        asked = qos.amount((container or {}).get("resources"), "requests", resource) or 0
        if used > asked:
            text += (
                f"Container {each.record.name} was using {format_bytes(used)}, "
                f"request is {format_bytes(asked)}, has larger consumption of {resource}. "
            )
    return text


def format_bytes(value: int) -> str:
    """As a Kubernetes quantity, in the largest binary unit that is exact, else rounded down to Ki."""
    if value < 1024:
        return str(value)
    for unit, size in (("Gi", 1 << 30), ("Mi", 1 << 20)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return f"{value // 1024}Ki"


# -- limits of local storage


def over_local_limits(usage: PodUsage) -> str:
    """Why a pod is over a limit of local storage of its own; "" when it is not."""
    pod = usage.pod
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        used = usage.volumes.get(volume["name"])
        if limit and used is not None and used.bytes > quantity.value(limit) > 0:
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    limits = [qos.amount(c.get("resources"), "limits", "ephemeral-storage") for _, c in pods.containers(pod)]
    if any(limits) and usage.disk.bytes > (total := sum(limit or 0 for limit in limits)):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {format_bytes(total)}. "
    for each in usage.containers:
        container = pods.container_named(pod, each.record.name)
        own = ((container or {}).get("resources") or {}).get("limits") or {}
        if (given := own.get("ephemeral-storage")) and each.layer.bytes + each.logs.bytes > quantity.value(given):
            return f'Container {each.record.name} exceeded its local ephemeral storage limit "{given}". '
    return ""
