"""What scheduling decisions cost: the loop alone (filter, score, choose, assume), no API.

    python -m bench.scheduler [--quick] [WORKLOAD ...]

Workloads have the shapes of upstream's scheduler_perf: basic pods; hard topology spread over zones; required pod
anti-affinity by host; required node affinity; preemption (a full cluster of low priority, then high priority); devices
(dynamic resource allocation). Each line: pods decided a second over the whole run, the same by processor time (what a
machine with nothing else to do shows), the slowest single decision by processor time.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import time

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide
from shirube.scheduler.pod import read
from shirube.scheduler.preemption import preempt
from shirube.scheduler.reserving import reserve

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def node(number: int, zones: int = 10, cpu: str = "32") -> dict:
    name = f"node-{number:05}"
    return {
        "metadata": {"name": name, "labels": {HOST: name, ZONE: f"zone-{number % zones}", "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "128Gi", "pods": "110", "ephemeral-storage": "100Gi"}},
    }


def pod(number: int, labels: dict | None = None, cpu: str = "100m", memory: str = "500Mi", **spec) -> dict:
    requests = {"cpu": cpu, "memory": memory}
    return {
        "metadata": {"name": f"pod-{number}", "namespace": "bench", "uid": f"uid-{number}", "labels": labels or {}},
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": requests}}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            ],
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def basic(number: int) -> dict:
    return pod(number, {"app": "basic"})


def unlike(number: int) -> dict:
    """Every pod with labels and requests of its own: nothing to share."""
    return pod(number, {"app": f"app-{number}"}, cpu=f"{100 + number % 997}m")


def spread(number: int) -> dict:
    constraint = {
        "maxSkew": 5,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"color": "blue"}},
    }
    return pod(number, {"color": "blue"}, topologySpreadConstraints=[constraint])


def preferred_spread(number: int) -> dict:
    made = spread(number)
    made["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] = "ScheduleAnyway"
    return made


def anti_affinity(number: int) -> dict:
    """Groups of 1,000 whose pods keep away from each other's nodes."""
    group = {"group": f"g{number // 1000}"}
    term = {"labelSelector": {"matchLabels": group}, "topologyKey": HOST}
    required = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return pod(number, group, affinity=required)


def pod_affinity(number: int) -> dict:
    term = {"labelSelector": {"matchLabels": {"foo": ""}}, "topologyKey": ZONE}
    return pod(
        number, {"foo": ""}, affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    )


def node_affinity(number: int) -> dict:
    zones = [f"zone-{z}" for z in (0, 1, 2)]
    term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": zones}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return pod(number, affinity={"nodeAffinity": required})


def low(number: int) -> dict:
    return pod(number, cpu="8", memory="20Gi", priority=1)


def high(number: int) -> dict:
    return pod(number, cpu="8", memory="20Gi", priority=1000)


WORKLOADS = {
    "basic": (5000, 10_000, basic),
    "basic-1000-nodes": (1000, 10_000, basic),
    "every-pod-different": (5000, 10_000, unlike),
    "topology-spread": (5000, 10_000, spread),
    "preferred-spread": (5000, 10_000, preferred_spread),
    "pod-anti-affinity": (5000, 10_000, anti_affinity),
    "pod-affinity": (5000, 10_000, pod_affinity),
    "node-affinity": (5000, 10_000, node_affinity),
}


def cluster(nodes: int) -> NodeColumns:
    columns = NodeColumns()
    for number in range(nodes):
        columns.set_node(node(number))
    return columns


def place(columns: NodeColumns, infos: list, profile: Profile, chance: Chance) -> tuple[int, float]:
    """How many were placed, and the slowest decision."""
    placed, slowest = 0, 0.0
    for info in infos:
        before = time.process_time()
        chosen = decide(info, columns, chance, profile).node
        if chosen:
            columns.add_pod(chosen, info)
            placed += 1
        slowest = max(slowest, time.process_time() - before)
    return placed, slowest


def run(name: str, nodes: int, pods: int, make) -> None:
    profile, chance, columns = Profile.default(), Chance(1), cluster(nodes)
    infos = [read(make(i)) for i in range(pods)]
    gc.collect()
    gc.freeze()
    started = Stopwatch()
    placed, slowest = place(columns, infos, profile, chance)
    report(name, nodes, pods, placed, started, slowest)


def run_preemption(nodes: int, pods: int) -> None:
    profile, chance, columns = Profile.default(), Chance(1), cluster(nodes)
    for i in range(nodes * 4):
        columns.add_pod(f"node-{i // 4:05}", read(low(i)))
    infos = [read(high(nodes * 4 + i)) for i in range(pods)]
    gc.collect()
    gc.freeze()
    placed, slowest, started = 0, 0.0, Stopwatch()
    for info in infos:
        before = time.process_time()
        decision = decide(info, columns, chance, profile)
        if decision.diagnosis is not None:
            found = preempt(info, columns, profile, decision.diagnosis, chance)
            if found.node:
                columns.nominate(found.node, info)
                info.nominated = found.node
                for victim in found.victims:
                    columns.remove_pod(victim.uid)
                decision = decide(info, columns, chance, profile)
        if decision.node:
            columns.withdraw(info.uid)
            columns.add_pod(decision.node, info)
            placed += 1
        slowest = max(slowest, time.process_time() - before)
    report("preemption", nodes, pods, placed, started, slowest)


def run_devices(nodes: int, pods: int) -> None:
    """Each pod with a claim to one of its node's eight devices, by a CEL selector."""
    profile, chance, columns = Profile.default(), Chance(1), cluster(nodes)
    inventory, driver = columns.around.devices, "gpu.example.com"
    expression = f'device.driver == "{driver}" && device.attributes["{driver}"].memory >= 40'
    inventory.set_class({"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
    for name in columns.names():
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        devices = [{"name": f"gpu-{i}", "attributes": {"memory": {"int": 80}}} for i in range(8)]
        spec = {"driver": driver, "nodeName": name, "pool": pool, "devices": devices}
        inventory.set_slice({"metadata": {"name": name}, "spec": spec})
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}
    infos = []
    for i in range(pods):
        metadata = {"name": f"claim-{i}", "namespace": "bench", "uid": f"claim-{i}"}
        inventory.set_claim({"metadata": metadata, "spec": {"devices": {"requests": [request]}}})
        infos.append(read(pod(i, resourceClaims=[{"name": "gpu", "resourceClaimName": f"claim-{i}"}])))
    gc.collect()
    gc.freeze()
    placed, slowest, started = 0, 0.0, Stopwatch()
    for info in infos:
        before = time.process_time()
        chosen = decide(info, columns, chance, profile).node
        if chosen:
            reserve(info, columns, chosen, profile, chance)
            columns.add_pod(chosen, info)
            placed += 1
        slowest = max(slowest, time.process_time() - before)
    report("devices", nodes, pods, placed, started, slowest)


def run_memory() -> None:
    """5,000 nodes with 50,000 running pods in 500 templates, as the informer keeps them."""
    import orjson

    from shirube.client.informer import Store
    from shirube.scheduler.pod import project

    before = resident()
    columns, store = cluster(5000), Store()
    for i in range(50_000):
        made = pod(i, {"app": f"app-{i % 500}"})
        made["spec"]["nodeName"] = f"node-{i % 5000:05}"
        made["metadata"]["resourceVersion"] = str(i)
        made["status"] = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}
        slim = project(orjson.loads(orjson.dumps(made)))
        store.put(slim["info"].key, slim)
        columns.add_pod(slim["node"], slim["info"])
    print(
        f"memory   5,000 nodes 50,000 pods: {resident():.0f} MB resident, {resident() - before:.0f} MB of it for them"
    )


def resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def report(name: str, nodes: int, pods: int, placed: int, since: Stopwatch, slowest: float) -> None:
    seconds, busy = since.read()
    print(
        f"{name:20} {nodes:,} nodes {pods:,} pods ({placed:,} placed): {pods / seconds:8,.0f} pods/s, "
        f"{pods / busy:8,.0f} by processor time, slowest {slowest * 1000:.1f} ms",
        flush=True,
    )


class Stopwatch:
    """Time on the wall, and of the processor."""

    def __init__(self) -> None:
        self._wall, self._busy = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, "preemption", "devices", "memory", []])
    parser.add_argument("--quick", action="store_true", help="a fifth of the nodes and pods")
    args = parser.parse_args()
    part = 5 if args.quick else 1
    for name, (nodes, pods, make) in WORKLOADS.items():
        if not args.workloads or name in args.workloads:
            run(name, nodes // part, pods // part, make)
    if not args.workloads or "preemption" in args.workloads:
        run_preemption(5000 // part, 10_000 // part)
    if not args.workloads or "devices" in args.workloads:
        run_devices(5000 // part, 10_000 // part)
    if "memory" in args.workloads:
        run_memory()
    elif not args.workloads:  # in a process of its own, without what the others left
        subprocess.run([sys.executable, "-m", "bench.scheduler", "memory"], check=True)


if __name__ == "__main__":
    main()
