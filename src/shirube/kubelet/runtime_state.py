"""What runs: the sandboxes and containers of a pod as the runtime reports them.

Observing one pod costs two list calls with a label selector and one status call for each container that is
not yet known to have ended (an ended container never changes, so its status is kept until it is removed).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from shirube.kubelet import labels
from shirube.kubelet.cri.client import CriError, Runtime

CREATED, RUNNING, EXITED, UNKNOWN = "created", "running", "exited", "unknown"
_STATES = (CREATED, RUNNING, EXITED, UNKNOWN)
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sandbox:
    id: str
    attempt: int
    ready: bool
    created_at: int  # nanoseconds since the epoch
    ips: tuple[str, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    name: str
    attempt: int
    state: str
    sandbox_id: str
    created_at: int  # nanoseconds since the epoch, as the next two
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    hash: str = ""
    log_path: str = ""
    termination_message_path: str = ""
    termination_message_policy: str = "File"


@dataclass(frozen=True, slots=True)
class PodRuntime:
    """Newest first, both."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The pod's current sandbox, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    def attempts(self, name: str) -> list[Container]:
        """All containers of that name, newest first."""
        return [c for c in self.containers if c.name == name]

    def latest(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    def running(self) -> list[Container]:
        return [c for c in self.containers if c.state == RUNNING]


@dataclass(slots=True)
class Listing:
    """One relisting of everything: container and sandbox states by pod UID."""

    states: dict[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)  # pod UID -> (namespace, name)
    pod_of: dict[str, str] = field(default_factory=dict)  # container or sandbox ID -> pod UID


class RuntimeState:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ended: dict[str, Container] = {}
        self._ips: dict[str, tuple[tuple[str, ...], bool]] = {}
        # Container or sandbox ID -> pod UID: how an event of the runtime finds its pod.
        self.pod_of: dict[str, str] = {}

    async def observe(self, pod_uid: str) -> PodRuntime:
        """The pod as it is now. Raises CriError."""
        selector = {labels.POD_UID: pod_uid}
        listed = await self._runtime.call("ListPodSandbox", filter={"label_selector": selector})
        sandboxes = [await self._sandbox(item) for item in listed.items]
        found = await self._runtime.call("ListContainers", filter={"label_selector": selector})
        containers = [c for item in found.containers if (c := await self._container(item)) is not None]
        for known_id in (*(s.id for s in sandboxes), *(c.id for c in containers)):
            self.pod_of[known_id] = pod_uid
        return PodRuntime(
            tuple(sorted(sandboxes, key=lambda s: (-s.attempt, -s.created_at))),
            tuple(sorted(containers, key=lambda c: (-c.attempt, -c.created_at))),
        )

    async def _sandbox(self, item: Any) -> Sandbox:
        ready = item.state == 0
        if ready and item.id not in self._ips:
            try:
                answer = await self._runtime.call("PodSandboxStatus", pod_sandbox_id=item.id)
            except CriError as error:
                if not error.not_found:
                    raise
                ready = False
            else:
                network = answer.status.network
                ips = tuple(ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip)
                host = answer.status.linux.namespaces.options.network == 2
                self._ips[item.id] = (ips, host)
        ips, host = self._ips.get(item.id, ((), False))
        return Sandbox(item.id, item.metadata.attempt, ready, item.created_at, ips, host)

    async def _container(self, item: Any) -> Container | None:
        if (ended := self._ended.get(item.id)) is not None:
            return ended
        container = await self.container_status(item.id)
        if container is not None:
            container = replace(container, sandbox_id=item.pod_sandbox_id)
        if container is not None and container.state == EXITED:
            self._ended[item.id] = container
        return container

    async def container_status(self, container_id: str) -> Container | None:
        """One container as it is now; None when the runtime does not know it."""
        try:
            answer = await self._runtime.call("ContainerStatus", container_id=container_id, verbose=False)
        except CriError as error:
            if error.not_found:
                return None
            raise
        return container_from_status(answer.status)

    async def list_all(self) -> Listing:
        """Every pod's containers and their states: what relisting compares."""
        listing = Listing()
        states: dict[str, set[tuple[str, str]]] = {}
        sandboxes = (await self._runtime.call("ListPodSandbox")).items
        containers = (await self._runtime.call("ListContainers")).containers
        for item in (*sandboxes, *containers):
            if pod_uid := item.labels.get(labels.POD_UID, ""):
                states.setdefault(pod_uid, set()).add((item.id, str(item.state)))
                named = (item.labels.get(labels.POD_NAMESPACE, ""), item.labels.get(labels.POD_NAME, ""))
                listing.names[pod_uid] = named
                listing.pod_of[item.id] = pod_uid
        listing.states = {pod_uid: frozenset(found) for pod_uid, found in states.items()}
        self._forget_all_but(listing.pod_of)
        return listing

    def _forget_all_but(self, alive: Iterable[str]) -> None:
        alive = set(alive)
        for known in (self._ended, self._ips):
            for gone in known.keys() - alive:
                del known[gone]
        # A container made while the list was under way is learnt again by its next observation.
        for gone in self.pod_of.keys() - alive:
            del self.pod_of[gone]


def container_from_status(status: Any) -> Container:
    notes = status.annotations
    return Container(
        id=status.id,
        name=status.labels.get(labels.CONTAINER_NAME, status.metadata.name),
        attempt=status.metadata.attempt,
        state=_STATES[status.state],
        sandbox_id="",
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_ref=status.image_ref,
        hash=notes.get(labels.HASH, ""),
        log_path=status.log_path,
        termination_message_path=_message_file(status, notes.get(labels.TERMINATION_MESSAGE_PATH, "")),
        termination_message_policy=notes.get(labels.TERMINATION_MESSAGE_POLICY, "File"),
    )


def _message_file(status: Any, path: str) -> str:
    """The file on the node that is mounted at the termination message's path."""
    return next((m.host_path for m in status.mounts if path and m.container_path == path), "")
