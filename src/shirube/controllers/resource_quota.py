"""ResourceQuota status: what a namespace uses of what its quotas count.

Admission raises `status.used` when something is created; this controller counts anew when a quota changes and
when objects go, finish or shrink. While admission is busy on a quota the count waits for a moment of quiet (at
most five seconds): the caches may not show yet what has just been let in, and a number that is too low would let
in more than the quota allows.
"""

from __future__ import annotations

from collections.abc import Callable

from shirube.api import quantity, quota_usage
from shirube.api.gvr import (
    CONFIGMAPS,
    GVR,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICATIONCONTROLLERS,
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
from shirube.controllers.garbage_collector import ownership_only
from shirube.controllers.ownership import deleting

_ACCOUNT = "resourcequota-controller"
_COUNTED = (PODS, SERVICES, PERSISTENTVOLUMECLAIMS, SECRETS, CONFIGMAPS, REPLICATIONCONTROLLERS, RESOURCEQUOTAS)
_GATHER_SECONDS = 0.2  # after a change, so that many cost one count
_QUIET_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 5.0


def resources_of(hard: Object) -> set[str]:
    """`count/RESOURCE.GROUP` names beyond the core resources that are always followed."""
    known = {g.resource for g in _COUNTED}
    names = {name.removeprefix("count/") for name in hard if name.startswith("count/")}
    return {n.removesuffix(".") for n in names if n.removesuffix(".") not in known}


def used(quota: Object, listed: list[tuple[Resource, list[Object]]], counts: dict[str, int]) -> Object:
    """`status.used` for what the quota names. `listed` are objects with their resources, `counts` plain numbers
    by `count/…` name."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    totals: dict[str, Quantity] = {name: quantity.parse("0") for name in hard}
    for resource, objects in listed:
        for obj in objects:
            if not quota_usage.matches(quota, resource, obj):
                continue
            for name, amount in quota_usage.of(resource, obj).items():
                if name in totals:
                    totals[name] = quantity.add(totals[name], amount)
    for name, number in counts.items():
        if name in totals:
            totals[name] = quantity.parse(str(number))
    return {name: quantity.canonical(amount) for name, amount in totals.items()}


def _same(a: Object, b: Object) -> bool:
    return a.keys() == b.keys() and all(quantity.cmp(a[k], b[k]) == 0 for k in a)


class ResourceQuotaController(Controller[str]):
    name = "resourcequota-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._informers: dict[GVR, Informer] = {gvr: context.informer(gvr) for gvr in _COUNTED}
        self._quotas = self._informers[RESOURCEQUOTAS]
        super().__init__(*self._informers.values())
        self._context = context
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._busy: dict[str, tuple[float, float]] = {}  # key -> (first, last) change of the status by others
        self._written: dict[str, str] = {}
        self._extra: dict[str, Informer | None] = {}  # by "resource.group"
        self._quotas.add_handler(self._enqueue, self._quota_updated, self._quota_deleted)
        for gvr, informer in self._informers.items():
            informer.add_handler(None, self._updated(gvr), self._replenish)

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
            self._busy[key] = (self._busy.get(key, (now, now))[0], now)

    def _quota_deleted(self, quota: Object) -> None:
        self._busy.pop(key_of(quota), None)
        self._written.pop(key_of(quota), None)

    def _replenish(self, obj: Object) -> None:
        for quota in self._quotas.store.list(obj["metadata"]["namespace"]):
            self.queue.add_after(key_of(quota), _GATHER_SECONDS)

    def _updated(self, gvr: GVR) -> Callable[[Object, Object], None]:
        resource = BUILTIN.by_path(gvr.group, gvr.version, gvr.resource)
        assert resource is not None

        def changed(old: Object, new: Object) -> None:
            if gvr in (PODS, SERVICES, PERSISTENTVOLUMECLAIMS) and self._quotas.store.list(
                new["metadata"]["namespace"]
            ):
                scopes = old["spec"].get("activeDeadlineSeconds") != new["spec"].get("activeDeadlineSeconds")
                if scopes or quota_usage.of(resource, old) != quota_usage.of(resource, new):
                    self._replenish(new)

        return changed

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        namespace, _ = split_key(key)
        quota = self._quotas.store.get(*split_key(key))
        if quota is None or deleting(quota):
            return None
        status, hard = quota.get("status") or {}, (quota.get("spec") or {}).get("hard") or {}
        if status.get("hard") == hard and (wait := self._not_quiet(key)):
            return wait
        counts = {}
        for name in resources_of(hard):
            informer = await self._follow(name)
            if informer is not None:
                counts[f"count/{name}"] = len(informer.store.list(namespace))
        listed = []
        for gvr, informer in self._informers.items():
            resource = BUILTIN.by_path(gvr.group, gvr.version, gvr.resource)
            assert resource is not None
            listed.append((resource, list(informer.store.list(namespace))))
        now_used = used(quota, listed, counts)
        self._busy.pop(key, None)
        if status.get("hard") == hard and _same(status.get("used") or {}, now_used):
            return None
        body = {**quota, "status": {"hard": hard, "used": now_used}}
        stored = await self._client.update_status(RESOURCEQUOTAS, body)
        self._written[key] = stored["metadata"]["resourceVersion"]
        return None

    def _not_quiet(self, key: str) -> float:
        """Seconds to wait for admission to pause."""
        if key not in self._busy:
            return 0.0
        first, last = self._busy[key]
        now = self._clock.monotonic()
        if now - first > _LONGEST_WAIT_SECONDS:
            return 0.0
        return max(last + _QUIET_SECONDS - now, 0.0)

    async def _follow(self, name: str) -> Informer | None:
        """An informer of a resource named `resource.group`, from the first quota on that counts it."""
        if self._extra.get(name) is None:
            plural, _, group = name.partition(".")
            for one in (await discover(self._context.reader)).resources:
                if (one.gvr.resource, one.gvr.group) == (plural, group) and one.namespaced and "watch" in one.verbs:
                    informer = self._context.factory.informer(one.gvr, projection=ownership_only, metadata_only=True)
                    informer.add_handler(None, None, self._replenish)
                    self._extra[name] = informer
        found = self._extra.get(name)
        if found is not None:
            await found.wait_for_cache_sync()
        return found
