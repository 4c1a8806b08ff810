"""`up --nodes 1`, cold, with its images on disk: from the command to the first pod Running.

A cluster is made to have the images, then everything but those is purged: certificates, store, node, identities are
made anew. The pod is created in the namespace `default` as soon as that takes pods.
"""

from __future__ import annotations

import time

from bench.cluster import NAME, Cluster
from bench.figure import Figure
from bench.sharing import Shared
from bench.workloads import pod

COMMAND = "python -m bench first_pod"
PODS = "/api/v1/namespaces/default/pods"


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    cluster.forget_all_but_images()
    began = time.perf_counter()
    cluster.shirube("up", "--name", NAME, "--nodes", "1", "--port", str(cluster.port))
    up = time.perf_counter() - began
    cluster.wait("a place for the first pod", lambda: _created(cluster))
    cluster.wait("the first pod", lambda: cluster.request("GET", f"{PODS}/first")["status"]["phase"] == "Running")
    total = time.perf_counter() - began
    cluster.request("DELETE", f"{PODS}/first?gracePeriodSeconds=0")
    return [
        Figure("up --nodes 1, cold, images present, to the first pod Running", f"{total:.1f} s", "≤ 4 s", COMMAND),
        Figure("  of that: up, until the node is Ready", f"{up:.1f} s", "", COMMAND),
    ]


def _created(cluster: Cluster) -> bool:
    try:
        cluster.request("POST", PODS, pod("first"))
    except RuntimeError as error:
        if "service account" not in str(error):
            raise
        return False  # its controller has not made it yet
    return True
