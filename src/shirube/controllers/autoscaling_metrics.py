"""What the metrics APIs say: `metrics.k8s.io`, `custom.metrics.k8s.io`, `external.metrics.k8s.io`; and, for each
metric of an autoscaler, the replicas that follow and what to show of it in the status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from shirube.api import quantity
from shirube.api.errors import ApiError
from shirube.api.selectors import label_selector_from
from shirube.client.rest import Client, Object
from shirube.controllers import autoscaling_replicas as arithmetic
from shirube.controllers import pods as of_pods
from shirube.controllers.autoscaling_replicas import MetricError, Sample, Tolerance
from shirube.foundation.clock import parse_rfc3339

_RESOURCE, _CUSTOM = "/apis/metrics.k8s.io/v1beta1", "/apis/custom.metrics.k8s.io/v1beta2"
_EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
_NOT_SERVED = "the server could not find the requested resource"
_API_NAMES = {"metrics.k8s.io": "resource", "custom.metrics.k8s.io": "custom", "external.metrics.k8s.io": "external"}


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled: its pods, and how many there are."""

    namespace: str
    selector: str
    pods: list[Object]
    asked: int  # spec.replicas: what stays when nothing has to change
    there: int  # status.replicas: during a rollout more, while pods are being made fewer
    tolerance: Tolerance
    now: float

    @property
    def ready(self) -> int:
        if not self.pods:
            raise MetricError(
                "unable to calculate ready pods: no pods returned by selector while calculating replica count"
            )
        return sum(1 for p in self.pods if of_pods.phase(p) == "Running" and of_pods.ready(p))


@dataclass(frozen=True, slots=True)
class Proposal:
    replicas: int
    name: str  # of the metric, as in messages
    shown: Object  # of `status.currentMetrics`


def _seconds(text: str) -> float:
    """A Go duration as the metrics API writes them: `30s`, `1m0s`."""
    total, number = 0.0, ""
    for char in text:
        if char.isdigit() or char == ".":
            number += char
        elif number:
            total += float(number) * {"h": 3600.0, "m": 60.0, "s": 1.0}.get(char, 0.0)
            number = ""
    return total


class Metrics:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def _read(self, path: str, params: Mapping[str, str], what: str) -> list[Object]:
        """`what` is asked for, in upstream's words; the path says of which API."""
        failed = f"unable to get {what}: unable to fetch metrics from {_API_NAMES[path.split('/')[2]]} metrics API"
        try:
            answer = orjson.loads(await self._client.raw("GET", path, {k: v for k, v in params.items() if v}))
        except ApiError as error:
            absent = error.code == 404 and path.startswith(_CUSTOM) and error.message == _NOT_SERVED
            why = "no custom metrics API (custom.metrics.k8s.io) registered" if absent else error.message
            raise MetricError(f"{failed}: {why}") from error
        except orjson.JSONDecodeError as error:
            raise MetricError(f"{failed}: the answer is not JSON") from error
        return list(answer.get("items") or ())

    async def _resource(self, target: Target, resource: str, container: str = "") -> dict[str, Sample]:
        path = f"{_RESOURCE}/namespaces/{target.namespace}/pods"
        items = await self._read(path, {"labelSelector": target.selector}, f"metrics for resource {resource}")
        if not items:
            raise MetricError(
                f"unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            )
        out = {}
        for item in items:
            name = item["metadata"]["name"]
            containers = [c for c in item.get("containers") or () if not container or c["name"] == container]
            if container and not containers:
                raise MetricError(
                    f"unable to get metrics for resource {resource}: failed to get container metrics: "
                    f"container {container} not present in metrics for pod {target.namespace}/{name}"
                )
            amounts = [(c.get("usage") or {}).get(resource) for c in containers]
            if not amounts or any(a is None for a in amounts):
                continue
            total = sum(quantity.milli(a) for a in amounts if a is not None)
            at = parse_rfc3339(item["timestamp"]) if item.get("timestamp") else target.now
            out[name] = Sample(total, at, _seconds(item.get("window") or "60s"))
        return out

    async def propose(self, metric: Object, target: Target) -> Proposal:
        """Raises MetricError."""
        match metric["type"]:
            case "Resource":
                return await self._told_by_resource(metric["resource"], target, "Resource")
            case "ContainerResource":
                return await self._told_by_resource(metric["containerResource"], target, "ContainerResource")
            case "Pods":
                return await self._by_pods(metric["pods"], target)
            case "Object":
                return await self._by_object(metric["object"], target)
            case "External":
                return await self._by_external(metric["external"], target)
        raise MetricError(f'unknown metric source type "{metric["type"]}"')

    async def _told_by_resource(self, source: Object, target: Target, kind: str) -> Proposal:
        try:
            return await self._by_resource(source, target, kind)
        except MetricError as error:
            what = "utilization" if source["target"]["type"] == "Utilization" else "usage"
            raise MetricError(f"failed to get {source['name']} {what}: {error}") from error

    async def _by_resource(self, source: Object, target: Target, kind: str) -> Proposal:
        resource, wanted, container = source["name"], source["target"], source.get("container", "")
        samples = await self._resource(target, resource, container)
        key = "resource" if kind == "Resource" else "containerResource"
        names = {"name": resource, "container": container} if container else {"name": resource}
        what = f"{resource} {'container ' if container else ''}resource"
        if wanted["type"] == "Utilization":
            found = arithmetic.by_utilization(
                target.pods,
                samples,
                lambda: arithmetic.requests_of(target.pods, resource, container),
                int(wanted["averageUtilization"]),
                resource,
                target.asked,
                target.tolerance,
                target.now,
            )
            replicas, percent, average = found
            current: Object = {"averageUtilization": percent, "averageValue": _text(average)}
            what += " utilization (percentage of request)"
        else:
            amount = quantity.milli(wanted["averageValue"])
            replicas, average = arithmetic.by_average(
                target.pods, samples, amount, resource, target.asked, target.tolerance, target.now
            )
            current = {"averageValue": _text(average)}
        return Proposal(replicas, what, {"type": kind, key: {**names, "current": current}})

    async def _by_pods(self, source: Object, target: Target) -> Proposal:
        name = source["metric"]["name"]
        path = f"{_CUSTOM}/namespaces/{target.namespace}/pods/*/{quote(name)}"
        params = {"labelSelector": target.selector, "metricLabelSelector": _selector(source)}
        items = await self._read(path, params, f"metric {name}")
        if not items:
            raise MetricError(f"unable to get metric {name}: no metrics returned from custom metrics API")
        samples = {
            i["describedObject"]["name"]: Sample(
                quantity.milli(i["value"]),
                parse_rfc3339(i["timestamp"]) if i.get("timestamp") else target.now,
                float(i.get("windowSeconds") or 60),
            )
            for i in items
        }
        amount = quantity.milli(source["target"]["averageValue"])
        replicas, average = arithmetic.by_average(
            target.pods, samples, amount, "", target.asked, target.tolerance, target.now
        )
        shown = {"metric": source["metric"], "current": {"averageValue": _text(average)}}
        return Proposal(replicas, f"pods metric {name}", {"type": "Pods", "pods": shown})

    async def _by_object(self, source: Object, target: Target) -> Proposal:
        name, described = source["metric"]["name"], source["describedObject"]
        group = (described.get("apiVersion") or "v1").rpartition("/")[0]
        plural = _plural(described["kind"]) + (f".{group}" if group else "")
        path = f"{_CUSTOM}/namespaces/{target.namespace}/{plural}/{quote(described['name'])}/{quote(name)}"
        items = await self._read(path, {"metricLabelSelector": _selector(source)}, f"metric {name}")
        if len(items) != 1:
            raise MetricError(f"unable to get metric {name}: {len(items)} values for one object")
        usage = quantity.milli(items[0]["value"])
        replicas, current = _of_total(usage, source["target"], target)
        shown = {"metric": source["metric"], "describedObject": described, "current": current}
        return Proposal(replicas, f"{described['kind']} metric {name}", {"type": "Object", "object": shown})

    async def _by_external(self, source: Object, target: Target) -> Proposal:
        name = source["metric"]["name"]
        path = f"{_EXTERNAL}/namespaces/{target.namespace}/{quote(name)}"
        what = f"external metric {target.namespace}/{name}/{_selector(source)}"
        items = await self._read(path, {"labelSelector": _selector(source)}, what)
        if not items:
            raise MetricError(f"unable to get {what}: no metrics returned from external metrics API")
        usage = sum(quantity.milli(i["value"]) for i in items)
        replicas, current = _of_total(usage, source["target"], target)
        shown = {"metric": source["metric"], "current": current}
        return Proposal(
            replicas, f"external metric {name}({_selector(source)})", {"type": "External", "external": shown}
        )


def _of_total(usage: int, wanted: Object, target: Target) -> tuple[int, Object]:
    if wanted["type"] == "AverageValue":
        amount = quantity.milli(wanted["averageValue"])
        replicas = arithmetic.by_total_average(usage, amount, target.there, target.tolerance)
        return replicas, {"averageValue": _text(arithmetic.share(usage, target.there))}
    amount = quantity.milli(wanted["value"])
    replicas = arithmetic.by_total(usage, amount, target.ready, target.asked, target.tolerance)
    return replicas, {"value": _text(usage)}


def _selector(source: Object) -> str:
    selector = source["metric"].get("selector")
    return "" if selector is None else str(label_selector_from(selector))


def _text(milli: int) -> str:
    return quantity.canonical(f"{milli}m")


def _plural(kind: str) -> str:
    """As the custom metrics API's adapters name kinds, without asking the server."""
    lower = kind.lower()
    if lower.endswith(("s", "x", "ch", "sh")):
        return lower + "es"
    return lower[:-1] + "ies" if lower.endswith("y") and lower[-2:-1] not in "aeiou" else lower + "s"
