"""Thirty pods at once on one node, until all are Ready."""

from __future__ import annotations

from bench.figure import Figure
from bench.sharing import Shared
from bench.workloads import NAMESPACE, deployment, prepare

PODS = 30


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    prepare(cluster)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    cluster.request("POST", path, deployment("thirty", PODS))
    seconds = cluster.wait(
        "thirty pods", lambda: cluster.request("GET", f"{path}/thirty")["status"].get("readyReplicas") == PODS
    )
    cluster.request("DELETE", f"{path}/thirty")
    return [Figure(f"{PODS} pods at once, all Ready", f"{seconds:.1f} s", "≤ 4.0 s", "python -m bench thirty_pods")]
