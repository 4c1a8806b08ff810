"""What a container runtime has, as JSON: `python runtime_list.py SOCKET`. A process of its own, as tests fork."""

from __future__ import annotations

import asyncio
import json
import sys

from shirube.kubelet.cri.client import Runtime


async def main(socket: str) -> None:
    runtime = Runtime(socket)
    sandboxes = (await runtime.call("ListPodSandbox", deadline=10)).items
    containers = (await runtime.call("ListContainers", deadline=10)).containers
    found = {
        "sandboxes": [{"id": s.id, "uid": s.metadata.uid, "ready": s.state == 0} for s in sandboxes],
        "containers": [
            {"id": c.id, "sandbox": c.pod_sandbox_id, "name": c.metadata.name, "running": c.state == 1}
            for c in containers
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
