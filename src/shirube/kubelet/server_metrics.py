"""`/metrics` of the node agent: Prometheus text (format 0.0.4), names as upstream's where upstream has them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from shirube import KUBERNETES_VERSION
from shirube.kubelet.server_agent import ServedAgent

_HZ = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ServerCounters:
    """What the server counts of itself."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by (route, status)
        self.open_streams: Counter[str] = Counter()  # by route


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _family(name: str, kind: str, text: str, samples: list[tuple[dict[str, str], float]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{escape(label)}"' for key, label in labels.items())
        number = str(int(value)) if value == int(value) else repr(value)
        lines.append(f"{name}{{{shown}}} {number}" if shown else f"{name} {number}")
    return lines


def metrics_text(agent: ServedAgent, counters: ServerCounters) -> bytes:
    running_pods, states = 0, Counter[str]()
    for pod in agent.pods.list():
        worker = agent.pods.worker(pod["metadata"]["namespace"], pod["metadata"]["name"])
        if worker is None:
            continue
        sandbox = worker.runtime.sandbox
        running_pods += bool(sandbox is not None and sandbox.ready)
        states.update(container.state for container in worker.runtime.containers)
    statistics = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    cpu = (int(statistics[11]) + int(statistics[12])) / _HZ
    started = _boot_time() + int(statistics[19]) / _HZ
    rows = [
        *_family("kubernetes_build_info", "gauge", "Version.", [({"git_version": KUBERNETES_VERSION}, 1)]),
        *_family("kubelet_running_pods", "gauge", "Pods with a running sandbox.", [({}, running_pods)]),
        *_family(
            "kubelet_running_containers",
            "gauge",
            "Containers by state.",
            [({"container_state": state}, count) for state, count in sorted(states.items())],
        ),
        *_family(
            "kubelet_http_requests_total",
            "counter",
            "Requests answered, by path and status.",
            [({"path": path, "code": str(code)}, count) for (path, code), count in sorted(counters.requests.items())],
        ),
        *_family(
            "kubelet_open_streams",
            "gauge",
            "Exec, attach and port-forward sessions under way.",
            [({"path": path}, count) for path, count in sorted(counters.open_streams.items())],
        ),
        *_family("process_cpu_seconds_total", "counter", "CPU time used.", [({}, cpu)]),
        *_family("process_resident_memory_bytes", "gauge", "Resident memory.", [({}, int(statistics[21]) * _PAGE)]),
        *_family("process_start_time_seconds", "gauge", "Start of the process.", [({}, started)]),
    ]
    return ("\n".join(rows) + "\n").encode()


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
