"""Scale: made of workloads, written back."""

import pytest

from shirube.api import scale
from shirube.api.errors import ApiError


def test_the_scale_of_a_deployment():
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "d", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"b": "1", "a": "2"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]},
        },
        "status": {"replicas": 2},
    }
    assert scale.get_scale("deployments.apps", obj) == {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "web", "namespace": "d", "uid": "u", "resourceVersion": "7"},
        "spec": {"replicas": 3},
        "status": {"replicas": 2, "selector": "a=2,b=1,c"},
    }
    scale.set_replicas("deployments.apps", obj, 0)
    assert obj["spec"]["replicas"] == 0
    assert scale.get_scale("deployments.apps", obj)["spec"] == {}


def test_the_scale_of_a_replication_controller():
    obj = {"metadata": {"name": "rc"}, "spec": {"replicas": 1, "selector": {"a": "b"}}}
    assert scale.get_scale("replicationcontrollers", obj)["status"] == {"replicas": 0, "selector": "a=b"}


def test_pods_do_not_scale():
    with pytest.raises(ApiError) as caught:
        scale.get_scale("pods", {})
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("body", "replicas"), [({}, 0), ({"spec": {}}, 0), ({"spec": None}, 0), ({"spec": {"replicas": 5}}, 5)]
)
def test_replicas_of(body, replicas):
    assert scale.replicas_of(body) == replicas


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"metadata": {"name": "x"}, "spec": {"replicas": -1}},
            'Scale.autoscaling "x" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
        ),
        (
            {"spec": {"replicas": "1"}},
            'Scale.autoscaling "" is invalid: spec.replicas: Invalid value: "1": must be a 32-bit integer',
        ),
        (
            {"spec": {"replicas": True}},
            'Scale.autoscaling "" is invalid: spec.replicas: Invalid value: true: must be a 32-bit integer',
        ),
        (
            {"spec": {"replicas": 2**31}},
            'Scale.autoscaling "" is invalid: spec.replicas: Invalid value: 2147483648: must be a 32-bit integer',
        ),
        ([], "expected a Scale object"),
        ({"spec": 1}, "expected a Scale object"),
    ],
)
def test_bad_scales(body, message):
    with pytest.raises(ApiError) as caught:
        scale.replicas_of(body)
    assert caught.value.message == message


def test_custom_resources_scale_by_path():
    obj = {"metadata": {"name": "x"}, "spec": {"size": 2}, "status": {"n": 1, "sel": "a=b"}}
    made = scale.scale_of_paths(obj, ".spec.size", ".status.n", ".status.sel")
    assert (made["spec"], made["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    scale.set_replicas_at(obj, ".spec.size", 4)
    scale.set_replicas_at(obj, ".spec.deep.size", 5)
    assert obj["spec"] == {"size": 4, "deep": {"size": 5}}
    assert scale.scale_of_paths({}, ".spec.size", ".status.n", None)["status"] == {"replicas": 0}
