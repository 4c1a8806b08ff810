"""The scheduler's loop: take the next pod, decide, assume, bind in the background; follow what changes.

A decision takes effect in the columns at once (the pod is assumed there); the binding is written in the background,
at most `_BINDINGS` at a time, and undone in the columns when the API refuses it. Slices of at most 10 ms keep the
event loop free. A plugin that raises costs the pod concerned an event and a back-off, nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.client.informer import InformerFactory
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock
from shirube.foundation.process import settle_memory
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.announcing import Announcer, Report, reference
from shirube.scheduler.binding import BindingFailed, bind, bind_volumes, evict
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Diagnosis, Profile, decide
from shirube.scheduler.extended import decide_with
from shirube.scheduler.extender import Extender, ExtenderError
from shirube.scheduler.following import follow
from shirube.scheduler.hints import CONCERNED, NOMINATION, POD_ASSIGNED, POD_REMOVED, Event, helps
from shirube.scheduler.plugins.scheduling_gates import gated
from shirube.scheduler.plugins.volume_binding import VolumeBinding, VolumePlan
from shirube.scheduler.pod import PodInfo, key_of
from shirube.scheduler.preemption import Preemption, preempt
from shirube.scheduler.queue import SchedulingQueue

_logger = log.get("scheduler")
_SLICE_SECONDS = 0.01
_BINDINGS = 48  # in flight: many share one fsync; with fewer, clients that create crowd the bindings out
_FINISHED = ("Succeeded", "Failed")

Object = dict[str, Any]


class Scheduler:
    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        profiles: Mapping[str, Profile],
        *,
        clock: Clock = SYSTEM,
        chance: Chance | None = None,
        queue: SchedulingQueue | None = None,
        extenders: Sequence[Extender] = (),
    ) -> None:
        self._client = client
        self._profiles = profiles
        self._extenders = extenders
        self._clock = clock
        self._chance = chance or Chance()
        self._say = Announcer(client, clock)
        self._nodes = NodeColumns()
        self._queue = queue or SchedulingQueue()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_BINDINGS)
        self._assumed: dict[str, str] = {}  # uid -> node, from the decision until the informer shows it
        self._working: set[asyncio.Task[None]] = set()
        self._binding = 0
        self._evicting: set[str] = set()  # uids of victims on their way
        self._pods, self._others = follow(factory, self._nodes, self._tell_queue)
        self._pods.add_handler(self._pod_seen, lambda _, new: self._pod_seen(new), self._pod_gone)

    # What the informers say

    def _tell_queue(self, event: Event) -> None:
        def may_help(info: PodInfo, refused_by: frozenset[str]) -> bool:
            profile = self._profiles.get(info.shape.scheduler_name)
            return profile is not None and helps(info, refused_by, event, self._nodes, profile)

        if self._queue.wake(self._clock.monotonic(), may_help, CONCERNED[event.kind]):
            self._wake.set()

    def _pod_seen(self, pod: Object) -> None:
        uid, info, node = pod["metadata"]["uid"], pod["info"], pod["node"]
        if pod["phase"] in _FINISHED:
            self._pod_gone(pod)
        elif info is None:
            self._unreadable(pod)
        elif node:
            self._queue.remove(info.key)
            known = self._nodes.where(uid) is not None
            self._nodes.add_pod(node, info)
            self._nodes.withdraw(uid)
            self._assumed.pop(uid, None)
            if not known:
                self._tell_queue(Event(POD_ASSIGNED, self._nodes.index(node) or 0, info))
        elif uid not in self._assumed and info.shape.scheduler_name in self._profiles:
            self._offer(pod, info)

    def _unreadable(self, pod: Object) -> None:
        if not pod["node"] and pod["scheduler_name"] in self._profiles:
            about = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}
            text = f"cannot read the pod's requirements: {pod['unreadable']}"
            self._say.recorder(pod["scheduler_name"]).event(
                about, "Warning", "FailedScheduling", text, action="Scheduling"
            )

    def _offer(self, pod: Object, info: PodInfo) -> None:
        if info.terminating:
            self._queue.remove(info.key)
            self._nodes.withdraw(info.uid)
            return
        if held := gated(info):
            self._queue.remove(info.key)
            old = _condition(pod)
            if old.get("reason") != "SchedulingGated":
                self._say.report(Report(info, "SchedulingGated", held, old, None, False))
            return
        if info.nominated:
            self._nodes.nominate(info.nominated, info)
        known = self._queue.known(info.key)
        if known is None or known.uid != info.uid or known.shape is not info.shape:
            self._queue.put(info, self._clock.monotonic())
            self._wake.set()
        elif known.nominated != info.nominated:  # a status change alone decides nothing anew
            known.nominated = info.nominated

    def _pod_gone(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._queue.remove(key_of(pod))
        self._assumed.pop(uid, None)
        self._evicting.discard(uid)
        promised = self._nodes.withdraw(uid)
        at = self._nodes.where(uid)
        if self._nodes.remove_pod(uid) and at is not None:
            self._tell_queue(Event(POD_REMOVED, at, pod["info"]))
        elif promised:
            self._tell_queue(Event(NOMINATION))

    # The loop

    async def run(self) -> None:
        for informer in (*self._others, self._pods):  # pods last: they are counted by what is around them
            await informer.wait_for_cache_sync()
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
        await cancel(*self._working)
        await self._say.close()

    async def _work(self) -> None:
        slice_ends = self._clock.monotonic() + _SLICE_SECONDS
        while True:
            await self._slots.acquire()  # first: a pod must not change between being taken and being decided
            info = self._queue.pop(self._clock.monotonic())
            if info is None:
                self._slots.release()
                return
            placed = None if info.uid in self._assumed else await self._decide(info)
            if placed is None:
                self._slots.release()
            else:
                self._binding += 1
                self._say.rush = True
                self._spawn(self._place(info, *placed), f"bind-{info.key}")
            if self._clock.monotonic() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = self._clock.monotonic() + _SLICE_SECONDS

    def _spawn(self, work: Any, name: str) -> None:
        task = spawn(work, name=name)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _decide(self, info: PodInfo) -> tuple[str, VolumePlan | None] | None:
        """Choose and assume: the node, and what to do about volumes first."""
        profile = self._profiles[info.shape.scheduler_name]
        try:
            if extenders := [e for e in self._extenders if e.interested(info)]:
                decision = await decide_with(extenders, self._client, info, self._nodes, self._chance, profile)
                if self._queue.known(info.key) is not info:
                    return None  # it went or changed meanwhile
            else:
                decision = decide(info, self._nodes, self._chance, profile)
            if decision.diagnosis is not None:
                self._refused(info, decision.diagnosis, profile)
                return None
            plan = self._volume_plan(info, decision.node, profile)
        except (ExtenderError, ApiError) as error:
            self._queue.failed(info, self._clock.monotonic(), None)
            self._say.tell(info, "Warning", "FailedScheduling", str(error))
            return None
        except Exception as error:
            _logger.error("a plugin failed", pod=info.key, error=repr(error), exc_info=error)
            self._queue.failed(info, self._clock.monotonic(), None)
            self._say.tell(info, "Warning", "FailedScheduling", f"cannot evaluate the pod: {error!r}")
            return None
        self._nodes.add_pod(decision.node, info)
        self._nodes.withdraw(info.uid)
        self._assumed[info.uid] = decision.node
        return decision.node, plan

    def _volume_plan(self, info: PodInfo, node: str, profile: Profile) -> VolumePlan | None:
        at = self._nodes.index(node)
        for plugin in profile.filters:
            if isinstance(plugin, VolumeBinding) and at is not None and plugin.applies(info, self._nodes):
                plan = plugin.plan(info, self._nodes, at)
                return plan if plan.bind or plan.provision else None
        return None

    async def _place(self, info: PodInfo, node: str, plan: VolumePlan | None) -> None:
        try:
            if plan is not None:
                await bind_volumes(self._client, info, node, plan, self._nodes.around)
            await bind(self._client, info, node)
        except (ApiError, BindingFailed) as error:
            self._unplace(info, error)
        else:
            self._queue.remove(info.key)
            self._say.bound(info, node)
        finally:
            self._slots.release()
            self._binding -= 1
            if not self._binding:
                self._say.rush = False
                self._say.pump()

    def _unplace(self, info: PodInfo, error: ApiError | BindingFailed) -> None:
        at = self._nodes.where(info.uid)
        self._assumed.pop(info.uid, None)
        if self._nodes.remove_pod(info.uid) and at is not None:
            self._tell_queue(Event(POD_REMOVED, at, info))
        if isinstance(error, ApiError) and error.code == 404 and "pods" in str(error):
            return  # the pod is gone
        self._queue.failed(info, self._clock.monotonic(), None)
        self._say.tell(info, "Warning", "FailedScheduling", f"binding rejected: {error}")
        self._wake.set()

    # Pods that fit nowhere

    def _refused(self, info: PodInfo, diagnosis: Diagnosis, profile: Profile) -> None:
        nominated: str | None = None
        if diagnosis.evaluated and profile.preempts:
            found = self._preempt(info, diagnosis, profile)
            diagnosis.preemption = found.message
            if found.node:
                nominated = found.node
            elif info.nominated and not found.message.startswith("not eligible due to a terminating"):
                nominated, info.nominated = "", ""
                self._nodes.withdraw(info.uid)
        self._queue.failed(info, self._clock.monotonic(), diagnosis.plugins)
        pod = self._pods.store.get(info.namespace, info.name)
        old = _condition(pod) if pod is not None else {}
        self._say.report(Report(info, "Unschedulable", diagnosis.message, old, nominated, True))

    def _preempt(self, info: PodInfo, diagnosis: Diagnosis, profile: Profile) -> Preemption:
        found = preempt(info, self._nodes, profile, diagnosis, self._chance, self._evicting)
        if found.node:
            at = self._nodes.index(found.node)
            lesser = [
                p for p in self._nodes.promised.get(-1 if at is None else at, {}).values() if p.priority < info.priority
            ]
            for other in lesser:  # their place is taken; they look for another
                self._nodes.withdraw(other.uid)
                other.nominated = ""
                self._spawn(self._unpromise(other), f"unpromise-{other.key}")
            self._nodes.nominate(found.node, info)
            info.nominated = found.node
            found.victims = [v for v in found.victims if v.uid not in self._evicting]  # others are on their way
            self._evicting.update(v.uid for v in found.victims)
            self._spawn(self._evict(info, found), f"preempt-{info.key}")
        return found

    async def _unpromise(self, other: PodInfo) -> None:
        patch = {"metadata": {"uid": other.uid}, "status": {"nominatedNodeName": None}}
        try:
            await self._client.patch(PODS, other.name, patch, other.namespace, "strategic", subresource="status")
        except ApiError as error:
            _logger.debug("cannot take a nomination back", pod=other.key, error=str(error))

    async def _evict(self, info: PodInfo, found: Preemption) -> None:
        for victim in found.victims:
            try:
                await evict(self._client, victim, info, self._clock)
            except ApiError as error:
                self._evicting.discard(victim.uid)
                _logger.warning("cannot evict", pod=victim.key, by=info.key, error=str(error))
                self._queue.failed(info, self._clock.monotonic(), None)
                continue
            self._say.recorder(info.shape.scheduler_name).event(
                reference(victim),
                "Normal",
                "Preempted",
                f"Preempted by pod {info.uid} on node {found.node}",
                action="Preempting",
                related=reference(info),
            )


def _condition(pod: Object) -> Object:
    found: Object = next(iter(pod["conditions"]), {})
    return found
