"""Memory (PSS) and CPU of an idle one-node cluster, process by process: control plane, and node agent with network."""

from __future__ import annotations

import time
from pathlib import Path

from bench.figure import Figure
from bench.processes import cpu_seconds, idle_cpu, pss, title
from bench.sharing import Shared

SETTLE = 15.0  # seconds for start-up work to end
SECONDS = 30.0
CONTROL_PLANE = ("shirube-apiserver", "shirube-controllers", "shirube-scheduler")
NODE = ("shirube-kubelet", "shirube-network")
COMMAND = "python -m bench idle"


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    found = named(str(cluster.home))
    time.sleep(SETTLE)
    figures = []
    for what, names, memory, cpu in (
        ("control plane", CONTROL_PLANE, "≤ 150 MB", "≤ 1.5 %"),
        ("node agent and network", NODE, "≤ 80 MB", "≤ 0.8 %"),
    ):
        pids = {name: pid for name, pid in found.items() if name in names}
        if set(pids) != set(names):
            raise RuntimeError(f"cannot measure the {what}: found {sorted(found)}")
        used = idle_cpu(list(pids.values()), SECONDS)
        parts = {name.removeprefix("shirube-"): pss(pid) / 1e6 for name, pid in pids.items()}
        shown = " + ".join(f"{name} {size:.0f}" for name, size in parts.items())
        figures += [
            Figure(f"{what}, idle memory, PSS ({shown})", f"{sum(parts.values()):.0f} MB", memory, COMMAND),
            Figure(f"{what}, idle CPU, of one core", f"{used:.1f} %", cpu, COMMAND),
        ]
    return figures


def named(home: str) -> dict[str, int]:
    """Process ids of the components of the cluster in `home`, by title."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            pid = int(folder.name)
            name = title(pid).split(" ")[0]
            if name in (*CONTROL_PLANE, *NODE) and home.encode() in (folder / "environ").read_bytes():
                found[name] = pid
                cpu_seconds(pid)
        except (OSError, IndexError):
            continue  # ended meanwhile
    return found
