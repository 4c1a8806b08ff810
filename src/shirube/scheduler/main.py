"""The scheduler's loop: follow pods and nodes, decide, assume, bind.

A decision takes effect in the columns at once (the pod is assumed there); the binding is written in the background,
at most `_BINDINGS` at a time, and undone in the columns when the API refuses it. Slices of at most 10 ms keep the
loop free.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES, PODS
from shirube.client.events import EventRecorder
from shirube.client.informer import InformerFactory
from shirube.client.leader_election import LeaderElector
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock, rfc3339
from shirube.foundation.process import settle_memory
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Decision, decide
from shirube.scheduler.pod import PodInfo, key_of, project, read
from shirube.scheduler.queue import SchedulingQueue

_logger = log.get("scheduler")
_SLICE_SECONDS = 0.01
_BINDINGS = 64
_FINISHED = ("Succeeded", "Failed")

Object = dict[str, Any]


@dataclass(slots=True)
class Options:
    """The scheduler."""

    kubeconfig: Path
    leader_elect: bool = True
    scheduler_name: str = "default-scheduler"
    identity: str = ""  # of the leader; keep it over restarts where there is one instance. Default: host and pid


class Scheduler:
    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        name: str,
        *,
        clock: Clock = SYSTEM,
        chance: Chance | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._clock = clock
        self._chance = chance or Chance()
        self._events = EventRecorder(client, name, style="events.k8s.io", clock=clock)
        self._nodes = NodeColumns()
        self._queue = SchedulingQueue()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_BINDINGS)
        self._assumed: dict[str, str] = {}  # uid -> node, from the decision until the informer shows it
        self._binding: set[asyncio.Task[None]] = set()
        self._pod_informer = factory.informer(PODS, projection=project)
        self._node_informer = factory.informer(NODES, projection=_slim_node)
        self._pod_informer.add_handler(self._pod_seen, lambda _, new: self._pod_seen(new), self._pod_gone)
        self._node_informer.add_handler(self._node_seen, self._node_changed, self._node_gone)

    # What the informers say

    def _node_seen(self, node: Object) -> None:
        self._nodes.set_node(node)
        self._something_changed()

    def _node_changed(self, old: Object, new: Object) -> None:
        if any(old.get(part) != new.get(part) for part in ("spec", "status")) or (
            old["metadata"].get("labels") != new["metadata"].get("labels")
        ):
            self._node_seen(new)

    def _node_gone(self, node: Object) -> None:
        self._nodes.remove_node(node["metadata"]["name"])

    def _pod_seen(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        node = pod["spec"].get("nodeName")
        if pod["status"]["phase"] in _FINISHED:
            self._pod_gone(pod)
        elif node:
            self._queue.remove(key_of(pod))
            info = self._info(pod)
            if info is not None:
                self._nodes.add_pod(node, info)
            self._assumed.pop(uid, None)
        elif uid not in self._assumed and pod["spec"].get("schedulerName") == self._name:
            self._offer(pod)

    def _offer(self, pod: Object) -> None:
        key = key_of(pod)
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("schedulingGates"):
            self._queue.remove(key)
            return
        info = self._info(pod)
        if info is None:
            return
        if self._queue.known(key) != info:  # a status change alone decides nothing anew
            self._queue.put(info, self._clock.monotonic())
            self._wake.set()

    def _info(self, pod: Object) -> PodInfo | None:
        try:
            return read(pod)
        except (ValueError, KeyError, TypeError) as error:
            self._events.event(pod, "Warning", "FailedScheduling", f"cannot read the pod's requirements: {error}")
            return None

    def _pod_gone(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._queue.remove(key_of(pod))
        self._assumed.pop(uid, None)
        if self._nodes.remove_pod(uid):
            self._something_changed()

    def _something_changed(self) -> None:
        self._queue.something_changed(self._clock.monotonic())
        self._wake.set()

    # The loop

    async def run(self) -> None:
        await self._node_informer.wait_for_cache_sync()
        await self._pod_informer.wait_for_cache_sync()
        settle_memory()
        _logger.info("scheduling", nodes=len(self._nodes), waiting=len(self._queue))
        while True:
            await self._work()
            self._wake.clear()
            now = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._queue.next_wake(now)):
                    await self._wake.wait()
            except TimeoutError:
                self._queue.flush_leftovers(self._clock.monotonic())

    async def close(self) -> None:
        await cancel(*self._binding)
        await self._events.close()

    async def _work(self) -> None:
        slice_ends = self._clock.monotonic() + _SLICE_SECONDS
        while (info := self._queue.pop(self._clock.monotonic())) is not None:
            await self._slots.acquire()
            task = spawn(self._place(info), name=f"bind-{info.key}") if self._decide(info) else None
            if task is None:
                self._slots.release()
            else:
                self._binding.add(task)
                task.add_done_callback(self._bound)
            if self._clock.monotonic() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = self._clock.monotonic() + _SLICE_SECONDS

    def _bound(self, task: asyncio.Task[None]) -> None:
        self._binding.discard(task)
        self._slots.release()

    def _decide(self, info: PodInfo) -> bool:
        """Choose and assume; whether there is something to bind. A plugin that fails costs this pod a back-off."""
        try:
            decision = decide(info, self._nodes, self._chance)
        except Exception as error:
            _logger.error("a plugin failed", pod=info.key, error=repr(error), exc_info=error)
            self._queue.failed(info, self._clock.monotonic(), wait_for_event=False)
            self._tell(info, "Warning", "FailedScheduling", f"cannot evaluate the pod: {error}")
            return False
        if not decision.node:
            self._queue.failed(info, self._clock.monotonic(), wait_for_event=True)
            spawn(self._report_unschedulable(info, decision), name=f"unschedulable-{info.key}")
            return False
        self._nodes.add_pod(decision.node, info)
        self._assumed[info.uid] = decision.node
        return True

    async def _place(self, info: PodInfo) -> None:
        node = self._assumed.get(info.uid, "")
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, binding, info.namespace, subresource="binding", name=info.name)
        except ApiError as error:
            self._assumed.pop(info.uid, None)
            self._nodes.remove_pod(info.uid)
            if error.code != 404:
                self._queue.failed(info, self._clock.monotonic(), wait_for_event=False)
                self._tell(info, "Warning", "FailedScheduling", f"binding rejected: {error}")
                self._wake.set()
            return
        self._queue.remove(info.key)
        message = f"Successfully assigned {info.namespace}/{info.name} to {node}"
        self._tell(info, "Normal", "Scheduled", message, action="Binding")

    async def _report_unschedulable(self, info: PodInfo, decision: Decision) -> None:
        self._tell(info, "Warning", "FailedScheduling", decision.message, action="Scheduling")
        pod = self._pod_informer.store.get(info.namespace, info.name)
        if pod is None or pod["metadata"]["uid"] != info.uid:
            return
        old: Object = next(iter(pod["status"]["conditions"]), {})
        same = (old.get("status"), old.get("reason"), old.get("message")) == (
            "False",
            "Unschedulable",
            decision.message,
        )
        if same:
            return
        now = rfc3339(self._clock.now())
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": decision.message,
            "lastProbeTime": None,
            "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == "False" else now,
        }
        patch = {"metadata": {"uid": info.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(PODS, info.name, patch, info.namespace, "strategic", subresource="status")
        except ApiError as error:
            _logger.debug("cannot set the PodScheduled condition", pod=info.key, error=str(error))

    def _tell(self, info: PodInfo, kind: str, reason: str, message: str, action: str = "Scheduling") -> None:
        about = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
        }
        self._events.event(about, kind, reason, message, action=action)


def _slim_node(node: Object) -> Object:
    status = node.get("status") or {}
    spec = node.get("spec") or {}
    return {
        "metadata": {k: node["metadata"].get(k) for k in ("name", "uid", "resourceVersion", "labels")},
        "spec": {k: spec[k] for k in ("taints", "unschedulable") if k in spec},
        "status": {"allocatable": status.get("allocatable") or {}},
    }


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop`; with leader election one scheduler is active at a time."""
    client = Client.from_kubeconfig(options.kubeconfig, "kube-scheduler")
    identity = options.identity or f"{socket.gethostname()}_{os.getpid()}"

    async def lead() -> None:
        factory = InformerFactory(client)
        scheduler = Scheduler(client, factory, options.scheduler_name)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(factory.run(), name="informers")
                group.create_task(scheduler.run(), name="scheduler")
        finally:
            await scheduler.close()

    try:
        if options.leader_elect:
            await LeaderElector(client, "kube-scheduler", identity).run(lead, stop)
        else:
            work = spawn(lead(), name="scheduler")
            await stop.wait()
            await cancel(work)
    finally:
        await client.close()
