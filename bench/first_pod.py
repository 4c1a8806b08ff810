"""`up --nodes 1` with images present: from the command to the first pod Running.

The cluster is made once to have its images and its identity, then purged of everything but those caches that
survive on a machine, and started cold.
"""

from __future__ import annotations

import time

from bench.cluster import NAME
from bench.figure import Figure
from bench.sharing import Shared
from bench.workloads import NAMESPACE, pod, prepare

COMMAND = "python -m bench first_pod"


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    cluster.stop()
    began = time.perf_counter()
    cluster.shirube("up", "--name", NAME)
    up = time.perf_counter() - began
    prepare(cluster)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    cluster.request("POST", path, pod("first"))
    cluster.wait("the first pod", lambda: cluster.request("GET", f"{path}/first")["status"]["phase"] == "Running")
    total = time.perf_counter() - began
    cluster.request("DELETE", f"{path}/first?gracePeriodSeconds=0")
    return [
        Figure("up --nodes 1 (its images present) to the first pod Running", f"{total:.1f} s", "≤ 4 s", COMMAND),
        Figure("  of that: up, until the node is Ready", f"{up:.1f} s", "", COMMAND),
    ]
