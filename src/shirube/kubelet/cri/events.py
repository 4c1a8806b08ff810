"""What happens to containers, as the runtime tells it: a stream of container IDs that changed.

containerd before 1.7 has no CRI `GetContainerEvents`, so this reads containerd's own event service, which
listens on the same socket. A runtime that has neither ends the stream with code UNIMPLEMENTED, and relisting
alone keeps the agent right (later).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from shirube.kubelet.cri.client import Runtime
from shirube.kubelet.cri.descriptors import Protocol

_FILTERS = ('namespace==k8s.io,topic=="/tasks/exit"', 'namespace==k8s.io,topic=="/tasks/oom"')


class ContainerEvent(NamedTuple):
    """A container's (or sandbox's) main process ended, or one of its processes was killed for memory."""

    container_id: str
    kind: str  # "exited" | "oom"


async def container_events(runtime: Runtime) -> AsyncIterator[ContainerEvent]:
    """Events from now on. Raises CriError when the stream breaks: relist and subscribe again."""
    protocol = Protocol("containerd_events.json")
    task_exit, task_oom = protocol["TaskExit"], protocol["TaskOOM"]
    call = protocol.calls["Subscribe"]
    async for envelope in runtime.stream(call, call.request(filters=_FILTERS)):
        if envelope.topic == "/tasks/exit":
            exited = task_exit.FromString(envelope.event.value)
            # Processes started by exec have their own id; only the container's first process counts.
            if exited.id == exited.container_id:
                yield ContainerEvent(exited.container_id, "exited")
        elif envelope.topic == "/tasks/oom":
            yield ContainerEvent(task_oom.FromString(envelope.event.value).container_id, "oom")
