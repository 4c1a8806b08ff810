"""What a node takes, and which resizes it grants."""

from __future__ import annotations

from node import pod, shell

from shirube.kubelet import pod_resize
from shirube.kubelet.admission import NodeView, judge, lacks, requested

NODE = {"metadata": {"name": "n", "labels": {"disk": "ssd"}}}
ALLOCATABLE = {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/gpu": "1"}
VIEW = NodeView(NODE, ALLOCATABLE)


def asking(name="p", **requests):
    return pod(name, shell("x", resources={"requests": requests}))


def test_what_is_too_much_is_named():
    first = asking(cpu="1500m")
    assert judge(first, [], VIEW) is None
    refusal = judge(asking(cpu="600m"), [first], VIEW)
    assert refusal.reason == "OutOfcpu"
    text = "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
    assert refusal.message == f"Pod was rejected: {text}"
    assert judge(asking(memory="2Gi"), [], VIEW).reason == "OutOfmemory"
    assert judge(asking(**{"example.com/gpu": "2"}), [], VIEW).reason == "OutOfexample.com/gpu"
    assert judge(asking(**{"example.com/unheard": "2"}), [], VIEW) is None
    assert judge(asking(), [asking(str(i)) for i in range(3)], VIEW).reason == "OutOfpods"


def test_labels_ports_systems_and_pressure():
    assert judge(pod("p", shell("x"), nodeSelector={"disk": "ssd"}), [], VIEW) is None
    assert judge(pod("p", shell("x"), nodeSelector={"disk": "tape"}), [], VIEW).reason == "NodeAffinity"
    term = {"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    assert judge(pod("p", shell("x"), affinity={"nodeAffinity": required}), [], VIEW).reason == "NodeAffinity"
    port = {"ports": [{"containerPort": 1, "hostPort": 80}]}
    assert judge(pod("p", shell("x", **port)), [pod("q", shell("x", **port))], VIEW).reason == "NodePorts"
    assert judge(pod("p", shell("x"), os={"name": "windows"}), [], VIEW).reason == "PodOSNotSupported"
    pressed = NodeView(NODE, ALLOCATABLE, ("MemoryPressure",))
    assert judge(asking(), [], pressed).reason == "Evicted"
    assert judge(asking(cpu="1"), [], pressed) is None
    assert judge(pod("p", shell("x"), priority=2_000_000_000), [], pressed) is None
    assert judge(asking(cpu="1"), [], NodeView(NODE, ALLOCATABLE, ("DiskPressure",))).reason == "Evicted"


def test_requested_is_ordered():
    wanted = asking(memory="1", cpu="1", **{"a/b": "1"})
    assert requested(wanted) == ["cpu", "memory", "a/b"]
    assert [lack.resource for lack in lacks(asking(cpu="3", memory="2Gi"), [], ALLOCATABLE)] == ["cpu", "memory"]


def test_a_resize_is_granted_deferred_or_infeasible():
    other = asking("other", cpu="1")
    assert pod_resize.judge(asking(cpu="1"), [other], ALLOCATABLE).granted
    verdict = pod_resize.judge(asking(cpu="1100m"), [other], ALLOCATABLE)
    assert (verdict.reason, verdict.message.startswith("Node didn't have enough resource: cpu")) == ("Deferred", True)
    verdict = pod_resize.judge(asking(cpu="3"), [other], ALLOCATABLE)
    assert verdict.reason == "Infeasible"
    assert verdict.message == "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"


def test_what_a_change_of_resources_needs():
    old, new = {"requests": {"cpu": "1", "memory": "1Gi"}}, {"requests": {"cpu": "1000m", "memory": "2Gi"}}
    assert pod_resize.differs(old, new) == {"memory"}
    container = {"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}
    assert pod_resize.needs_restart(container, {"memory"}) and not pod_resize.needs_restart(container, {"cpu"})
    base = asking(cpu="1")
    assert pod_resize.with_resources(base, pod_resize.resources_of(base)) is base
    assert pod_resize.resources_of(pod_resize.with_resources(base, {"c0": new})) == {"c0": new}
