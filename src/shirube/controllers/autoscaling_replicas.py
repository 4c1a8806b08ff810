"""How many replicas a metric asks for. Pure; amounts are in thousandths (milli).

The numbers are upstream's to the last bit: whole numbers are divided as Go divides them (towards zero), ratios are
floats and rounded up as they come out. (21 pods at 90 % instead of 70 % are one bit more than 27: they become 28.)

`ratio` is usage over target; near enough to 1 (the tolerance) nothing changes. Pods that are not ready or tell
nothing are taken at a value that makes a change smaller, never larger: at zero when scaling up, at the full target
when scaling down.
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shirube.api import quantity, quota_usage
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import parse_rfc3339

INITIALIZATION_SECONDS, INITIAL_READINESS_SECONDS = 300.0, 30.0
MOST_REPLICAS = 2**31 - 1


class MetricError(Exception):
    """A metric from which no replica count follows; the message says why."""


class Sample(NamedTuple):
    value: int
    at: float  # seconds since the epoch
    window: float


class Tolerance(NamedTuple):
    """How far from 1 the ratio may be without consequences, downwards and upwards."""

    down: float = 0.1
    up: float = 0.1

    def within(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


def whole(count: float) -> int:
    """Rounded up, as a float is: what is over by its last bit is over. As many as a count of replicas can be."""
    return min(math.ceil(count), MOST_REPLICAS) if count < MOST_REPLICAS else MOST_REPLICAS


def divided(total: int, by: int) -> int:
    """As Go divides whole numbers."""
    return -(-total // by) if total < 0 else total // by


@dataclass(slots=True)
class Groups:
    ready: int = 0
    unready: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)


def group(pods: Sequence[Object], samples: Mapping[str, Sample], resource: str, now: float) -> Groups:
    if not pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    out = Groups()
    for pod in pods:
        name = pod["metadata"]["name"]
        if deleting(pod) or of_pods.phase(pod) == "Failed":
            out.ignored.add(name)
        elif of_pods.phase(pod) == "Pending":
            out.unready.add(name)
        elif name not in samples:
            out.missing.add(name)
        elif resource == "cpu" and _starting(pod, samples[name], now):
            out.unready.add(name)
        else:
            out.ready += 1
    return out


def _starting(pod: Object, sample: Sample, now: float) -> bool:
    """What a pod burns while it starts says nothing of its load."""
    condition = of_pods.condition(pod, "Ready")
    start = (pod.get("status") or {}).get("startTime")
    if condition is None or not start:
        return True
    started, changed = parse_rfc3339(start), parse_rfc3339(condition["lastTransitionTime"])
    if started + INITIALIZATION_SECONDS > now:
        return condition["status"] == "False" or sample.at < changed + sample.window
    return bool(condition["status"] == "False" and started + INITIAL_READINESS_SECONDS > changed)


def requests_of(pods: Iterable[Object], resource: str, container: str = "") -> dict[str, int]:
    """What each pod requests, in milli: as a whole where it says so, else its containers and sidecars together."""
    return {pod["metadata"]["name"]: _request(pod, resource, container) for pod in pods}


def _request(pod: Object, resource: str, container: str) -> int:
    name, spec = pod["metadata"]["name"], pod["spec"]
    if not container and (spec.get("resources") or {}).get("requests"):
        whole = quota_usage.pod_total(pod, "requests").get(resource)
        if whole is None:
            raise MetricError(f"missing pod-level request for {resource} in Pod {name}")
        return quantity.milli(whole)
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    counted = [c for c in (*(spec.get("containers") or ()), *sidecars) if not container or c["name"] == container]
    if container and not counted:
        raise MetricError(f"container {container} not found in Pod {name}")
    total = 0
    for one in counted:
        amount = ((one.get("resources") or {}).get("requests") or {}).get(resource)
        if amount is None:
            raise MetricError(f"missing request for {resource} in container {one['name']} of Pod {name}")
        total += quantity.milli(amount)
    return total


def by_utilization(
    pods: list[Object],
    samples: Mapping[str, Sample],
    ask: Callable[[], Mapping[str, int]],
    target: int,
    resource: str,
    current: int,
    tolerance: Tolerance,
    now: float,
) -> tuple[int, int, int]:
    """(replicas, utilisation in percent, average usage) for a target in percent of the requests, which are asked for
    once there is something to compare them with: what is told first of several troubles is upstream's."""

    def ratio(values: Mapping[str, int]) -> tuple[float, int]:
        asked = sum(requests.get(name, 0) for name in values)
        if not asked:
            raise MetricError("no metrics returned matched known pods")
        utilization = sum(value for name, value in values.items() if name in requests) * 100 // asked
        return utilization / target, utilization

    groups = group(pods, samples, resource, now)
    used = _used(samples, groups)
    requests = ask()
    first, utilization = ratio(used)
    known = [value for name, value in used.items() if name in requests]  # the API may tell of pods that are gone
    average = sum(known) // len(known)

    def full(name: str) -> int:
        return requests.get(name, 0) * max(100, target) // 100

    def again(values: Mapping[str, int]) -> float:
        return ratio(values)[0]

    return _replicas(used, groups, first, again, full, current, tolerance), utilization, average


def by_average(
    pods: list[Object],
    samples: Mapping[str, Sample],
    target: int,
    resource: str,
    current: int,
    tolerance: Tolerance,
    now: float,
) -> tuple[int, int]:
    """(replicas, average) for a target in the metric's own unit."""
    groups = group(pods, samples, resource, now)
    used = _used(samples, groups)

    def ratio(values: Mapping[str, int]) -> float:
        return float(divided(sum(values.values()), len(values))) / float(target)

    replicas = _replicas(used, groups, ratio(used), ratio, lambda _: target, current, tolerance)
    return replicas, divided(sum(used.values()), len(used))


def _used(samples: Mapping[str, Sample], groups: Groups) -> dict[str, int]:
    skip = groups.unready | groups.ignored
    used = {name: s.value for name, s in samples.items() if name not in skip}
    if not used:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return used


def _replicas(
    used: dict[str, int],
    groups: Groups,
    ratio: float,
    again: Callable[[Mapping[str, int]], float],
    full: Callable[[str], int],
    current: int,
    tolerance: Tolerance,
) -> int:
    count_unready = bool(groups.unready) and ratio > 1.0
    if not count_unready and not groups.missing:
        return current if tolerance.within(ratio) else whole(ratio * groups.ready)
    values = dict(used)
    if ratio < 1.0:
        values |= {name: full(name) for name in groups.missing}
    elif ratio > 1.0:
        values |= dict.fromkeys(groups.missing, 0)
    if count_unready:
        values |= dict.fromkeys(groups.unready, 0)
    second = again(values)
    if tolerance.within(second) or (ratio < 1.0 < second) or (ratio > 1.0 > second):
        return current
    wanted = whole(second * len(values))
    if (second < 1.0 and wanted > current) or (second > 1.0 and wanted < current):
        return current
    return wanted


def by_total(usage: int, target: int, ready: int, current: int, tolerance: Tolerance) -> int:
    """For one value of all pods together against a target value."""
    ratio = float(usage) / float(target)
    if current == 0:
        return whole(ratio)
    return current if tolerance.within(ratio) else whole(ratio * ready)


def by_total_average(usage: int, target: int, current: int, tolerance: Tolerance) -> int:
    """For one value that is shared by the replicas, so much for each."""
    if current and tolerance.within(float(usage) / (float(target) * float(current))):
        return current
    return whole(float(usage) / float(target))


def share(usage: int, replicas: int) -> int:
    """What each of them has of it, rounded up; nothing when there are none."""
    return math.ceil(float(usage) / float(replicas)) if replicas else 0
