"""`kill -9` of the node agent, the container runtime and its shims at random moments while pods come and go.

Afterwards the node holds exactly what the specs ask for (`leaks.differences`). `SHIRUBE_KILLS=100` runs it for as many
kills, `SHIRUBE_SEED` with other moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from typing import Any

import pytest
from tests.cluster.conftest import NAME, Cluster
from tests.cluster.leaks import differences, shim_pids
from tests.waiting import eventually

from shirube.cluster.api import Api

pytestmark = pytest.mark.cluster

KILLS = int(os.environ.get("SHIRUBE_KILLS", "9"))
SEED = int(os.environ.get("SHIRUBE_SEED", "1"))
NODE = f"{NAME}-2"  # a node of its own: nothing but its pods may be there
SETTLED_SECONDS = 90


def pod_spec() -> dict[str, Any]:
    page = {"name": "page", "mountPath": "/page"}
    settings = {"name": "settings", "mountPath": "/settings"}
    script = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 3600 & wait $!; done"
    return {
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"kubernetes.io/hostname": NODE},
        "containers": [
            {
                "name": name,
                "image": "localhost/hello:1",
                "command": ["/bin/busybox", "sh", "-c", script],
                "volumeMounts": [page, settings],
                "resources": {"requests": {"cpu": "1m"}},
            }
            for name in ("one", "two")
        ],
        "volumes": [
            {"name": "page", "emptyDir": {"medium": "Memory"}},
            {"name": "settings", "configMap": {"name": "settings"}},
        ],
    }


class Churn:
    """Makes and deletes pods, singly and through a Deployment, from a seed."""

    def __init__(self, api: Api, namespace: str, chance: random.Random) -> None:
        self.api = api
        self.chance = chance
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/steady"
        self.names: list[str] = []
        self.made = 0
        labels = {"app": "steady"}
        template = {"metadata": {"labels": labels}, "spec": pod_spec()}
        self._post(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "settings"}, "data": {"a": "b"}})
        spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
        self._post(self.deployment.rpartition("/")[0], {"metadata": {"name": "steady"}, "spec": spec})

    def _post(self, path: str, obj: dict[str, Any]) -> None:
        status, data = self.api.request("POST", path, obj)
        assert status == 201, data

    def step(self) -> None:
        match self.chance.randrange(4):
            case 0 | 1 if len(self.names) < 4:
                self.made += 1
                self.names.append(f"single-{self.made}")
                self._post(self.pods, {"metadata": {"name": self.names[-1]}, "spec": pod_spec()})
            case 3:
                replicas = {"spec": {"replicas": self.chance.randint(1, 4)}}
                status, data = self.api.request("PATCH", self.deployment, replicas, "application/merge-patch+json")
                assert status == 200, data
            case _ if self.names:
                self.api.delete(f"{self.pods}/{self.names.pop(self.chance.randrange(len(self.names)))}")
            case _:
                pass


def kill(cluster: Cluster, chance: random.Random) -> str:
    """End one process of the node without warning; what it was."""
    what = chance.choice(["kubelet", "containerd", "shim"])
    shims = shim_pids(cluster.layout.node(2))
    if what == "shim" and shims:
        pid = chance.choice(shims)
    else:
        what = "kubelet" if what == "shim" else what
        pid = eventually(lambda: cluster.children()[f"{what}@{NODE}"]["pid"], f"{what} is back")
    os.kill(pid, signal.SIGKILL)
    return what


def test_nothing_is_lost_doubled_or_left_behind(cluster: Cluster, second_node: str, namespace: str):
    assert second_node == NODE
    chance = random.Random(SEED)
    node = cluster.layout.node(2)
    churn = Churn(Api(cluster.layout.admin_kubeconfig), namespace, chance)
    pause = threading.Event()
    killed: Counter[str] = Counter()
    while sum(killed.values()) < KILLS:
        for _ in range(chance.randint(1, 3)):
            churn.step()
        pause.wait(chance.random() * 1.5)  # the moment of the kill is what is tested
        killed[kill(cluster, chance)] += 1

    def settled() -> list[dict[str, Any]]:
        pods = cluster.get("pods", "-A", "--field-selector", f"spec.nodeName={NODE}")["items"]
        waiting = [p["metadata"]["name"] for p in pods if p["metadata"].get("deletionTimestamp") or not _ready(p)]
        assert not waiting, f"not settled: {waiting}"
        found = differences(node, pods)
        assert not found, "\n".join(found)
        return pods

    pods = eventually(settled, f"the node holds what it should after {dict(killed)}", SETTLED_SECONDS)
    ours = [p for p in pods if p["metadata"]["namespace"] == namespace]
    replicas = json.loads(churn.api.request("GET", churn.deployment)[1])["spec"]["replicas"]
    assert len(ours) == replicas + len(churn.names)
    print(f"killed {dict(killed)}; {len(pods)} pods; no differences")


def _ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
