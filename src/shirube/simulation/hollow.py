"""Hollow nodes: node agents without containers.

Each node registers itself, renews its Lease, reports its status, and takes the pods that are bound to it through their
life: Running and Ready after a seeded delay, finished after their time, gone after they were deleted. Each acts with
its own `system:node:NAME` identity, so the node authoriser and NodeRestriction hold for it. All share one informer of
pods, which an agent of its own would have with a field selector: a thousand watches would show nothing more.

A failed node does nothing at all: its Lease runs out, its pods are frozen as they were. When it comes back it catches
up. What a pod does beyond running is said by annotations (`ANNOTATION`) in its template.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import LEASES, NODES, PODS
from shirube.client.informer import InformerFactory, key_of
from shirube.client.rest import Client, Object
from shirube.foundation import log
from shirube.foundation.chance import Chance
from shirube.foundation.clock import Clock, rfc3339, rfc3339_micro
from shirube.foundation.tasks import cancel, spawn

ANNOTATION = "simulation.shirube.dev/"
POD_CAPACITY = 110
RUN_SECONDS, EXIT_CODE, NEVER_READY = ANNOTATION + "run-seconds", ANNOTATION + "exit-code", ANNOTATION + "never-ready"

_FINISHED = ("Succeeded", "Failed")
_RETRY_SECONDS = 1.0

_log = log.get("hollow-nodes")


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds: (least, most)."""

    start: tuple[float, float] = (0.5, 4.0)
    end: tuple[float, float] = (0.2, 2.0)
    run: tuple[float, float] = (5.0, 60.0)  # of pods that finish by themselves
    renew: float = 10.0  # of Leases
    report: float = 300.0  # of node status


@dataclass(slots=True)
class _Node:
    name: str
    client: Client
    alive: bool = True
    lease: Object | None = None
    beat: asyncio.Task[None] | None = None
    address: str = ""
    next_ip: int = 0


@dataclass(slots=True)
class _Pod:
    """What the agent knows of a pod: which step comes next, and when."""

    uid: str
    node: str
    step: str = ""
    timer: asyncio.TimerHandle | None = None
    ip: str = ""
    finishes: float | None = None  # on the loop's time
    written: int = 0  # the revision of its last status: what the informer shows before that is old


def project(pod: Object) -> Object:
    """What an agent looks at: of a thousand pods most of the rest would only take room."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    return {
        "metadata": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "deletionTimestamp": metadata.get("deletionTimestamp"),
            "annotations": {k: v for k, v in (metadata.get("annotations") or {}).items() if k.startswith(ANNOTATION)},
        },
        "node": spec.get("nodeName"),
        "restart": spec.get("restartPolicy", "Always"),
        "containers": [(c["name"], c.get("image", "")) for c in spec["containers"]],
        "phase": status.get("phase", "Pending"),
        "ready": any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()),
        "gates": [g["conditionType"] for g in spec.get("readinessGates") or ()],
        "grace": metadata.get("deletionGracePeriodSeconds"),
    }


class HollowNodes:
    def __init__(
        self,
        reader: Client,
        client_of: Callable[[str], Client],
        *,
        clock: Clock,
        chance: Chance,
        pace: Pace | None = None,
    ) -> None:
        """`client_of(node)` speaks as that node's agent."""
        self._client_of = client_of
        self._clock, self._chance = clock, chance
        self._pace = pace or Pace()
        self._factory = InformerFactory(reader, chance=chance)
        self._informer = self._factory.informer(PODS, projection=project)
        self._informer.add_index("node", lambda pod: [pod["node"]] if pod["node"] else [])
        self._informer.add_handler(self._seen, lambda _, new: self._seen(new), self._gone)
        self._nodes: dict[str, _Node] = {}
        self._pods: dict[str, _Pod] = {}
        self._working: dict[asyncio.Task[None], None] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._factory.run()
        finally:
            for pod in self._pods.values():
                if pod.timer is not None:
                    pod.timer.cancel()
            beats = [node.beat for node in self._nodes.values()]
            await cancel(*self._working, *beats)

    @property
    def alive(self) -> list[str]:
        return [node.name for node in self._nodes.values() if node.alive]

    @property
    def failed(self) -> list[str]:
        return [node.name for node in self._nodes.values() if not node.alive]

    # Nodes

    async def add(self, name: str, *, labels: dict[str, str] | None = None, **capacity: str) -> None:
        """Register a node and bring it to life."""
        number = len(self._nodes)
        address = f"172.16.{number // 250}.{number % 250 + 1}"
        node = _Node(name, self._client_of(name), address=address)
        capacity = {"cpu": "16", "memory": "64Gi", "pods": str(POD_CAPACITY), **capacity}
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
                "nodeInfo": _node_info(),
                "conditions": self._conditions(),
            },
        }
        self._nodes[name] = node
        await node.client.create(NODES, body)
        node.beat = spawn(self._beat(node), name=f"beat-{name}")

    def fail(self, name: str) -> None:
        """The machine stops, with all that is on it."""
        node = self._nodes[name]
        node.alive = False
        if node.beat is not None:
            node.beat.cancel()
        for pod in self._informer.store.by_index("node", name):
            known = self._pods.get(pod["metadata"]["uid"])
            if known is not None and known.timer is not None:
                known.timer.cancel()
                known.step, known.timer = "", None

    def recover(self, name: str) -> None:
        node = self._nodes[name]
        if node.alive:
            return
        node.alive = True
        node.beat = spawn(self._beat(node), name=f"beat-{name}")
        for pod in self._informer.store.by_index("node", name):
            self._seen(pod)

    def _conditions(self) -> list[Object]:
        stamp = rfc3339(self._clock.now())
        kinds = ("MemoryPressure", "DiskPressure", "PIDPressure")
        sound = [{"type": k, "status": "False", "reason": "KubeletHasSufficient", "message": "hollow"} for k in kinds]
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "hollow"}
        return [{**c, "lastHeartbeatTime": stamp, "lastTransitionTime": stamp} for c in (*sound, ready)]

    async def _beat(self, node: _Node) -> None:
        """Leases and status, for as long as the node lives."""
        report_at = 0.0
        while True:
            try:
                await self._renew(node)
                if asyncio.get_running_loop().time() >= report_at:
                    await self._report(node)
                    report_at = asyncio.get_running_loop().time() + self._pace.report * self._chance.uniform(0.9, 1.1)
            except ApiError as error:
                node.lease = None
                _log.debug("node cannot speak", node=node.name, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            await asyncio.sleep(self._pace.renew * self._chance.uniform(0.9, 1.1))

    async def _renew(self, node: _Node) -> None:
        stamp = rfc3339_micro(self._clock.now())
        if node.lease is None:
            try:
                node.lease = await node.client.get(LEASES, node.name, "kube-node-lease")
            except ApiError as error:
                if error.code != 404:
                    raise
                body = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": node.name, "namespace": "kube-node-lease"},
                    "spec": {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": stamp},
                }
                node.lease = await node.client.create(LEASES, body)
                return
        renewed = {**node.lease, "spec": {**node.lease["spec"], "renewTime": stamp}}
        node.lease = await node.client.update(LEASES, renewed)

    async def _report(self, node: _Node) -> None:
        status = {"conditions": self._conditions()}
        await node.client.patch(NODES, node.name, {"status": status}, type="strategic", subresource="status")

    # Pods

    def _seen(self, pod: Object) -> None:
        name = pod["node"]
        if not name or (node := self._nodes.get(name)) is None or not node.alive:
            return
        uid = pod["metadata"]["uid"]
        known = self._pods.get(uid)
        if known is None:
            known = self._pods[uid] = _Pod(uid, name)
        self._plan(pod, known)

    def _gone(self, pod: Object) -> None:
        known = self._pods.pop(pod["metadata"]["uid"], None)
        if known is not None and known.timer is not None:
            known.timer.cancel()

    def _plan(self, pod: Object, known: _Pod) -> None:
        """Which step is next, and after which delay; a step that is under way is left alone."""
        pace, chance = self._pace, self._chance
        if int(pod["metadata"]["resourceVersion"]) < known.written:
            return
        if pod["metadata"]["deletionTimestamp"]:
            if known.step != "end":
                self._after(chance.uniform(*pace.end), pod, known, "end")
        elif pod["phase"] in _FINISHED or known.step:
            return
        elif not known.ip:
            self._after(chance.uniform(*pace.start), pod, known, "start")
        elif not pod["ready"] and NEVER_READY not in pod["metadata"]["annotations"]:
            self._after(chance.uniform(0.1, 0.5), pod, known, "start")  # somebody called it not ready: it is
        elif known.finishes is not None:
            left = max(0.1, known.finishes - asyncio.get_running_loop().time())
            self._after(left, pod, known, "finish")

    def _after(self, seconds: float, pod: Object, known: _Pod, step: str) -> None:
        if known.timer is not None:
            known.timer.cancel()
        known.step = step
        known.timer = asyncio.get_running_loop().call_later(seconds, self._take, key_of(pod), known, step)

    def _take(self, key: str, known: _Pod, step: str) -> None:
        known.timer = None
        task = spawn(self._step(key, known, step), name=f"{step}-{key}")
        self._working[task] = None
        task.add_done_callback(lambda t: self._working.pop(t, None))

    async def _step(self, key: str, known: _Pod, step: str) -> None:
        pod = self._informer.store.get_by_key(key)
        node = self._nodes[known.node]
        if pod is None or pod["metadata"]["uid"] != known.uid or not node.alive:
            known.step = ""
            return
        act: Callable[[_Node, Object, _Pod], Coroutine[Any, Any, None]]
        act = {"start": self._start, "finish": self._finish, "end": self._end}[step]
        try:
            await act(node, pod, known)
        except ApiError as error:
            if error.code not in (404, 409):
                _log.debug("pod's step failed, trying again", pod=key, step=step, error=str(error))
                self._after(_RETRY_SECONDS, pod, known, step)
                return
        if known.step != step:
            return  # its end was planned meanwhile
        known.step = ""
        pod = self._informer.store.get_by_key(key)
        if pod is not None and pod["metadata"]["uid"] == known.uid and node.alive:
            self._plan(pod, known)

    async def _start(self, node: _Node, pod: Object, known: _Pod) -> None:
        if not known.ip:
            node.next_ip += 1
            _, _, third, fourth = node.address.split(".")
            known.ip = f"10.{third}.{fourth}.{node.next_ip % 250 + 1}"
            if pod["restart"] != "Always":
                annotations = pod["metadata"]["annotations"]
                seconds = float(annotations.get(RUN_SECONDS) or self._chance.uniform(*self._pace.run))
                known.finishes = asyncio.get_running_loop().time() + seconds
        ready = NEVER_READY not in pod["metadata"]["annotations"]
        await self._patch(node, pod, known, self._running(node, pod, known, ready))

    def _running(self, node: _Node, pod: Object, known: _Pod, ready: bool) -> Object:
        stamp = rfc3339(self._clock.now())
        yes = "True" if ready else "False"
        states = {
            "PodReadyToStartContainers": "True",
            "Initialized": "True",
            "ContainersReady": yes,
            "Ready": yes if not pod["gates"] else "False",
        }
        containers = [
            {
                "name": name,
                "image": image,
                "imageID": "hollow",
                "containerID": f"hollow://{known.uid}/{name}",
                "ready": ready,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": stamp}},
            }
            for name, image in pod["containers"]
        ]
        return {
            "phase": "Running",
            "hostIP": node.address,
            "podIP": known.ip,
            "podIPs": [{"ip": known.ip}],
            "startTime": stamp,
            "conditions": [{"type": t, "status": s, "lastTransitionTime": stamp} for t, s in states.items()],
            "containerStatuses": containers,
        }

    async def _finish(self, node: _Node, pod: Object, known: _Pod) -> None:
        code = int(pod["metadata"]["annotations"].get(EXIT_CODE) or 0)
        await self._patch(node, pod, known, self._finished(pod, known, code))

    def _finished(self, pod: Object, known: _Pod, code: int) -> Object:
        stamp = rfc3339(self._clock.now())
        over = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": stamp}
        return {
            "phase": "Failed" if code else "Succeeded",
            "conditions": [
                {"type": t, "status": "False", "reason": "PodCompleted", "lastTransitionTime": stamp}
                for t in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": name,
                    "image": image,
                    "imageID": "hollow",
                    "ready": False,
                    "started": False,
                    "restartCount": 0,
                    "state": {"terminated": over},
                }
                for name, image in pod["containers"]
            ],
        }

    async def _end(self, node: _Node, pod: Object, known: _Pod) -> None:
        """Stopped: a pod that ran has a last word (SIGTERM ends it with 143), then it is removed."""
        if pod["phase"] not in _FINISHED and known.ip:
            code = 143 if pod["restart"] != "Always" else 0
            await self._patch(node, pod, known, self._finished(pod, known, code))
        metadata = pod["metadata"]
        preconditions = {"uid": metadata["uid"]}
        await node.client.delete(
            PODS, metadata["name"], metadata["namespace"], grace_period_seconds=0, preconditions=preconditions
        )

    async def _patch(self, node: _Node, pod: Object, known: _Pod, status: Object) -> None:
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        name, namespace = metadata["name"], metadata["namespace"]
        stored = await node.client.patch(PODS, name, body, namespace, type="strategic", subresource="status")
        known.written = int(stored["metadata"]["resourceVersion"])


def _node_info() -> dict[str, str]:
    return {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": "hollow",
        "osImage": "hollow",
        "containerRuntimeVersion": "hollow://1",
        "kubeletVersion": "v1.36.0",
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }
