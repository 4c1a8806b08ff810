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
from shirube.foundation.tasks import cancel, signalled, spawn
from shirube.scheduler.announcing import Announcer, Report, reference
from shirube.scheduler.binding import BindingFailed, bind, bind_volumes, evict
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Diagnosis, Profile, decide
from shirube.scheduler.device_binding import bind_devices, deallocate, delete_special, release_devices
from shirube.scheduler.devices.claims import Asked, missing
from shirube.scheduler.devices.selecting import AllocationError
from shirube.scheduler.extended import decide_with, preempt_with
from shirube.scheduler.extender import Extender, ExtenderError
from shirube.scheduler.following import follow
from shirube.scheduler.hints import CLAIM, CONCERNED, NOMINATION, POD_ASSIGNED, POD_REMOVED, Event, helps
from shirube.scheduler.plugins.dynamic_resources import DynamicResources
from shirube.scheduler.plugins.scheduling_gates import gated
from shirube.scheduler.pod import PodInfo, key_of
from shirube.scheduler.preemption import Preemption, preempt, waits_for_victims
from shirube.scheduler.queue import SchedulingQueue
from shirube.scheduler.reserving import Plan, give_back, reserve

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
        self._unclaimed: dict[str, Object] = {}  # pods held back because a claim of theirs is not there, by key
        self._pods, self._others = follow(factory, self._nodes, self._tell_queue)
        self._pods.add_handler(self._pod_seen, lambda _, new: self._pod_seen(new), self._pod_gone)

    # What the informers say

    def _tell_queue(self, event: Event) -> None:
        def may_help(info: PodInfo, refused_by: frozenset[str]) -> bool:
            profile = self._profiles.get(info.shape.scheduler_name)
            return profile is not None and helps(info, refused_by, event, self._nodes, profile)

        if self._queue.wake(self._clock.monotonic(), may_help, CONCERNED[event.kind]):
            self._wake.set()
        if event.kind == CLAIM and self._unclaimed:
            for key, pod in list(self._unclaimed.items()):
                if any(event.key == f"{pod['info'].namespace}/{name}" for name, _ in pod["info"].claims):
                    del self._unclaimed[key]
                    self._offer(pod, pod["info"])

    def _pod_seen(self, pod: Object) -> None:
        uid, info, node = pod["metadata"]["uid"], pod["info"], pod["node"]
        if pod["phase"] in _FINISHED:
            self._pod_gone(pod)
        elif info is None:
            self._unreadable(pod)
        elif node:
            self._queue.remove(info.key)
            before = self._nodes.counted(uid)
            self._nodes.add_pod(node, info)
            self._nodes.withdraw(uid)
            arrived = self._assumed.pop(uid, None) is not None or before is None
            at = self._nodes.index(node)
            if at is not None and before is not None and _lets_others_in(before, info):
                self._tell_queue(Event(POD_REMOVED, at, before))
            if at is not None and (arrived or (before is not None and before.shape.labels != info.shape.labels)):
                self._tell_queue(Event(POD_ASSIGNED, at, info))
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
        self._unclaimed.pop(info.key, None)
        if info.claims and self._claims_matter(info) and missing(info, self._nodes.around.devices):
            self._queue.remove(info.key)
            self._unclaimed[info.key] = pod
            return
        if info.nominated:
            self._nodes.nominate(info.nominated, info)
        known = self._queue.known(info.key)
        if known is None or known.uid != info.uid or known.shape is not info.shape or known.claims != info.claims:
            self._queue.put(info, self._clock.monotonic())
            self._wake.set()
        elif known.nominated != info.nominated:  # a status change alone decides nothing anew
            known.nominated = info.nominated

    def _claims_matter(self, info: PodInfo) -> bool:
        profile = self._profiles[info.shape.scheduler_name]
        return any(isinstance(p, DynamicResources) for p in profile.filters)

    def _pod_gone(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._unclaimed.pop(key_of(pod), None)
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
            if not await signalled(self._wake, self._queue.next_wake(now)):
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

    async def _decide(self, info: PodInfo) -> tuple[str, Plan] | None:
        """Choose and assume: the node, and what must be written besides the binding."""
        profile, events = self._profiles[info.shape.scheduler_name], self._queue.events
        try:
            if extenders := [e for e in self._extenders if e.interested(info)]:
                decision = await decide_with(extenders, self._client, info, self._nodes, self._chance, profile)
                if self._queue.known(info.key) is not info:
                    return None  # it went or changed meanwhile
            else:
                decision = decide(info, self._nodes, self._chance, profile)
            if decision.diagnosis is not None:
                await self._refused(info, decision.diagnosis, profile, events)
                return None
            plan = reserve(info, self._nodes, decision.node, profile, self._chance)
        except (ExtenderError, ApiError, AllocationError) as error:
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

    async def _place(self, info: PodInfo, node: str, plan: Plan) -> None:
        around, profile = self._nodes.around, self._profiles[info.shape.scheduler_name]
        try:
            if plan.volumes is not None:
                await bind_volumes(self._client, info, node, plan.volumes, around, profile.volume_seconds)
            if plan.devices is not None:
                seconds = profile.device_seconds
                await bind_devices(self._client, info, plan.devices, around.devices, self._clock, seconds)
            binder = next((e for e in self._extenders if e.bind_verb and e.interested(info)), None)
            if binder is not None:
                await binder.bind(info, node)
            else:
                await bind(self._client, info, node)
        except Exception as error:
            if not isinstance(error, ApiError | BindingFailed | ExtenderError):
                _logger.error("cannot bind", pod=info.key, error=repr(error), exc_info=error)
            await self._release(info, plan)
            self._unplace(info, error)
        else:
            give_back(info, self._nodes, plan)
            self._queue.remove(info.key)
            self._say.bound(info, node)
        finally:
            self._slots.release()
            self._binding -= 1
            if not self._binding:
                self._say.rush = False
                self._say.pump()

    async def _release(self, info: PodInfo, plan: Plan) -> None:
        """Volumes and devices that were chosen for a pod that is not bound."""
        if give_back(info, self._nodes, plan):
            self._tell_queue(Event(CLAIM, freed=True))
        if plan.devices is not None:
            await release_devices(self._client, info, plan.devices, self._nodes.around.devices)

    def _unplace(self, info: PodInfo, error: Exception) -> None:
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

    async def _refused(self, info: PodInfo, diagnosis: Diagnosis, profile: Profile, events: int) -> None:
        nominated: str | None = None
        idle = self._idle_claim(info, diagnosis, profile)
        if diagnosis.evaluated and profile.preempts:
            found = await self._preempt(info, diagnosis, profile)
            diagnosis.preemption = found.message
            if found.node:
                nominated = found.node
            elif info.nominated and not waits_for_victims(found.message):
                nominated, info.nominated = "", ""
                self._nodes.withdraw(info.uid)
        # An event that came while others were asked may have been the one to wait for.
        slow = any(e.interested(info) for e in self._extenders) and self._queue.events != events
        self._queue.failed(info, self._clock.monotonic(), None if slow else diagnosis.plugins)
        pod = self._pods.store.get(info.namespace, info.name)
        old = _condition(pod) if pod is not None else {}
        self._say.report(Report(info, "Unschedulable", diagnosis.message, old, nominated, True))
        if idle is not None:
            self._spawn(self._deallocate(info, idle), f"deallocate-{info.key}")

    def _idle_claim(self, info: PodInfo, diagnosis: Diagnosis, profile: Profile) -> Asked | str | None:
        """What of the pod's own claims stands in its way and can be given up, before anybody is evicted."""
        plugin = next((p for p in profile.filters if isinstance(p, DynamicResources)), None)
        if plugin is None or not plugin.applies(info, self._nodes):
            return None
        inventory = self._nodes.around.devices
        found: Asked | str | None = plugin.idle(info, self._nodes)
        if found is None and info.uid in inventory.special:
            found = inventory.special[info.uid]
        done = "still not schedulable" if found is None else "deallocation of ResourceClaim completed"
        diagnosis.deallocation = "deletion of ResourceClaim completed" if isinstance(found, str) else done
        return found

    async def _deallocate(self, info: PodInfo, idle: Asked | str) -> None:
        inventory = self._nodes.around.devices
        if isinstance(idle, str):
            if info.uid in inventory.special:
                await delete_special(self._client, info, inventory)
        elif await deallocate(self._client, idle, inventory):
            self._tell_queue(Event(CLAIM, key=idle.key, freed=True))

    async def _preempt(self, info: PodInfo, diagnosis: Diagnosis, profile: Profile) -> Preemption:
        if extenders := [e for e in self._extenders if e.preempt_verb and e.interested(info)]:
            found = await preempt_with(
                extenders, self._client, info, self._nodes, profile, diagnosis, self._chance, self._evicting
            )
        else:
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


def _lets_others_in(before: PodInfo, now: PodInfo) -> bool:
    """Whether a pod that stays on its node has become smaller, or may have stopped being in somebody's way."""
    if before.shape.labels != now.shape.labels or now.terminating > before.terminating:
        return True
    return any(now.requests.get(resource, 0) < amount for resource, amount in before.requests.items())


def _condition(pod: Object) -> Object:
    found: Object = next(iter(pod["conditions"]), {})
    return found
