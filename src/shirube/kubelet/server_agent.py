"""What the HTTPS API needs of the node agent. `agent.Agent` is one; tests bring smaller ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from shirube.client.rest import Client
from shirube.foundation.clock import Clock
from shirube.kubelet import pod as pods
from shirube.kubelet.runtime_state import Container, PodRuntime
from shirube.kubelet.stats import Snapshot


class ServedUsage(Protocol):
    """`node_usage.NodeUsage`."""

    async def summary(self, cpu_and_memory_only: bool) -> dict[str, Any]: ...

    async def snapshot(self) -> Snapshot: ...

    async def cadvisor(self) -> bytes: ...

    def working_set(self) -> int: ...

    def configuration(self) -> dict[str, Any]: ...


class ServedWorker(Protocol):
    runtime: PodRuntime


class ServedPods(Protocol):
    """`pod_registry.PodRegistry`."""

    def get(self, namespace: str, name: str) -> pods.Pod | None: ...

    def list(self) -> Sequence[pods.Pod]: ...

    def worker(self, namespace: str, name: str) -> Any: ...

    def container(self, namespace: str, name: str, container: str, previous: bool = False) -> Container | None: ...

    def running_containers(self) -> Iterator[Container]: ...


class ServedRuntime(Protocol):
    """`cri.client.Runtime`."""

    async def call(self, method: str, **fields: Any) -> Any: ...


class ServedAgent(Protocol):
    @property
    def clock(self) -> Clock: ...

    @property
    def client(self) -> Client: ...

    @property
    def runtime(self) -> ServedRuntime: ...

    @property
    def usage(self) -> ServedUsage: ...

    @property
    def pods(self) -> ServedPods: ...
