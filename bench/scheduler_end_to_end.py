"""First create to last bind, through the real API server over TLS, on 1,000 nodes that exist only as objects.

    python -m bench.scheduler_end_to_end [--nodes 1000] [--pods 2000] [--kind basic|mixed|both]

An API server, a scheduler and the load generator, each a process of its own, share the machine. Three times are shown:
until all pods were created, until the last was bound (the figure), and until the last `Scheduled` event was written;
and the processor time of the API server and the scheduler apart.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson

from bench import scheduler
from bench.figure import HEADER, Figure
from bench.load import measured
from bench.server import PODS, Server, cpu_seconds
from bench.sharing import Shared

_LOOK_SECONDS = 0.02
_LIMIT_SECONDS = 90.0
ZONE = "topology.kubernetes.io/zone"


def run(
    shared: Shared, nodes: int = 1000, pods: int = 2000, kinds: tuple[str, ...] = ("basic", "mixed")
) -> list[Figure]:
    return [figure for kind in kinds for figure in _measure(nodes, pods, kind)]


def _measure(nodes: int, count: int, kind: str) -> list[Figure]:
    server = Server()
    try:
        target = server.target
        bodies = [_node(n) for n in range(nodes)]
        made = measured(target, [target.request("POST", "/api/v1/nodes", orjson.dumps(b)) for b in bodies], 16)
        assert made.count == nodes, made.statuses
        # Admission taints new nodes as not ready, which the node controller would lift.
        ready = orjson.dumps({"spec": {"taints": []}})
        merge = "application/merge-patch+json"
        lifting = [target.request("PATCH", f"/api/v1/nodes/{b['metadata']['name']}", ready, merge) for b in bodies]
        assert measured(target, lifting, 16).count == nodes
        process = _start_scheduler(server)
        try:
            _wait(lambda: _bound_probe(server), "the scheduler to start")
            return _race(server, process.pid, nodes, count, kind)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=15)
    finally:
        server.close()


def _race(server: Server, scheduler_pid: int, nodes: int, count: int, kind: str) -> list[Figure]:
    before = [cpu_seconds(pid) for pid in (server.process.pid, scheduler_pid)]
    requests = [server.target.request("POST", PODS, orjson.dumps(_pod(n, kind))) for n in range(count)]
    times: dict[str, float] = {}

    def create() -> None:
        result = measured(server.target, requests, 32)
        times["create"] = result.seconds
        times["began"] = time.perf_counter() - result.seconds  # the generator's own start-up does not count

    thread = threading.Thread(target=create)
    thread.start()
    _wait(lambda: _count(server, PODS) >= count and not _pending(server), "the last bind")
    bound = time.perf_counter()
    busy = [cpu_seconds(pid) - b for pid, b in zip((server.process.pid, scheduler_pid), before, strict=True)]
    thread.join()
    events = "/apis/events.k8s.io/v1/namespaces/bench/events"
    _wait(lambda: _count(server, events) >= count, "the last event")
    told = time.perf_counter()
    seconds = bound - times["began"]
    command = f"python -m bench.scheduler_end_to_end --kind {kind}"
    what = f"{nodes:,} nodes, {count:,} pods ({kind}), first create to last bind"
    apart = f"created in {times['create']:.2f} s, bound {seconds:.2f} s, events {told - times['began']:.2f} s"
    goal = "≥ 1,000/s" if kind == "basic" else "≥ 700/s"
    processors = f"API server {busy[0]:.2f} s, scheduler {busy[1]:.2f} s"
    return [
        Figure(what, f"{count / seconds:,.0f}/s", goal, command),
        Figure("  of it", apart, "", ""),
        Figure("  processor time until then", processors, "", ""),
    ]


def _start_scheduler(server: Server) -> subprocess.Popen[bytes]:
    log = (server.data / "bench-scheduler.log").open("ab")
    arguments = ["scheduler", "--kubeconfig", str(server.data / "admin.kubeconfig"), "--no-leader-elect"]
    return subprocess.Popen(
        [sys.executable, "-m", "shirube", *arguments],
        stderr=log,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")},
    )


def _bound_probe(server: Server) -> bool:
    """A pod of its own, bound, shows that the scheduler is at work."""
    path = "/api/v1/namespaces/bench-coming/pods"
    try:
        probe = server.admin("GET", f"{path}/probe")
    except RuntimeError:
        server.admin("POST", path, {**_pod(0, "basic"), "metadata": {"name": "probe"}})
        return False
    return bool(probe["spec"].get("nodeName"))


def _count(server: Server, path: str) -> int:
    page = server.admin("GET", f"{path}?limit=1")
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def _pending(server: Server) -> bool:
    return bool(server.admin("GET", f"{PODS}?fieldSelector=spec.nodeName%3D&limit=1")["items"])


def _wait(done, what: str) -> None:
    deadline = time.monotonic() + _LIMIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"cannot measure: waited {_LIMIT_SECONDS:.0f} s for {what}")
        time.sleep(_LOOK_SECONDS)


def _node(number: int) -> dict:
    node = scheduler.node(number, zones=10)
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "hollow"}
    node["status"] |= {"conditions": [ready], "capacity": node["status"]["allocatable"]}
    return {"apiVersion": "v1", "kind": "Node", **node}


def _pod(number: int, kind: str) -> dict:
    made = scheduler.basic(number)
    if kind == "mixed":
        made = (scheduler.preferred_spread, _preferring, _near)[number % 3](number)
    del made["metadata"]["uid"], made["metadata"]["namespace"], made["status"]
    return {"apiVersion": "v1", "kind": "Pod", **made}


def _preferring(number: int) -> dict:
    preference = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2"]}]}
    affinity = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": preference}]}
    return scheduler.pod(number, {"app": "preferring"}, affinity={"nodeAffinity": affinity})


def _near(number: int) -> dict:
    made = scheduler.pod_affinity(number)
    made["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "10m", "memory": "10Mi"}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--kind", choices=["basic", "mixed", "both"], default="both")
    args = parser.parse_args()
    print(HEADER, flush=True)
    kinds = ("basic", "mixed") if args.kind == "both" else (args.kind,)
    with Shared() as shared:
        for figure in run(shared, args.nodes, args.pods, kinds):
            print(figure, flush=True)


if __name__ == "__main__":
    main()
