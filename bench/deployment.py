"""A one-pod Deployment, image present: from its creation to Ready, ten of them one after another."""

from __future__ import annotations

from bench.figure import Figure, percentile
from bench.sharing import Shared
from bench.workloads import NAMESPACE, deployment, prepare

ROUNDS = 10


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    prepare(cluster)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    times = []
    for n in range(ROUNDS):
        name = f"one-{n}"
        cluster.request("POST", path, deployment(name))
        times.append(
            cluster.wait(
                f"deployment {name}",
                lambda name=name: cluster.request("GET", f"{path}/{name}")["status"].get("readyReplicas") == 1,
            )
        )
        cluster.request("DELETE", f"{path}/{name}")
    return [
        Figure(
            f"one-pod Deployment to Ready, p50 of {ROUNDS} (max)",
            f"{percentile(times, 0.5):.2f} s ({max(times):.2f} s)",
            "≤ 0.50 s",
            "python -m bench deployment",
        )
    ]
