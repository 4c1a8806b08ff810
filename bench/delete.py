"""Deleting pods one by one."""

from __future__ import annotations

from bench.figure import Figure
from bench.server import COMING
from bench.sharing import Shared

COUNT = 3000
WRITERS = 16


def run(shared: Shared) -> list[Figure]:
    server = shared.server
    names = [f"delete-{n}" for n in range(COUNT)]
    server.create(names, path=COMING)
    target = server.target
    result = server.drive([target.request("DELETE", f"{COMING}/{name}") for name in names], WRITERS)
    return [
        Figure(
            f"delete, single, {WRITERS} writers",
            str(result),
            "≥ 1,500/s",
            "python -m bench delete",
        )
    ]
