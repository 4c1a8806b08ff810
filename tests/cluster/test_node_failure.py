"""A node whose link is cut: the cluster notices, moves what ran there, and takes the node back when the link is mended.

The node's processes and containers go on all the while, as on a machine whose cable was pulled.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.cluster.conformance.api import MERGE, Api
from tests.cluster.conformance.objects import container, pod, ready
from tests.cluster.conftest import NAME, Cluster
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

FIRST, SPACE = f"{NAME}-1", "node-failure"
SERVICE = "kubernetes.io/service-name=web"
DRIVER = "failing.example.com"
OUT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}


def tolerating(seconds: int) -> list[dict]:
    keys = ("unreachable", "not-ready")
    return [
        {"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for k in keys
    ]


def link(state: str) -> None:
    subprocess.run(["ip", "-n", NAME, "link", "set", "node2", state], check=True)


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    with Api(cluster.layout.admin_kubeconfig) as made:
        yield made


@pytest.fixture
def workload(api: Api, second_node: str) -> Iterator[None]:
    """A Deployment that likes the second node, a patient pod on it, and a volume that is attached to it."""
    api.at("v1", "namespaces").create({"metadata": {"name": SPACE}})
    eventually(lambda: api.at("v1", "serviceaccounts", SPACE).find("default"), "the default service account", 15)
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [second_node]}]}
    liking = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    }
    quick = {"tolerations": tolerating(1), "affinity": liking}
    wanted = pod("web", container(ports=[{"containerPort": 8080}]), **quick)
    template = {"metadata": {"labels": {"app": "web"}}, "spec": wanted["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    api.at("apps/v1", "deployments", SPACE).create({"metadata": {"name": "web"}, "spec": spec})
    ports = [{"port": 80, "targetPort": 8080}]
    api.at("v1", "services", SPACE).create(
        {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    )
    api.pods(SPACE).create(pod("patient", nodeName=second_node, tolerations=tolerating(3600)))
    attach(api, second_node)
    yield
    link("up")
    api.at("v1", "nodes").edit(second_node, lambda o: o["spec"].update(taints=without_ours(o)))
    api.at("v1", "namespaces").delete(SPACE)
    api.at("v1", "persistentvolumes").delete("failing")
    api.at("storage.k8s.io/v1", "csidrivers").delete(DRIVER)


def attach(api: Api, node: str) -> None:
    """A pod with a CSI volume; nobody but this test answers for the driver."""
    api.at("storage.k8s.io/v1", "csidrivers").create({"metadata": {"name": DRIVER}, "spec": {"attachRequired": True}})
    size = {"storage": "1Gi"}
    source = {"driver": DRIVER, "volumeHandle": "v1"}
    claim = {"namespace": SPACE, "name": "failing"}
    spec = {
        "capacity": size,
        "accessModes": ["ReadWriteOnce"],
        "csi": source,
        "claimRef": claim,
        "storageClassName": "",
    }
    api.at("v1", "persistentvolumes").create({"metadata": {"name": "failing"}, "spec": spec})
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": size}, "storageClassName": ""}
    wanted["volumeName"] = "failing"
    api.at("v1", "persistentvolumeclaims", SPACE).create({"metadata": {"name": "failing"}, "spec": wanted})
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "failing"}}]
    main = container(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    api.pods(SPACE).create(pod("keeper", main, volumes=volumes, nodeName=node, tolerations=tolerating(1)))
    found = eventually(lambda: attachments(api), "the volume is to be attached")
    api.at("storage.k8s.io/v1", "volumeattachments").patch(
        found[0]["metadata"]["name"], {"status": {"attached": True}}, MERGE, "status"
    )


def attachments(api: Api) -> list[dict]:
    found = api.at("storage.k8s.io/v1", "volumeattachments").items()
    return [a for a in found if a["spec"]["attacher"] == DRIVER]


def without_ours(node: dict) -> list[dict]:
    return [t for t in node["spec"].get("taints") or [] if t["key"] != OUT["key"]]


def taints(api: Api, node: str) -> set[tuple[str, str]]:
    listed = api.at("v1", "nodes").get(node)["spec"].get("taints") or []
    return {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in listed}


def readiness(api: Api, node: str) -> str:
    conditions = api.at("v1", "nodes").get(node)["status"]["conditions"]
    return {c["type"]: c["status"] for c in conditions}["Ready"]


def serving(api: Api) -> set[str]:
    """The nodes that have ready endpoints of the Service."""
    pieces = api.at("discovery.k8s.io/v1", "endpointslices", SPACE).items(SERVICE)
    endpoints = [e for piece in pieces for e in piece["endpoints"] or []]
    return {e["nodeName"] for e in endpoints if e["conditions"].get("ready") is not False}


def test_a_cut_link_is_a_node_failure_and_the_node_comes_back(api, workload, second_node):
    pods = api.pods(SPACE)
    eventually(lambda: serving(api) == {second_node}, "the Deployment runs on the node that it likes")
    eventually(lambda: ready(pods.get("patient")), "the patient pod is ready")
    old = {p["metadata"]["name"] for p in pods.items("app=web")}

    link("down")
    eventually(lambda: readiness(api, second_node) == "Unknown", "the node counts as failed", 60)
    eventually(
        lambda: {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")} <= taints(api, second_node), "the taints"
    )
    # Evicted after its tolerationSeconds, replaced on the other node, which serves alone from then on.
    eventually(lambda: serving(api) == {FIRST}, "the other node serves", 30)
    gone = {p["metadata"]["name"] for p in pods.items("app=web") if p["metadata"].get("deletionTimestamp")}
    assert gone == old  # they wait for their node to say that they ended
    patient = pods.get("patient")
    assert not patient["metadata"].get("deletionTimestamp") and not ready(patient)

    # The administrator says that the node is off for good: its pods are given up, their volumes let go.
    api.at("v1", "nodes").edit(second_node, lambda o: o["spec"]["taints"].append(OUT))
    eventually(
        lambda: not old & {p["metadata"]["name"] for p in pods.items("app=web")}, "the old pods are given up", 40
    )
    eventually(lambda: pods.find("keeper") is None, "the pod with the volume is given up", 40)
    eventually(lambda: attachments(api) == [], "the volume is detached", 20)

    link("up")
    api.at("v1", "nodes").edit(second_node, lambda o: o["spec"].update(taints=without_ours(o)))
    eventually(lambda: readiness(api, second_node) == "True", "the node is back", 60)
    eventually(lambda: taints(api, second_node) == set(), "its taints are gone")
    if pods.find("patient") is not None:
        eventually(lambda: ready(pods.get("patient")), "the pod that stayed is ready again", 30)
    pods.create(pod("new", nodeName=second_node))
    eventually(lambda: ready(pods.get("new")), "new pods run there", 30)
