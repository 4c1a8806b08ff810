"""The node as the API sees it."""

from __future__ import annotations

import pytest
from node import NODE, running_node

from shirube.kubelet.node_reporter import transitions

pytestmark = pytest.mark.cluster


async def test_registration_status_and_lease(containerd):
    async with running_node(containerd) as node:
        objects = node.api.objects

        def conditions():
            status = (objects.get(f"/api/v1/nodes/{NODE}") or {}).get("status") or {}
            return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions") or []}

        await node.until(lambda: conditions().get("Ready") == ("True", "KubeletReady"))
        found = objects[f"/api/v1/nodes/{NODE}"]
        assert found["metadata"]["labels"]["kubernetes.io/hostname"] == NODE
        assert {"cpu", "memory", "pods", "ephemeral-storage"} <= found["status"]["allocatable"].keys()
        assert {"type": "InternalIP", "address": "127.0.0.1"} in found["status"]["addresses"]
        assert found["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://1.")
        assert any("shirube.test/busybox:1" in i["names"] for i in found["status"]["images"])
        assert conditions()["MemoryPressure"] == ("False", "KubeletHasSufficientMemory")
        told = {"Starting", "NodeReady", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"}
        await node.until(lambda: told <= {e["reason"] for e in node.api.events()})
        message = f"Node {NODE} status is now: NodeReady"
        assert message in {e["message"] for e in node.api.events()}
        lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"
        await node.until(lambda: lease in objects)
        assert objects[lease]["spec"]["holderIdentity"] == NODE
        assert objects[lease]["metadata"]["ownerReferences"][0]["kind"] == "Node"


async def test_a_network_that_is_not_set_up_is_told(containerd):
    config = containerd.dir / "cni/10-test.conflist"
    text = config.read_text()
    config.unlink()
    try:
        async with running_node(containerd) as node:

            def ready():
                status = (node.api.objects.get(f"/api/v1/nodes/{NODE}") or {}).get("status") or {}
                return next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {})

            await node.until(lambda: ready().get("status") == "False")
            assert "container runtime network not ready: NetworkReady=false" in ready()["message"]
            config.write_text(text)
            await node.until(lambda: ready().get("status") == "True")
    finally:
        config.write_text(text)


async def test_a_node_that_was_marked_unknown_says_that_it_is_ready(containerd):
    """What the node controller writes of a node that was silent is no longer so when the agent sees it."""
    async with running_node(containerd) as node:
        path = f"/api/v1/nodes/{NODE}"

        def ready():
            status = (node.api.objects.get(path) or {}).get("status") or {}
            return next((c["status"] for c in status.get("conditions") or [] if c["type"] == "Ready"), "")

        await node.until(lambda: ready() == "True")
        found = node.api.objects[path]
        unknown = [{**c, "status": "Unknown"} for c in found["status"]["conditions"]]
        node.api.put(path, {**found, "status": {**found["status"], "conditions": unknown}})
        assert ready() == "Unknown"
        await node.until(lambda: ready() == "True", 8)  # long before the agent would write by itself


async def test_cordoned_and_uncordoned_are_told_once_each(containerd):
    async with running_node(containerd) as node:
        path = f"/api/v1/nodes/{NODE}"

        def told():
            reasons = [e["reason"] for e in node.api.events()]
            return [reason for reason in reasons if reason.endswith("Schedulable")]

        await node.until(lambda: (node.api.objects.get(path) or {}).get("status", {}).get("conditions"))
        node.api.put(path, {**node.api.objects[path], "spec": {"unschedulable": True}})
        await node.until(lambda: told() == ["NodeNotSchedulable"])
        node.api.put(path, {**node.api.objects[path], "spec": {}})
        await node.until(lambda: told() == ["NodeNotSchedulable", "NodeSchedulable"])


def test_what_has_not_changed_is_not_told_again():
    ready, pressure = {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}
    assert transitions([], [ready, pressure]) == ["NodeReady", "NodeHasDiskPressure"]
    assert transitions([ready, pressure], [ready, pressure]) == []
    assert transitions([ready, pressure], [{**ready, "status": "False"}, {**pressure, "status": "False"}]) == [
        "NodeNotReady",
        "NodeHasNoDiskPressure",
    ]
    assert transitions([{**ready, "status": "Unknown"}], [ready]) == ["NodeReady"]
