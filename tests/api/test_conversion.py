"""Converting autoscalers and events between their served versions."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from shirube.api.conversion import BEHAVIOR, METRICS, convert
from shirube.api.gvr import EVENTS, EVENTS_V1, GVR, HORIZONTALPODAUTOSCALERS, HORIZONTALPODAUTOSCALERS_V1, PODS
from shirube.api.resources import BUILTIN, Resource


def of(gvr: GVR) -> Resource:
    found = BUILTIN.by_gvr(gvr)
    assert found
    return found


HPA_V1, HPA_V2 = of(HORIZONTALPODAUTOSCALERS_V1), of(HORIZONTALPODAUTOSCALERS)
EVENT, EVENT_NEW = of(EVENTS), of(EVENTS_V1)

QUANTITY = st.sampled_from(["1", "500m", "2k"])
METRIC_NAME = st.builds(lambda n: {"name": n, "selector": {"matchLabels": {"a": n}}}, st.sampled_from("xyz"))
OBJECT = {"kind": "Service", "name": "s", "apiVersion": "v1"}
METRICS_V2 = st.one_of(
    st.builds(
        lambda n, u: {
            "type": "Resource",
            "resource": {"name": n, "target": {"type": "Utilization", "averageUtilization": u}},
        },
        st.just("memory"),
        st.integers(1, 100),
    ),
    st.builds(
        lambda n, q: {
            "type": "Resource",
            "resource": {"name": n, "target": {"type": "AverageValue", "averageValue": q}},
        },
        st.sampled_from(["cpu", "memory"]),
        QUANTITY,
    ),
    st.builds(
        lambda u: {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu",
                "container": "c",
                "target": {"type": "Utilization", "averageUtilization": u},
            },
        },
        st.integers(1, 100),
    ),
    st.builds(
        lambda m, q: {"type": "Pods", "pods": {"metric": m, "target": {"type": "AverageValue", "averageValue": q}}},
        METRIC_NAME,
        QUANTITY,
    ),
    st.builds(
        lambda m, q: {
            "type": "Object",
            "object": {"describedObject": OBJECT, "metric": m, "target": {"type": "Value", "value": q}},
        },
        METRIC_NAME,
        QUANTITY,
    ),
    st.builds(
        lambda m, q: {
            "type": "External",
            "external": {"metric": m, "target": {"type": "AverageValue", "averageValue": q}},
        },
        METRIC_NAME,
        QUANTITY,
    ),
)


def autoscaler(**spec: object) -> dict:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "annotations": {"mine": "1"}},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, **spec},
    }


def cpu(utilization: int) -> dict:
    target = {"type": "Utilization", "averageUtilization": utilization}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def test_same_version_is_the_same_object() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod"}
    assert convert(obj, of(PODS), of(PODS)) is obj


def test_cpu_utilization_has_a_field_in_v1() -> None:
    old = convert(autoscaler(metrics=[cpu(50)]), HPA_V2, HPA_V1)
    assert old["apiVersion"] == "autoscaling/v1"
    assert old["spec"]["targetCPUUtilizationPercentage"] == 50
    assert "metrics" not in old["spec"]
    assert old["metadata"]["annotations"] == {"mine": "1"}


def test_v1_without_a_target_gets_its_old_implicit_default() -> None:
    obj = autoscaler() | {"apiVersion": "autoscaling/v1"}
    assert convert(obj, HPA_V1, HPA_V2)["spec"]["metrics"] == [cpu(80)]


def test_annotations_are_in_upstreams_format() -> None:
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    }
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    old = convert(autoscaler(metrics=[memory], behavior=behavior), HPA_V2, HPA_V1)
    annotations = old["metadata"]["annotations"]
    assert json.loads(annotations[METRICS]) == [
        {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}
    ]
    assert json.loads(annotations[BEHAVIOR]) == behavior


def test_a_broken_annotation_is_as_none() -> None:
    obj = autoscaler() | {"apiVersion": "autoscaling/v1"}
    obj["metadata"]["annotations"] = {METRICS: "{", BEHAVIOR: "[1]"}
    new = convert(obj, HPA_V1, HPA_V2)
    assert new["spec"]["metrics"] == [cpu(80)]
    assert "behavior" not in new["spec"]
    assert "annotations" not in new["metadata"]


@given(st.lists(METRICS_V2, max_size=4), st.booleans(), st.sampled_from([None, {"scaleUp": {"selectPolicy": "Max"}}]))
def test_v2_survives_v1(metrics: list[dict], with_cpu: bool, behavior: dict | None) -> None:
    metrics = metrics + [cpu(42)] * (with_cpu or not metrics)
    obj = autoscaler(metrics=metrics) | {
        "status": {
            "currentReplicas": 1,
            "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}}],
            "conditions": [{"type": "AbleToScale", "status": "True"}],
        }
    }
    if behavior:
        obj["spec"]["behavior"] = behavior
    before = json.dumps(obj, sort_keys=True)
    there = convert(obj, HPA_V2, HPA_V1)
    assert there["status"]["currentCPUUtilizationPercentage"] == 7
    assert convert(there, HPA_V1, HPA_V2) == obj
    assert json.dumps(obj, sort_keys=True) == before, "the given object was changed"


def test_events_change_names_only() -> None:
    core = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "a"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "message": "m",
        "reason": "Started",
        "count": 2,
        "source": {"component": "kubelet"},
        "reportingComponent": "kubelet",
        "firstTimestamp": "2026-01-01T00:00:00Z",
    }
    new = convert(core, EVENT, EVENT_NEW)
    assert list(new)[:2] == ["apiVersion", "kind"]
    assert new["apiVersion"] == "events.k8s.io/v1"
    assert new["regarding"] == core["involvedObject"]
    assert new["note"] == "m"
    assert new["deprecatedCount"] == 2
    assert new["reportingController"] == "kubelet"
    assert convert(new, EVENT_NEW, EVENT) == core
