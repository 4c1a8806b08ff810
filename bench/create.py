"""Creating pods, each durable before it is answered."""

from __future__ import annotations

import orjson

from bench import pods
from bench.figure import Figure
from bench.server import COMING, Server
from bench.sharing import Shared

COUNT = 6000
WRITERS = 32


def run(shared: Shared) -> list[Figure]:
    server = shared.server
    server.create([f"warm-{n}" for n in range(500)], WRITERS, COMING)
    result = server.create([f"create-{n}" for n in range(COUNT)], WRITERS, COMING)
    sent = pods.size(pods.pod("create-0"))
    what = f"create pods of {sent / 1000:.1f} KB ({_stored(server):.1f} KB stored), {WRITERS} writers, durable"
    return [Figure(what, str(result), "≥ 2,500/s", "python -m bench create")]


def _stored(server: Server) -> float:
    return len(orjson.dumps(server.admin("GET", f"{COMING}/create-0"))) / 1000
