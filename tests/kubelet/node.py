"""A node for tests: the agent on a real containerd, against the API of `fake_api`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from containerd import BUSYBOX, Containerd
from fake_api import FakeApi
from tests.waiting import PATIENCE

from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.agent import Agent, Options

NODE = "node-1"
_number = iter(range(1, 1_000_000))


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod bound to the test's node, defaulted as the API server would."""
    for index, container in enumerate(containers):
        container.setdefault("name", f"c{index}")
        container.setdefault("image", BUSYBOX)
        container.setdefault("imagePullPolicy", "IfNotPresent")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{next(_number):012d}",
            "generation": 1,
            "labels": {"app": name},
        },
        "spec": {
            "containers": list(containers),
            "nodeName": NODE,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 1,
            "serviceAccountName": "default",
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def shell(script: str, **more: Any) -> dict[str, Any]:
    """A container that runs a shell script."""
    return {"command": ["sh", "-c", script], **more}


class Node:
    def __init__(self, api: FakeApi, containerd: Containerd) -> None:
        self.api = api
        self.containerd = containerd
        self.agent: Agent
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, **more: Any) -> None:
        options = Options(
            kubeconfig="",
            node_name=NODE,
            node_ip="127.0.0.1",
            root_dir=self.containerd.dir / "kubelet",
            runtime_endpoint=self.containerd.socket,
            cgroup_root=self.containerd.cgroup_root,
            **more,
        )
        self._stop = asyncio.Event()
        self.agent = Agent(options, self.api.client())
        self._task = spawn(self.agent.run(self._stop), name="agent")

    async def stop(self) -> None:
        self._stop.set()
        assert self._task is not None
        await asyncio.wait_for(self._task, 60)

    async def kill(self) -> None:
        """As kill -9, as far as one process can play it."""
        await cancel(self._task)

    async def until(self, what: Callable[[], Any], seconds: float = 15) -> Any:
        """Wait until `what()` is true; its value."""
        try:
            async with asyncio.timeout(max(seconds, PATIENCE)):
                while not (value := what()):
                    await asyncio.sleep(0.005)
                return value
        except TimeoutError:
            pods = {path: obj.get("status") for path, obj in self.api.objects.items() if "/pods/" in path}
            events = [(e["reason"], e["message"]) for e in self.api.events()]
            raise AssertionError(f"did not happen: statuses {pods}, events {events}") from None

    def run(self, pod: dict[str, Any]) -> str:
        """Create the pod in the API; its name."""
        metadata = pod["metadata"]
        self.api.put(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", pod)
        return metadata["name"]

    def status(self, name: str) -> dict[str, Any]:
        return (self.api.pod(name) or {}).get("status") or {}

    def container(self, name: str, index: int = 0, part: str = "containerStatuses") -> dict[str, Any]:
        found = self.status(name).get(part) or []
        return found[index] if index < len(found) else {"state": {}, "lastState": {}}

    def is_ready(self, name: str) -> bool:
        conditions = {c["type"]: c["status"] for c in self.status(name).get("conditions") or []}
        return conditions.get("Ready") == "True"

    async def ready(self, name: str) -> dict[str, Any]:
        await self.until(lambda: self.is_ready(name))
        return self.status(name)

    async def phase(self, name: str, phase: str) -> dict[str, Any]:
        await self.until(lambda: self.status(name).get("phase") == phase)
        return self.status(name)

    async def log(self, name: str, container: str = "c0", previous: bool = False) -> str:
        from shirube.kubelet.logs import LogOptions

        chunks = self.agent.read_logs("default", name, container, LogOptions(), previous)
        return b"".join([chunk async for chunk in chunks]).decode()

    async def log_with(self, name: str, text: str, container: str = "c0") -> str:
        """The container's log, once it says `text`."""
        async with asyncio.timeout(60):
            while text not in (found := await self.log(name, container)):
                await asyncio.sleep(0.01)
            return found

    async def remove(self, name: str, grace: int | None = 1) -> None:
        """Delete the pod and wait until it is gone from API and node."""
        uid = self.api.pod(name)["metadata"]["uid"]
        self.api.delete_pod(name, grace)
        await self.until(lambda: self.api.pod(name) is None)
        await self.until(lambda: uid not in self.agent.pods._workers)


@contextlib.asynccontextmanager
async def running_node(containerd: Containerd, **options: Any) -> AsyncIterator[Node]:
    """An agent that runs; on leaving, all its pods are removed and it is stopped."""
    api = FakeApi()
    kubernetes = {"spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}}
    api.put("/api/v1/namespaces/default/services/kubernetes", kubernetes)
    node = Node(api, containerd)
    node.start(**options)
    try:
        yield node
    finally:
        names = [obj["metadata"]["name"] for path, obj in api.objects.items() if "/pods/" in path]
        for name in names:
            api.delete_pod(name, 0)
        with contextlib.suppress(AssertionError):
            await node.until(lambda: not node.agent.pods._workers, 20)
        await node.stop()
