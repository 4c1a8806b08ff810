"""`shirube server` in an empty directory, from exec to the first good answer of /readyz."""

from __future__ import annotations

from bench.figure import Figure, percentile
from bench.processes import pss
from bench.server import Server
from bench.sharing import Shared

ROUNDS = 5


def run(shared: Shared) -> list[Figure]:
    times, memory = [], 0
    for _ in range(ROUNDS):
        server = Server()
        times.append(server.ready_after)
        memory = pss(server.process.pid)
        server.close()
    command = "python -m bench cold_start"
    return [
        Figure(f"API cold to /readyz, p50 of {ROUNDS}", f"{percentile(times, 0.5):.2f} s", "≤ 0.8 s", command),
        Figure("  the same: memory (PSS) when ready", f"{memory / 1e6:.0f} MB", "", command),
    ]
