from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import items as listed
from tests.controllers.conftest import kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import DEPLOYMENTS, EVENTS, HORIZONTALPODAUTOSCALERS, PODS
from shirube.controllers import autoscaling_behavior as behavior
from shirube.controllers import autoscaling_replicas as arithmetic
from shirube.controllers.autoscaling_metrics import Metrics, Target
from shirube.controllers.autoscaling_replicas import MetricError, Sample, Tolerance
from shirube.foundation.clock import rfc3339

AS_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
NOW = 1_800_000_000.0
LONG_AGO = rfc3339(NOW - 10_000)


def pod(name: str, *, up: bool = True, phase: str = "Running") -> dict[str, Any]:
    ready = {"type": "Ready", "status": str(up), "lastTransitionTime": LONG_AGO}
    container = {"name": "c", "resources": {"requests": {"cpu": "100m"}}}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container]},
        "status": {"phase": phase, "startTime": LONG_AGO, "conditions": [ready]},
    }


def samples(**values: int) -> dict[str, Sample]:
    return {name: Sample(value, NOW, 30) for name, value in values.items()}


def utilization(pods: list[dict[str, Any]], used: dict[str, Sample], target: int, current: int) -> int:
    return arithmetic.by_utilization(
        pods, used, lambda: arithmetic.requests_of(pods, "cpu"), target, "cpu", current, Tolerance(), NOW
    )[0]


def test_utilization():
    three = [pod("a"), pod("b"), pod("c")]
    assert utilization(three, samples(a=100, b=100, c=100), 50, 3) == 6
    assert utilization(three, samples(a=10, b=10, c=10), 50, 3) == 1
    assert utilization(three, samples(a=52, b=50, c=51), 50, 3) == 3, "within the tolerance"
    assert utilization(three, samples(a=100, b=100), 50, 3) == 4, "a silent pod counts as idle when scaling up"
    assert utilization(three, samples(a=10, b=10), 50, 3) == 3, "and as busy when scaling down"
    waiting = [pod("a"), pod("b"), pod("c", phase="Pending")]
    assert utilization(waiting, samples(a=100, b=100), 50, 3) == 4
    with pytest.raises(MetricError, match="did not receive metrics"):
        utilization([pod("a", phase="Pending")], {}, 50, 1)
    silent = pod("a")
    silent["spec"]["containers"][0]["resources"] = {}
    with pytest.raises(MetricError, match="missing request for cpu in container c of Pod a"):
        utilization([silent], samples(a=1), 50, 1)


def test_totals():
    assert arithmetic.by_total(2000, 1000, 3, 3, Tolerance()) == 6
    assert arithmetic.by_total(1050, 1000, 3, 3, Tolerance()) == 3
    assert arithmetic.by_total_average(5500, 1000, 2, Tolerance()) == 6


def autoscaler(least: int = 1, most: int = 10, **directions: Any) -> dict[str, Any]:
    return {"spec": {"minReplicas": least, "maxReplicas": most, "behavior": directions}}


def test_stabilization():
    one = autoscaler()
    recent = [behavior.Recommendation(5, NOW - 100), behavior.Recommendation(9, NOW - 400)]
    assert behavior.stabilized(one, 2, 6, recent, NOW)[:2] == (5, "ScaleDownStabilized")
    assert behavior.stabilized(one, 8, 6, recent, NOW)[:2] == (8, "ReadyForNewScale")
    calm = autoscaler(scaleUp={"stabilizationWindowSeconds": 120})
    assert behavior.stabilized(calm, 8, 4, recent, NOW)[:2] == (5, "ScaleUpStabilized")


def test_policies():
    assert behavior.limited(autoscaler(most=100), 50, 2, [], [], NOW).replicas == 6, "four pods or the double"
    assert behavior.limited(autoscaler(most=100), 50, 10, [], [], NOW).replicas == 20
    again = behavior.limited(autoscaler(most=100), 50, 6, [behavior.Change(4, NOW - 5)], [], NOW)
    assert (again.replicas, again.reason) == (6, "ScaleUpLimit")
    slow = autoscaler(scaleDown={"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]})
    assert behavior.limited(slow, 1, 5, [], [], NOW).replicas == 4
    off = autoscaler(scaleDown={"selectPolicy": "Disabled"})
    assert behavior.limited(off, 1, 5, [], [], NOW).replicas == 5
    assert behavior.limited(autoscaler(most=8), 50, 7, [], [], NOW).reason == "TooManyReplicas"
    assert behavior.limited(autoscaler(least=3), 1, 4, [], [], NOW).reason == "TooFewReplicas"


@pytest.mark.parametrize("current,replicas", [(1, 4), (2, 4), (3, 6), (10, 20)])
def test_without_a_behavior_the_older_rule_holds(current: int, replicas: int):
    one = autoscaler(most=100)
    del one["spec"]["behavior"]
    found = behavior.limited(one, 50, current, [behavior.Change(3, NOW - 5)], [], NOW)
    assert (found.replicas, found.reason) == (replicas, "ScaleUpLimit")
    assert behavior.limited(one, 1, 30, [], [], NOW).replicas == 1
    recent = [behavior.Recommendation(5, NOW - 100), behavior.Recommendation(9, NOW - 400)]
    assert behavior.stabilized(one, 2, 2, recent, NOW)[:2] == (5, "ScaleDownStabilized")


@given(
    st.integers(0, 200),
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(20, 60),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=4),
)
def test_bounds_always_hold_and_the_direction_is_kept(desired, current, least, most, changes):
    one = autoscaler(least, most)
    added = [behavior.Change(count, NOW - ago) for count, ago in changes]
    found = behavior.limited(one, desired, current, added, [], NOW).replicas
    if least <= current <= most:
        assert least <= found <= most
        assert min(current, max(desired, least)) <= found <= max(current, min(desired, most))


def web(replicas: int) -> dict[str, Any]:
    container = {"name": "c", "image": "x", "resources": {"requests": {"memory": "100Mi"}}}
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }


def by_memory(name: str) -> dict[str, Any]:
    wanted = {"type": "Utilization", "averageUtilization": 50}
    return {
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": wanted}}],
        },
    }


async def test_a_deployment_grows_with_its_load(tmp_path: Path):
    names = "deployment-controller,replicaset-controller,horizontal-pod-autoscaler-controller"
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only=names), kubelet(admin):
            await admin.create(DEPLOYMENTS, web(2), "default")

            async def running() -> list[str]:
                found = await admin.get(DEPLOYMENTS, "web", "default")
                if (found.get("status") or {}).get("readyReplicas") != 2:
                    return []
                return [p["metadata"]["name"] for p in (await admin.list(PODS, "default"))["items"]]

            pods = await until(running, 10)
            items = [
                {
                    "metadata": {"name": name},
                    "timestamp": LONG_AGO,
                    "window": "30s",
                    "containers": [{"name": "c", "usage": {"memory": "100Mi"}}],
                }
                for name in pods
            ]
            path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
            house.tokens.fixed[path] = orjson.dumps({"items": items})
            await admin.create(HORIZONTALPODAUTOSCALERS, by_memory("web"), "default")

            async def scaled() -> dict[str, Any] | None:
                found = await admin.get(DEPLOYMENTS, "web", "default")
                status = (await admin.get(HORIZONTALPODAUTOSCALERS, "web", "default")).get("status") or {}
                return status if found["spec"]["replicas"] == 4 and status.get("desiredReplicas") == 4 else None

            status = await until(scaled, 10)
            held = {c["type"]: c["reason"] for c in status["conditions"]}
            assert held == {
                "AbleToScale": "SucceededRescale",
                "ScalingActive": "ValidMetricFound",
                "ScalingLimited": "DesiredWithinRange",
            }
            current = status["currentMetrics"][0]["resource"]["current"]
            assert current == {"averageUtilization": 100, "averageValue": "104857600"}

            async def told() -> bool:
                return any(e["reason"] == "SuccessfulRescale" for e in (await admin.list(EVENTS, "default"))["items"])

            await until(told, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_metrics_that_nobody_serves(tmp_path: Path):
    async with live(tmp_path) as house:
        target = Target("default", "app=web", [], 1, 1, Tolerance(), NOW)
        wanted = {"type": "AverageValue", "averageValue": "10"}
        pods = {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": wanted}}
        with pytest.raises(MetricError) as failed:
            await Metrics(house.admin).propose(pods, target)
        assert str(failed.value) == (
            "unable to get metric hits: unable to fetch metrics from custom metrics API: "
            "no custom metrics API (custom.metrics.k8s.io) registered"
        )
        queue = {"name": "queue", "selector": {"matchLabels": {"a": "b"}}}
        external = {"type": "External", "external": {"metric": queue, "target": wanted}}
        with pytest.raises(
            MetricError, match="unable to get external metric default/queue/a=b: unable to fetch metrics"
        ):
            await Metrics(house.admin).propose(external, target)


async def test_what_keeps_an_autoscaler_from_scaling_is_told(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        house.tokens.fixed["/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"] = b'{"items": []}'
        names = "deployment-controller,replicaset-controller,horizontal-pod-autoscaler-controller"
        async with house.controllers(only=names) as controllers, kubelet(admin):
            await admin.create(DEPLOYMENTS, web(1), "default")
            await until(lambda: listed(admin, PODS), 10)
            await admin.create(HORIZONTALPODAUTOSCALERS, by_memory("web"), "default")

            async def refused(name: str) -> dict[str, Any] | None:
                found = await admin.get(HORIZONTALPODAUTOSCALERS, name, "default")
                conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}
                return conditions.get("ScalingActive")

            nothing = (
                "failed to get memory utilization: unable to get metrics for resource memory: "
                "no metrics returned from resource metrics API"
            )
            condition = await until(lambda: refused("web"), 10)
            assert condition["reason"] == "FailedGetResourceMetric"
            assert condition["message"] == f"the HPA was unable to compute the replica count: {nothing}"
            path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/web"
            older = orjson.loads(await admin.raw("GET", path))
            assert (
                "FailedGetResourceMetric"
                in older["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/conditions"]
            )
            table = await admin.raw("GET", path.replace("v1/", "v2/", 1), headers={"Accept": AS_TABLE})
            assert orjson.loads(table)["rows"][0]["cells"][2] == "memory: <unknown>/50%"
            await admin.create(HORIZONTALPODAUTOSCALERS, by_memory("rival"), "default")
            condition = await until(lambda: refused("rival"), 10)
            rivals = "pods by selector app=web are controlled by multiple HPAs: [default/rival default/web]"
            assert (condition["reason"], condition["message"]) == ("AmbiguousSelector", rivals)

            async def told() -> dict[tuple[str, str], str] | None:
                events = await listed(admin, EVENTS)
                found = {(e["involvedObject"]["name"], e["reason"]): e["message"] for e in events}
                return found if ("rival", "FailedComputeMetricsReplicas") in found else None

            events = await until(told, 10)
            elsewhere = {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}}
            await admin.patch(HORIZONTALPODAUTOSCALERS, "web", elsewhere, "default")
            await until(lambda: "default/web" not in controllers[-1]._selectors, 10)
            first = "invalid metrics (1 invalid out of 1), first error is: failed to get memory resource metric value: "
            assert events["web", "FailedGetResourceMetric"] == nothing
            assert events["web", "FailedComputeMetricsReplicas"] == first + nothing
            assert events["rival", "AmbiguousSelector"] == events["rival", "FailedComputeMetricsReplicas"] == rivals
