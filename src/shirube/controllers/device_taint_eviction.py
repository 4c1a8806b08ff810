"""Pods leave devices with NoExecute taints that their claim does not tolerate, or tolerates for some seconds only.

Taints stand on devices in ResourceSlices, tolerations in a claim's allocation. A pod goes at the earliest deadline of
all devices of the claims that are reserved for it. Computed from the objects each time, so that a restart neither
forgets nor prolongs. Follows KEP-5055.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shirube.api.gvr import PODS, RESOURCECLAIMS, RESOURCESLICES
from shirube.client.controller import Controller
from shirube.client.events import NORMAL
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.controllers.pod_eviction import evict
from shirube.controllers.pods import finished
from shirube.foundation.clock import parse_rfc3339

_ACCOUNT = "device-taint-eviction-controller"
_REASON = "DeviceTaintManagerEviction"  # of events
_POOL, _RESERVED = "pool", "reserved-for"


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")


def deadline(taints: Iterable[Object], tolerations: Iterable[Object], seen_at: float) -> float | None:
    """When whoever uses the device has to go (seconds since the epoch); None for never."""
    tolerations = list(tolerations)
    earliest: float | None = None
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        since = parse_rfc3339(taint["timeAdded"]) if taint.get("timeAdded") else seen_at
        limits = [t.get("tolerationSeconds") for t in tolerations if tolerates(t, taint)]
        if None in limits:
            continue
        leave = since + min((max(limit, 0) for limit in limits if limit is not None), default=0)
        earliest = leave if earliest is None else min(earliest, leave)
    return earliest


def results_of(claim: Object) -> list[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


def _pool(driver: str, pool: str) -> str:
    return f"{driver}/{pool}"


class DeviceTaintEvictionController(Controller[str]):
    name = "device-taint-eviction-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._pods = context.informer(PODS)
        self._claims = context.informer(RESOURCECLAIMS)
        self._slices = context.informer(RESOURCESLICES)
        super().__init__(self._pods, self._claims, self._slices)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._seen_at: dict[tuple[str, str, str], float] = {}  # (pool, device, taint key) without a date of its own
        self._slices.add_index(_POOL, lambda s: [_pool(s["spec"]["driver"], s["spec"]["pool"]["name"])])
        self._claims.add_index(_POOL, lambda c: {_pool(r["driver"], r["pool"]) for r in results_of(c)})
        self._claims.add_index(_RESERVED, lambda c: [u["uid"] for u in _users(c)])
        self._waiting: dict[str, str] = {}  # pods that have a while left: key -> uid
        self._slices.add_handler(self._slice_seen, lambda _, new: self._slice_seen(new), self._slice_seen)
        self._claims.add_handler(self._claim_seen, self._claim_changed, self._claim_seen)
        self._pods.add_handler(self._pod_seen, self._pod_changed, self._pod_gone)

    def _slice_seen(self, one: Object) -> None:
        for claim in self._claims.store.by_index(_POOL, _pool(one["spec"]["driver"], one["spec"]["pool"]["name"])):
            self._claim_seen(claim)

    def _claim_seen(self, claim: Object) -> None:
        for user in _users(claim):
            self.queue.add(f"{claim['metadata']['namespace']}/{user['name']}")

    def _claim_changed(self, old: Object, new: Object) -> None:
        self._claim_seen(old)  # whose reservations may be gone
        self._claim_seen(new)

    def _pod_seen(self, pod: Object) -> None:
        """Its claim may have been seen before it."""
        if self._claims.store.by_index(_RESERVED, pod["metadata"]["uid"]):
            self.queue.add(key_of(pod))

    def _pod_changed(self, old: Object, new: Object) -> None:
        if old["spec"].get("nodeName") != new["spec"].get("nodeName"):
            self._pod_seen(new)

    def _pod_gone(self, pod: Object) -> None:
        self._waiting.pop(key_of(pod), None)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.store.get(*split_key(key))
        # One that is on no node yet does not use its devices yet.
        if pod is None or deleting(pod) or finished(pod) or not pod["spec"].get("nodeName"):
            self._waiting.pop(key, None)
            return None
        now = self._clock.now()
        leave = min(self._deadlines(pod, now), default=None)
        if leave is None:
            if self._waiting.pop(key, None) == pod["metadata"]["uid"]:
                self._recorder.event(pod, NORMAL, _REASON, "Cancelling deletion")
            return None
        if leave > now:
            self._waiting[key] = pod["metadata"]["uid"]
            return leave - now
        self._waiting.pop(key, None)
        await self._evict(pod)
        return None

    def _deadlines(self, pod: Object, now: float) -> Iterator[float]:
        for claim in self._claims.store.by_index(_RESERVED, pod["metadata"]["uid"]):
            if claim["metadata"]["namespace"] != pod["metadata"]["namespace"]:
                continue  # what others say of a pod that is not theirs
            for result in results_of(claim):
                taints = self._taints(result)
                where = (_pool(result["driver"], result["pool"]), result["device"])
                seen = [self._seen_at.setdefault((*where, t["key"]), now) for t in taints if not t.get("timeAdded")]
                if not taints:
                    self._seen_at = {k: v for k, v in self._seen_at.items() if k[:2] != where}
                leave = deadline(taints, result.get("tolerations") or (), min(seen, default=now))
                if leave is not None:
                    yield leave

    def _taints(self, result: Object) -> list[Object]:
        """Of an allocated device, as its pool's latest slices say."""
        slices = self._slices.store.by_index(_POOL, _pool(result["driver"], result["pool"]))
        latest = max((s["spec"]["pool"].get("generation", 0) for s in slices), default=0)
        return [
            taint
            for one in slices
            if one["spec"]["pool"].get("generation", 0) == latest
            for device in one["spec"].get("devices") or ()
            if device["name"] == result["device"]
            for taint in device.get("taints") or ()
            if taint.get("effect") == "NoExecute"
        ]

    async def _evict(self, pod: Object) -> None:
        self._recorder.event(pod, NORMAL, _REASON, "Marking for deletion")
        why = "Device Taint manager: deleting due to NoExecute taint"
        await evict(self._client, pod, "DeletionByDeviceTaintManager", why, self._clock.now())


def _users(claim: Object) -> list[Object]:
    found = (claim.get("status") or {}).get("reservedFor") or ()
    return [u for u in found if not u.get("apiGroup") and u.get("resource") == "pods"]
