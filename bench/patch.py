"""Status update, merge, strategic and apply patch of pods that are there already."""

from __future__ import annotations

import orjson

from bench import pods
from bench.figure import Figure
from bench.server import PODS
from bench.sharing import Shared

OBJECTS = 1000
COUNT = 3000
WRITERS = 16

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def run(shared: Shared) -> list[Figure]:
    server = shared.server
    names = server.at_least(OBJECTS)
    target = server.target

    def measure(what: str, least: str, media: str, suffix: str, body) -> Figure:  # type: ignore[no-untyped-def]
        requests = [
            target.request(
                "PATCH" if media else "PUT",
                f"{PODS}/{names[n % OBJECTS]}{suffix}",
                orjson.dumps(body(n)),
                media or "application/json",
            )
            for n in range(COUNT)
        ]
        result = server.drive(requests, WRITERS)
        return Figure(what, str(result), least, "python -m bench patch")

    def whole(n: int) -> dict:
        return {**pods.pod(names[n % OBJECTS]), **pods.status(n)}

    def annotated(n: int) -> dict:
        return {"metadata": {"annotations": {"bench/round": str(n)}}}

    def applied(n: int) -> dict:
        name = names[n % OBJECTS]
        labels = {"bench/applied": str(n)}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}

    def container(n: int) -> dict:
        return {"spec": {"containers": [{"name": "web", "image": f"registry.example.com/team/service:v{n}"}]}}

    return [
        measure("status update (PUT), 16 writers", "≥ 1,500/s", "", "/status", whole),
        measure("status by merge patch, 16 writers", "≥ 1,500/s", MERGE, "/status", pods.status),
        measure("merge patch (an annotation), 16 writers", "≥ 1,500/s", MERGE, "", annotated),
        measure("strategic patch (a container's image), 16 writers", "≥ 1,500/s", STRATEGIC, "", container),
        measure("apply (a label), 16 writers", "≥ 1,000/s", APPLY, "?fieldManager=bench-apply&force=true", applied),
    ]
