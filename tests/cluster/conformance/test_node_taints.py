"""Pods on a node that gets a NoExecute taint: evicted after the time that they tolerate it.

The node is one of its own, added for these tests and closed to the scheduler, so that nothing else is hit.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.conformance.api import MERGE, Api, Obj
from tests.cluster.conformance.batch import Batch, tool, tool_pod
from tests.cluster.conformance.objects import ready
from tests.cluster.conftest import Cluster
from tests.waiting import eventually

from shirube.foundation.clock import SYSTEM

S = "[sig-node] NoExecuteTaintManager "
TAINT = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


@pytest.fixture(scope="module")
def node(cluster: Cluster, api: Api, tools: None) -> Iterator[str]:
    name = cluster.shirube("node", "add", "--name", cluster.layout.name).stdout.split()[-1]
    nodes = api.at("v1", "nodes")
    try:
        nodes.patch(name, {"spec": {"unschedulable": True}}, MERGE)
        eventually(lambda: ready(nodes.get(name)), "the new node is ready")
        yield name
    finally:
        cluster.shirube("node", "rm", name, "--name", cluster.layout.name)


def taint(api: Api, node: str, taints: list[Obj]) -> None:
    def change(obj: Obj) -> None:
        kept = [t for t in obj["spec"].get("taints", ()) if t["key"] != TAINT["key"]]
        obj["spec"]["taints"] = kept + taints

    api.at("v1", "nodes").edit(node, change)


def tolerant(name: str, node: str, seconds: int | None = None) -> Obj:
    """A pod on the node that tolerates the taint for some seconds, or not at all."""
    tolerated = {"key": TAINT["key"], "value": TAINT["value"], "operator": "Equal", "effect": "NoExecute"}
    cordoned = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
    tolerations = [cordoned] if seconds is None else [cordoned, {**tolerated, "tolerationSeconds": seconds}]
    return tool_pod(tool("exec sleep 3600"), name=name, nodeName=node, tolerations=tolerations)


@pytest.mark.conformance(f"{S}Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]")
def test_a_taint_that_goes_again(api: Api, batch: Batch, node: str):
    seconds = 4
    batch.create_all([tolerant("stays", node, seconds)])
    batch.running("stays")
    taint(api, node, [TAINT])
    tainted = SYSTEM.now()
    assert "deletionTimestamp" not in batch.pods.get("stays")["metadata"]
    taint(api, node, [])
    # Past the time at which it would have been evicted.
    eventually(lambda: SYSTEM.now() - tainted > seconds + 3, "its time is over", 20)
    pod = batch.pods.get("stays")
    assert "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] == "Running"


@pytest.mark.conformance(f"{S}Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]")
def test_pods_go_when_their_time_is_over(api: Api, batch: Batch, node: str):
    batch.create_all([tolerant("soon", node, 3), tolerant("later", node, 6)])
    batch.running("soon")
    batch.running("later")
    taint(api, node, [TAINT])
    began = SYSTEM.now()
    gone = {}
    for name in ("soon", "later"):
        eventually(lambda name=name: batch.pods.find(name) is None, f"{name} is evicted")
        gone[name] = SYSTEM.now() - began
    taint(api, node, [])
    assert gone["soon"] >= 3 and gone["later"] >= 6, gone
