"""What the controllers take their time for, end to end through a real API server over TLS.

API server, controllers, scheduler and hollow nodes are a process each and share the machine. Beside each time stands
the CPU time that the API server and the controllers used for it: on a busy machine it says more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from bench.figure import Figure
from bench.load import measured
from bench.processes import cpu_seconds, idle_cpu
from bench.server import Server
from bench.sharing import Shared

REPLICAS, OBJECTS, JOBS, PODS_EACH = 1000, 10_000, 500, 4
NODES = 10
IDLE_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_LIMIT_SECONDS = 240.0
COMMAND = "python -m bench controllers"

Json = dict[str, Any]


class Stage:
    def __init__(self, server: Server, controllers: subprocess.Popen[bytes]) -> None:
        self.server, self.controllers = server, controllers

    def count(self, path: str) -> int:
        page = self.server.admin("GET", f"{path}?limit=1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    def timed(self, begin: Callable[[], Any], done: Callable[[], bool], what: str, look: float = _LOOK_SECONDS) -> str:
        """Seconds from `begin` to `done`, and the CPU seconds of API server and controllers."""
        pids = (self.server.process.pid, self.controllers.pid)
        before = [cpu_seconds(pid) for pid in pids]
        began = time.perf_counter()
        begin()
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"cannot measure: waited {_LIMIT_SECONDS:.0f} s for {what}")
            time.sleep(look)
        seconds = time.perf_counter() - began
        api, own = (cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True))
        return f"{seconds:.2f} s (API {api:.1f} s, controllers {own:.1f} s CPU)"


def run(shared: Shared) -> list[Figure]:
    with _stage() as stage:
        idle = idle_cpu([stage.controllers.pid], IDLE_SECONDS)
        figures = [Figure("controllers, idle CPU, of one core", f"{idle:.2f} %", "≤ 0.5 %", COMMAND)]
        figures.append(_deployment(stage))
        figures.append(_jobs(stage))
        figures.append(_namespace(stage))
        return figures


@contextmanager
def _stage() -> Iterator[Stage]:
    server = Server()
    started: list[subprocess.Popen[bytes]] = []
    try:
        assert server.target
        config = str(server.data / "admin.kubeconfig")
        controllers = _start(server, "-m", "shirube", "controllers", "--kubeconfig", config, "--no-leader-elect")
        started.append(controllers)
        started.append(_start(server, "-m", "shirube", "scheduler", "--kubeconfig", config, "--no-leader-elect"))
        started.append(_start(server, "-m", "bench.hollow_nodes", "--kubeconfig", config, "--nodes", str(NODES)))
        stage = Stage(server, controllers)
        _settle(stage)
        yield stage
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=20)
        server.close()


def _start(server: Server, *arguments: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parent.parent
    log = (server.data / "bench-components.log").open("ab")
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    return subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, env=environment)


def _settle(stage: Stage) -> None:
    """Until a small Deployment of its own runs: then everything is at work."""
    path = "/apis/apps/v1/namespaces/bench/deployments"
    deadline = time.monotonic() + 60
    stage.server.admin("POST", path, _deployment_of("probe", 1))
    while stage.server.admin("GET", f"{path}/probe").get("status", {}).get("readyReplicas") != 1:
        if time.monotonic() > deadline:
            raise RuntimeError("cannot measure: the controllers, the scheduler or the nodes did not start")
        time.sleep(_LOOK_SECONDS)
    stage.server.admin("DELETE", f"{path}/probe")
    time.sleep(5)


def _template(name: str, annotations: Json, **spec: Any) -> Json:
    container = {"name": "c", "image": "hollow", "resources": {"requests": {"cpu": "10m"}}}
    metadata = {"labels": {"app": name}, "annotations": annotations}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}


def _deployment_of(name: str, replicas: int) -> Json:
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": replicas, "selector": selector, "template": _template(name, {})}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _deployment(stage: Stage) -> Figure:
    path, pods = "/apis/apps/v1/namespaces/bench/deployments", "/api/v1/namespaces/bench/pods"
    before = stage.count(pods)
    took = stage.timed(
        lambda: stage.server.admin("POST", path, _deployment_of("thousand", REPLICAS)),
        lambda: stage.count(pods) >= before + REPLICAS,
        "the pods of a Deployment",
    )
    stage.server.admin("DELETE", f"{path}/thousand")
    deadline = time.monotonic() + _LIMIT_SECONDS
    while stage.count(pods) > before and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return Figure(f"Deployment of {REPLICAS:,} replicas to all pods created", took, "≤ 3 s", COMMAND)


def _jobs(stage: Stage) -> Figure:
    path, target = "/apis/batch/v1/namespaces/bench/jobs", stage.server.target
    template = _template("job", {"simulation.shirube.dev/run-seconds": "0.1"}, restartPolicy="Never")
    spec = {"completions": PODS_EACH, "parallelism": PODS_EACH, "template": template}
    bodies = [{"metadata": {"name": f"job-{n}"}, "spec": spec} for n in range(JOBS)]
    requests = [target.request("POST", path, orjson.dumps(body)) for body in bodies]
    left = set(range(JOBS))

    def finished() -> bool:
        items = stage.server.admin("GET", path)["items"]
        return sum(1 for job in items if job.get("status", {}).get("completionTime")) == len(left)

    took = stage.timed(lambda: measured(target, requests, 16), finished, "the Jobs", 0.5)
    return Figure(f"{JOBS} Jobs of {PODS_EACH} pods finished and counted", took, "≤ 20 s", COMMAND)


def _namespace(stage: Stage) -> Figure:
    server, name = stage.server, "bench-large"
    server.admin("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    path, target = f"/api/v1/namespaces/{name}/configmaps", server.target
    bodies = [{"metadata": {"name": f"c-{n}"}, "data": {"a": "b"}} for n in range(OBJECTS)]
    measured(target, [target.request("POST", path, orjson.dumps(body)) for body in bodies], 32)

    def gone() -> bool:
        items = server.admin("GET", f"/api/v1/namespaces?fieldSelector=metadata.name%3D{name}")["items"]
        return not items

    took = stage.timed(lambda: server.admin("DELETE", f"/api/v1/namespaces/{name}"), gone, "the namespace")
    return Figure(f"namespace of {OBJECTS:,} objects deleted", took, "≤ 10 s", COMMAND)
