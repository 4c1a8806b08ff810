"""What the cluster has of devices, and who has it: resource slices as pools, claims as what they hold.

Follows KEP-4381 (structured parameters), KEP-4815 (shared counters) and KEP-5075 (consumable capacity). A pool is the
slices of its latest generation; one that is not complete, or names a device twice, gives nothing. A claim holds what
its status says, or what the scheduler has assumed for it until the API shows that. Nodes whose devices or their use
changed are logged, so that answers by node are kept and only these computed anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shirube.api import quantity
from shirube.client.informer import key_of

Object = dict[str, Any]
PoolId = tuple[str, str]  # (driver, pool)
_LOGGED = 10_000
_IMPLICIT = "deviceclass.resource.kubernetes.io/"
EXTENDED_CLAIM = "resource.kubernetes.io/extended-resource-claim"


class DeviceId(NamedTuple):
    driver: str
    pool: str
    device: str


class Held(NamedTuple):
    """One device of an allocation. `capacity` (in billionths) is what is taken of one that several share."""

    device: DeviceId
    capacity: dict[str, int] | None


@dataclass(slots=True, eq=False)
class Pool:
    """The latest generation of a driver's pool."""

    id: PoolId
    slices: list[Object]
    complete: bool
    invalid: bool
    nodes: frozenset[str]  # named by slices or devices
    wide: bool  # some of it is for nodes by labels, or for all


@dataclass(slots=True)
class Inventory:
    slices: dict[str, Object] = field(default_factory=dict)
    classes: dict[str, Object] = field(default_factory=dict)
    claims: dict[str, Object] = field(default_factory=dict)  # by namespace/name
    assumed: dict[str, Object] = field(default_factory=dict)  # allocations on their way to the API, by the same key
    taken: Counter[DeviceId] = field(default_factory=Counter)  # devices that one claim has for itself
    shared: dict[DeviceId, Counter[str]] = field(default_factory=dict)  # capacity taken of the others
    shares: Counter[DeviceId] = field(default_factory=Counter)
    extended: dict[str, str] = field(default_factory=dict)  # extended resource -> class of devices that provides it
    special: dict[str, str] = field(default_factory=dict)  # pod uid -> the claim made for its extended resources
    generation: int = 0  # changes with classes and what they provide
    _pools: dict[PoolId, Pool] = field(default_factory=dict)
    _slices_of: dict[PoolId, dict[str, Object]] = field(default_factory=dict)
    _on_node: dict[str, set[PoolId]] = field(default_factory=dict)
    _wide: set[PoolId] = field(default_factory=set)
    _holds: dict[str, tuple[Held, ...]] = field(default_factory=dict)
    _log: list[str | None] = field(default_factory=list)  # nodes concerned; None: any
    _log_base: int = 0

    def __bool__(self) -> bool:
        return bool(self.slices or self.classes or self.claims)

    # What there is

    def set_slice(self, obj: Object) -> None:
        self.remove_slice(obj)
        pool = _pool_of(obj)
        self.slices[obj["metadata"]["name"]] = obj
        self._slices_of.setdefault(pool, {})[obj["metadata"]["name"]] = obj
        self._rebuild(pool)

    def remove_slice(self, obj: Object) -> None:
        old = self.slices.pop(obj["metadata"]["name"], None)
        if old is None:
            return
        pool = _pool_of(old)
        del self._slices_of[pool][old["metadata"]["name"]]
        self._rebuild(pool)

    def _rebuild(self, pool: PoolId) -> None:
        self._changed(pool)  # for those who have lost it
        if old := self._pools.pop(pool, None):
            for node in old.nodes:
                self._on_node[node].discard(pool)
            self._wide.discard(pool)
        if not self._slices_of[pool]:
            del self._slices_of[pool]
            return
        made = self._pools[pool] = _made(pool, list(self._slices_of[pool].values()))
        for node in made.nodes:
            self._on_node.setdefault(node, set()).add(pool)
        if made.wide:
            self._wide.add(pool)
        self._changed(pool)

    def pool(self, pool: PoolId) -> Pool | None:
        return self._pools.get(pool)

    def pools_for(self, node: str) -> list[Pool]:
        """Pools that may have something for a node, in the order in which devices are tried."""
        ids = sorted(self._wide.union(self._on_node.get(node, ())))
        return sorted((self._pools[i] for i in ids), key=_waits_for_conditions)

    def nodes_with_devices(self) -> list[str] | None:
        """Nodes that have any; None when all may have."""
        return None if self._wide else [n for n, pools in self._on_node.items() if pools]

    def set_class(self, obj: Object) -> None:
        self.classes[obj["metadata"]["name"]] = obj
        self._map_extended()

    def remove_class(self, obj: Object) -> None:
        self.classes.pop(obj["metadata"]["name"], None)
        self._map_extended()

    def _map_extended(self) -> None:
        """Of classes that provide the same resource the newest wins, then the first by name."""
        self.generation += 1
        self._note(None)
        by_age = sorted(self.classes.values(), key=lambda c: c["metadata"]["name"], reverse=True)
        by_age.sort(key=lambda c: c["metadata"].get("creationTimestamp", ""))
        self.extended = {f"{_IMPLICIT}{name}": name for name in self.classes}
        for one in by_age:
            if resource := (one.get("spec") or {}).get("extendedResourceName"):
                self.extended[resource] = one["metadata"]["name"]

    # Who has it

    def set_claim(self, claim: Object) -> bool:
        """Take over what the API says, unless something newer is known already; whether devices came free."""
        key = key_of(claim)
        known = self.claims.get(key)
        if known is not None and _version(known) > _version(claim) and _uid(known) == _uid(claim):
            return False
        self.claims[key] = claim
        if claim["metadata"].get("annotations", {}).get(EXTENDED_CLAIM) == "true":
            for owner in claim["metadata"].get("ownerReferences") or ():
                self.special[owner["uid"]] = key
        return self._hold(key)

    def remove_claim(self, claim: Object) -> bool:
        key = key_of(claim)
        gone = self.claims.pop(key, None)
        for owner in (gone or claim)["metadata"].get("ownerReferences") or ():
            if self.special.get(owner["uid"]) == key:
                del self.special[owner["uid"]]
        return self._hold(key)

    def assume(self, key: str, allocation: Object) -> None:
        """A claim's devices are chosen; the API will be told."""
        self.assumed[key] = allocation
        self._hold(key)

    def forget(self, key: str) -> bool:
        """What was assumed is in the API now, or will never be; whether devices came free."""
        return self.assumed.pop(key, None) is not None and self._hold(key)

    def allocation(self, key: str) -> Object | None:
        """What the API says that a claim has."""
        found: Object | None = ((self.claims.get(key) or {}).get("status") or {}).get("allocation")
        return found

    def _hold(self, key: str) -> bool:
        holds = _held(self.assumed.get(key) or self.allocation(key))
        before = self._holds.pop(key, ())
        if holds:
            self._holds[key] = holds
        if holds == before:
            return False
        for held in before:
            self._count(held, -1)
        for held in holds:
            self._count(held, 1)
        for pool in {(h.device.driver, h.device.pool) for h in (*before, *holds)}:
            self._changed(pool)
        return bool(before)

    def _count(self, held: Held, sign: int) -> None:
        table = self.taken if held.capacity is None else self.shares
        table[held.device] += sign
        if not table[held.device]:
            del table[held.device]
        if held.capacity is not None:
            sums = self.shared.setdefault(held.device, Counter())
            for name, amount in held.capacity.items():
                sums[name] += sign * amount
            if held.device not in self.shares:
                del self.shared[held.device]

    def in_use(self, device: DeviceId) -> bool:
        return device in self.taken or device in self.shares

    # What changed

    def changed_since(self, position: int) -> tuple[set[str] | None, int]:
        """Nodes for which devices, their use or classes changed since a position; None: any of them."""
        now = self._log_base + len(self._log)
        if position < self._log_base:
            return None, now
        new = self._log[position - self._log_base :]
        return (None if None in new else {n for n in new if n is not None}), now

    def _changed(self, pool: PoolId) -> None:
        known = self._pools.get(pool)
        if known is not None and known.wide:
            self._note(None)
        elif known is not None:
            for node in known.nodes:
                self._note(node)

    def _note(self, node: str | None) -> None:
        self._log.append(node)
        if len(self._log) > _LOGGED:
            del self._log[: _LOGGED // 2]
            self._log_base += _LOGGED // 2


def _pool_of(obj: Object) -> PoolId:
    return obj["spec"]["driver"], obj["spec"]["pool"]["name"]


def _uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid"))


def _version(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)


def _waits_for_conditions(pool: Pool) -> bool:
    return any(d.get("bindingConditions") for s in pool.slices for d in s["spec"].get("devices") or ())


def _made(pool: PoolId, slices: list[Object]) -> Pool:
    latest = max(s["spec"]["pool"].get("generation", 0) for s in slices)
    slices = [s for s in slices if s["spec"]["pool"].get("generation", 0) == latest]
    slices.sort(key=lambda s: s["metadata"]["name"])
    names = Counter(d["name"] for s in slices for d in s["spec"].get("devices") or ())
    nodes: set[str] = set()
    wide = False
    for one in slices:
        spec = one["spec"]
        for place in (spec.get("devices") or ()) if spec.get("perDeviceNodeSelection") else (spec,):
            if name := place.get("nodeName"):
                nodes.add(name)
            elif place.get("allNodes") or place.get("nodeSelector"):
                wide = True
    return Pool(
        pool,
        slices,
        complete=len(slices) == slices[0]["spec"]["pool"].get("resourceSliceCount", 1),
        invalid=any(count > 1 for count in names.values()),
        nodes=frozenset(nodes),
        wide=wide,
    )


def _held(allocation: Object | None) -> tuple[Held, ...]:
    """Administrators look at devices without having them."""
    results = ((allocation or {}).get("devices") or {}).get("results") or ()
    return tuple(
        Held(
            DeviceId(r["driver"], r["pool"], r["device"]),
            {k: quantity.parse(v).scaled(1) for k, v in (r.get("consumedCapacity") or {}).items()}
            if r.get("shareID")
            else None,
        )
        for r in results
        if not r.get("adminAccess")
    )
