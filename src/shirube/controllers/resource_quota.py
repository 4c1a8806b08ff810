"""ResourceQuota status: what a namespace uses of what its quotas count.

Admission raises `status.used` when something is created; this controller counts anew when a quota changes, when
objects go, finish or shrink, a few seconds after admission (what was let in may not have been stored after all: another
of its name was there), and every five minutes.

A number that is too low would let in more than the quota allows, and the caches may not show yet what has just been let
in. So the count waits for a moment of quiet. When admission does not pause for five seconds, what it let in within the
last moment is counted on top (`cautious`): too high for a moment, never too low.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from shirube.api import quantity, quota_usage
from shirube.api.gvr import (
    CONFIGMAPS,
    DEVICECLASSES,
    GVR,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICATIONCONTROLLERS,
    RESOURCECLAIMS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
)
from shirube.api.quantity import Quantity
from shirube.api.resources import BUILTIN, Resource
from shirube.client.controller import Controller
from shirube.client.discovery import discover
from shirube.client.informer import Informer, key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting

_ACCOUNT = "resourcequota-controller"
_COUNTED = (
    PODS,
    SERVICES,
    PERSISTENTVOLUMECLAIMS,
    SECRETS,
    CONFIGMAPS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    RESOURCECLAIMS,
)
_CHANGING = (PODS, SERVICES, PERSISTENTVOLUMECLAIMS, RESOURCECLAIMS)  # those whose use changes while they live
_UNCOUNTED = {"events", "events.events.k8s.io"}  # as admission
_GATHER_SECONDS = 0.2  # after a change, so that many cost one count
_QUIET_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 5.0
_CATCH_UP_SECONDS = 2.0  # after a start
RESYNC_SECONDS = 300.0
_UNKNOWN_SECONDS = 30.0  # until a resource that the server does not serve is looked for again
_SYNC_SECONDS = 10.0
_MOST_SHARED = 4096


def resources_of(hard: Object) -> set[str]:
    """`count/RESOURCE.GROUP` names beyond the core resources that are always followed."""
    known = {f"{g.resource}.{g.group}".rstrip(".") for g in _COUNTED}
    names = {name.removeprefix("count/") for name in hard if name.startswith("count/")} - _UNCOUNTED
    return {n.removesuffix(".") for n in names if n.removesuffix(".") not in known}


class Costs:
    """What objects use, remembered of pods: a namespace's thousands are added up whenever one of them changes. Pods
    that use the same share what says so."""

    def __init__(self, around: quota_usage.Surroundings | None = None) -> None:
        self._around = around
        self._shared: dict[tuple[tuple[str, int, str], ...], quota_usage.Usage] = {}
        self._known: dict[str, tuple[str, quota_usage.Usage]] = {}  # uid -> (resourceVersion, use)

    def of(self, resource: Resource, obj: Object, now: float | None = None) -> quota_usage.Usage:
        metadata = obj["metadata"]
        # What is being deleted uses nothing from some moment on.
        if resource.name != "pods" or resource.group or metadata.get("deletionTimestamp") or "uid" not in metadata:
            return quota_usage.of(resource, obj, now, self._around)
        known = self._known.get(metadata["uid"])
        version = metadata.get("resourceVersion", "")
        if known is not None and known[0] == version:
            return known[1]
        use = quota_usage.of(resource, obj, now)
        if len(self._shared) > _MOST_SHARED:
            self._shared.clear()
        use = self._shared.setdefault(tuple((name, q.nanos, q.format) for name, q in use.items()), use)
        self._known[metadata["uid"]] = version, use
        return use

    def forget(self, obj: Object) -> None:
        self._known.pop(obj["metadata"].get("uid", ""), None)


def used(
    quota: Object,
    listed: list[tuple[Resource, list[Object]]],
    counts: dict[str, int],
    now: float | None = None,
    costs: Costs | None = None,
) -> Object:
    """`status.used` for what the quota names. `listed` are objects with their resources, `counts` plain numbers
    by `count/…` name."""
    use_of = quota_usage.of if costs is None else costs.of
    spec = quota.get("spec") or {}
    hard, scoped = spec.get("hard") or {}, spec.get("scopes") or spec.get("scopeSelector")
    totals: dict[str, Quantity] = {name: quantity.parse("0") for name in hard}
    for resource, objects in listed:
        alike: dict[int, list[quota_usage.Usage]] = {}
        for obj in objects:
            if not scoped or quota_usage.matches(quota, resource, obj):
                use = use_of(resource, obj, now)
                alike.setdefault(id(use), []).append(use)
        for uses in alike.values():
            for name, amount in uses[0].items():
                if name in totals:
                    totals[name] = quantity.add(totals[name], Quantity(amount.nanos * len(uses), amount.format))
    for name, number in counts.items():
        if name in totals:
            totals[name] = quantity.parse(str(number))
    return {name: quantity.canonical(amount) for name, amount in totals.items()}


def _same(a: Object, b: Object) -> bool:
    return a.keys() == b.keys() and all(quantity.cmp(a[k], b[k]) == 0 for k in a)


def cautious(counted: Object, shown: Object, recent: Iterable[Object]) -> Object:
    """What may be in use when objects that were let in a moment ago are perhaps not counted yet: those on top, though
    not beyond what admission has added up (`shown`) unless more was counted."""
    most = {name: quantity.parse(amount) for name, amount in counted.items()}
    for increase in recent:
        for name, amount in increase.items():
            if name in most:
                most[name] = quantity.add(most[name], amount)
    for name, amount in counted.items():
        ceiling = max(quantity.parse(shown.get(name, "0")), quantity.parse(amount), key=lambda q: q.nanos)
        most[name] = min(most[name], ceiling, key=lambda q: q.nanos)
    return {name: quantity.canonical(amount) for name, amount in most.items()}


class Busy:
    """What admission let in of late."""

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self._increases: deque[tuple[float, Object]] = deque()

    def took(self, now: float, before: Object, after: Object) -> None:
        self.last = now
        grown = {n: quantity.sub(a, before.get(n, "0")) for n, a in after.items()}
        self._increases.append((now, {n: a for n, a in grown.items() if a.nanos > 0}))

    def wait(self, now: float) -> float:
        """Seconds to wait for it to pause; 0.0 also when it does not."""
        return 0.0 if now - self.first > _LONGEST_WAIT_SECONDS else max(self.last + _QUIET_SECONDS - now, 0.0)

    def recent(self, now: float) -> list[Object]:
        while self._increases and self._increases[0][0] <= now - _QUIET_SECONDS:
            self._increases.popleft()
        return [increase for _, increase in self._increases]


class ResourceQuotaController(Controller[str]):
    name = "resourcequota-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._informers: dict[GVR, Informer] = {gvr: context.informer(gvr) for gvr in _COUNTED}
        self._quotas = self._informers[RESOURCEQUOTAS]
        self._classes = context.informer(DEVICECLASSES)
        super().__init__(*self._informers.values(), self._classes)
        self._context = context
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._busy: dict[str, Busy] = {}  # by key, while others change the status
        self._begins: float | None = None  # to count what was counted before
        self._written: dict[str, str] = {}
        pods, claims = self._informers[PODS].store, self._informers[RESOURCECLAIMS].store
        self._costs = Costs(quota_usage.Surroundings(self._extended, pods.get, claims.list))
        self._extra: dict[str, Informer | None] = {}  # by "resource.group"
        self._quotas.add_handler(self._enqueue, self._quota_updated, self._quota_deleted)
        for gvr, informer in self._informers.items():
            informer.add_handler(None, self._updated(gvr), self._replenish)

        self._classes.add_handler(self._class_changed, lambda _, new: self._class_changed(new), self._class_changed)

    def _extended(self, device_class: str) -> str:
        known = self._classes.store.get(None, device_class)
        return str((known.get("spec") or {}).get("extendedResourceName") or "") if known is not None else ""

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, quota: Object) -> None:
        self.queue.add(key_of(quota))

    def _quota_updated(self, old: Object, new: Object) -> None:
        key = key_of(new)
        shown = (new.get("status") or {}).get("hard")
        # A status that somebody else wrote is put right at once; upstream's waits for its resync of five minutes.
        if old.get("spec") != new.get("spec") or shown != (new["spec"] or {}).get("hard"):
            self.queue.add(key)
        elif old.get("status") != new.get("status") and new["metadata"]["resourceVersion"] != self._written.get(key):
            now = self._clock.monotonic()
            before, after = ((q.get("status") or {}).get("used") or {} for q in (old, new))
            self._busy.setdefault(key, Busy(now)).took(now, before, after)
            self.queue.add_after(key, _LONGEST_WAIT_SECONDS)

    def _class_changed(self, _: Object) -> None:
        """Another extended resource may stand for it."""
        for quota in self._quotas.store:
            if any(
                name.startswith("requests.") and "/" in name for name in (quota.get("spec") or {}).get("hard") or ()
            ):
                self.queue.add_after(key_of(quota), _GATHER_SECONDS)

    def _quota_deleted(self, quota: Object) -> None:
        self._busy.pop(key_of(quota), None)
        self._written.pop(key_of(quota), None)

    def _replenish(self, obj: Object) -> None:
        self._costs.forget(obj)
        for quota in self._quotas.store.list(obj["metadata"]["namespace"]):
            self.queue.add_after(key_of(quota), _GATHER_SECONDS)

    def _updated(self, gvr: GVR) -> Callable[[Object, Object], None]:
        resource = BUILTIN.by_path(gvr.group, gvr.version, gvr.resource)
        assert resource is not None

        def changed(old: Object, new: Object) -> None:
            if gvr not in _CHANGING:
                return
            for quota in self._quotas.store.list(new["metadata"]["namespace"]):
                if _changes(quota, resource, old, new, self._costs):
                    self.queue.add_after(key_of(quota), _GATHER_SECONDS)

        return changed

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        quota = self._quotas.store.get(*split_key(key))
        if quota is None or deleting(quota):
            return None
        status, hard = quota.get("status") or {}, (quota.get("spec") or {}).get("hard") or {}
        if status.get("hard") == hard and (wait := self._wait(key)):
            return wait
        now_used, again = await self._count(quota, hard)
        # Counting may have waited: what was let in meanwhile counts, too.
        busy, now = self._busy.pop(key, None), self._clock.monotonic()
        recent = busy.recent(now) if busy is not None else []
        if recent:
            now_used = cautious(now_used, status.get("used") or {}, recent)
            self._busy[key] = Busy(now)
            again = _QUIET_SECONDS
        if status.get("hard") == hard and _same(status.get("used") or {}, now_used):
            return again
        body = {**quota, "status": {"hard": hard, "used": now_used}}
        stored = await self._client.update_status(RESOURCEQUOTAS, body)
        self._written[key] = stored["metadata"]["resourceVersion"]
        return again

    def _wait(self, key: str) -> float:
        """Seconds until what the caches hold can be trusted: admission pauses, and after a start they have caught up.
        Each was listed at a moment of its own; long lists are seconds older than the quotas' charges."""
        now, busy = self._clock.monotonic(), self._busy.get(key)
        if self._begins is None:
            self._begins = now + _CATCH_UP_SECONDS
        return max(busy.wait(now) if busy is not None else 0.0, self._begins - now, 0.0)

    async def _count(self, quota: Object, hard: Object) -> tuple[Object, float]:
        """(what is used, seconds until it may be something else without an event)."""
        namespace, now, again = quota["metadata"]["namespace"], self._clock.now(), RESYNC_SECONDS
        counts = {}
        for name in sorted(resources_of(hard)):
            informer = await self._follow(name)
            if informer is not None:
                counts[f"count/{name}"] = len(informer.store.list(namespace))
            else:
                again = _UNKNOWN_SECONDS
        listed = []
        for gvr, informer in self._informers.items():
            resource = BUILTIN.by_path(gvr.group, gvr.version, gvr.resource)
            assert resource is not None
            listed.append((resource, list(informer.store.list(namespace))))
            if gvr == PODS:
                leave = [
                    gone for pod in listed[-1][1] if (gone := quota_usage.gone_at(pod)) is not None and gone >= now
                ]
                again = min([again, *(gone - now + 1 for gone in leave)])
        return used(quota, listed, counts, now, self._costs), again

    async def _follow(self, name: str) -> Informer | None:
        """An informer of a resource named `resource.group`, from the first quota on that counts it; None while the
        server does not serve it."""
        if self._extra.get(name) is None:
            plural, _, group = name.partition(".")
            for one in (await discover(self._context.reader)).resources:
                if (one.gvr.resource, one.gvr.group) == (plural, group) and one.namespaced and "watch" in one.verbs:
                    informer = self._context.informer(one.gvr, metadata_only=True)
                    informer.add_handler(None, None, self._replenish)
                    self._extra[name] = informer
        found = self._extra.get(name)
        if found is None:
            return None
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await found.wait_for_cache_sync()
        except TimeoutError:
            self.log.warning("cannot count a resource that the server does not list", resource=name)
            return None
        return found


def _changes(quota: Object, resource: Resource, old: Object, new: Object, costs: Costs) -> bool:
    """Whether a change of an object changes what the quota counts."""
    was, now = (quota_usage.matches(quota, resource, obj) for obj in (old, new))
    if was != now or (deleting(old) != deleting(new) and resource.name == "pods"):
        return True
    return now and costs.of(resource, old) != costs.of(resource, new)
