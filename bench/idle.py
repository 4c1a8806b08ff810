"""Memory (PSS) and CPU of an idle one-node cluster, process by process: control plane, and node agent with network."""

from __future__ import annotations

import time

import orjson

from bench.cluster import NAME, Cluster
from bench.figure import Figure
from bench.processes import idle_cpu, parent, pss
from bench.sharing import Shared

SETTLE = 15.0  # seconds for start-up work to end
SECONDS = 30.0
CONTROL_PLANE = ("supervisor", "apiserver", "controllers", "scheduler", "gateway")
NODE = ("kubelet", "network")
COMMAND = "python -m bench idle"


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    time.sleep(SETTLE)
    found = components(cluster)
    figures = []
    for what, names, memory, cpu in (
        ("control plane", CONTROL_PLANE, "≤ 150 MB", "≤ 1.5 %"),
        ("node agent and network", NODE, "≤ 80 MB", "≤ 0.8 %"),
    ):
        pids = {name: pid for name, pid in found.items() if name in names}
        if set(pids) != set(names):
            raise RuntimeError(f"cannot measure the {what}: found {sorted(found)}")
        used = idle_cpu(list(pids.values()), SECONDS)
        parts = {name: pss(pid) / 1e6 for name, pid in pids.items()}
        shown = " + ".join(f"{name} {size:.0f}" for name, size in parts.items())
        figures += [
            Figure(f"{what}, idle memory, PSS ({shown})", f"{sum(parts.values()):.0f} MB", memory, COMMAND),
            Figure(f"{what}, idle CPU, of one core", f"{used:.1f} %", cpu, COMMAND),
        ]
    return figures


def components(cluster: Cluster) -> dict[str, int]:
    """Process ids by component, as `status` tells them; the supervisor is their parent."""
    status = orjson.loads(cluster.shirube("status", "--name", NAME, "-o", "json"))[0]
    found = {c["name"].partition("@")[0]: int(c["pid"]) for c in status["components"] if c["pid"]}
    found["supervisor"] = parent(found["apiserver"])
    return found
