"""What nodes and pods use, out of the box: `kubectl top`, and an autoscaler that follows a real load."""

from __future__ import annotations

import pytest
from tests.cluster.conftest import Cluster
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

# A fifth of a core at most: what is asked for is exceeded eight times over, and the machine stays usable.
LOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  replicas: 1
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: loop
        image: localhost/hello:1
        command: [/bin/sh, -c, "while :; do :; done"]
        resources: {requests: {cpu: 10m}, limits: {cpu: 200m, memory: 32Mi}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 2
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}
"""


def test_an_autoscaler_follows_a_real_load_and_top_shows_it(cluster: Cluster, namespace: str):
    cluster.apply(LOAD, "-n", namespace)

    def top() -> list[str]:
        return cluster.kubectl("top", "pods", "-n", namespace, "-l", "app=busy", "--no-headers").split()

    # (A machine with much else to do gives it little.)
    shown = eventually(lambda: int(top()[1].removesuffix("m")) >= 20 and top(), "top shows the load", 120)
    assert int(shown[1].removesuffix("m")) <= 260
    eventually(
        lambda: cluster.get("hpa", "busy", "-n", namespace)["status"].get("desiredReplicas") == 2, "a second one", 180
    )
    found = cluster.get("hpa", "busy", "-n", namespace)
    assert found["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] > 100
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert (conditions["AbleToScale"], conditions["ScalingActive"]) == ("True", "True")
    eventually(lambda: cluster.get("deployment", "busy", "-n", namespace)["spec"]["replicas"] == 2, "scaled")
    reasons = {e["reason"] for e in cluster.get("events", "-n", namespace)["items"]}
    assert "SuccessfulRescale" in reasons


def test_top_of_nodes_and_containers(cluster: Cluster, namespace: str):
    cluster.kubectl("run", "-n", namespace, "one", "--image=localhost/hello:1", "--restart=Never")
    lines = eventually(lambda: cluster.kubectl("top", "nodes", "--no-headers").splitlines(), "nodes have metrics")
    name, cpu, share, memory, _ = lines[0].split()
    assert name.endswith("-1")
    assert cpu.endswith("m")
    assert share.endswith("%")
    assert int(memory.removesuffix("Mi")) > 10
    shown = eventually(
        lambda: cluster.run("top", "pods", "-n", namespace, "--containers", "--no-headers").stdout.split(), "a pod", 45
    )
    assert shown[:2] == ["one", "one"]
    missing = cluster.fails("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/none")
    assert 'nodes.metrics.k8s.io "none" not found' in missing
