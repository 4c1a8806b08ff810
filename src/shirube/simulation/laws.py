"""Laws that hold at every commit of a simulation, not only at its end.

`Laws` hears of each commit (`MemoryStorage(on_commit)`) and keeps just enough of pods and their owners to say:

- no node is given more than it can allocate (cpu, memory, number of pods that are not finished);
- a Deployment has at most replicas + maxSurge pods that live and are not leaving, and its ReplicaSets ask for no more;
  once its status has said that it is whole, it takes away no ready pod while that leaves fewer than replicas −
  maxUnavailable, unless somebody else hurts it (a node that fails, an eviction, a pod that is not ready any more): then
  it is let alone until it has said so again. (A pod that turns ready while it is taken for a sick one is not missed:
  who takes it cannot know.)
- a namespace never holds more than its ResourceQuotas allow (pods, requests.cpu, requests.memory); pods that should
  have gone by now, though their node does not say so, count no more, as upstream counts;
- a Job never has more than its parallelism of pods at work;
- a pod that has finished does not live again.

A changed spec is given time: the old bound counts until the new one is reached. `violations` are texts for people.
How requests add up is written here anew, in the simplest way: the scheduler's own arithmetic is what is judged.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from shirube.api import quantity
from shirube.foundation.clock import parse_rfc3339
from shirube.storage.types import Event

Json = dict[str, Any]
Amounts = dict[str, int]  # resource -> milli units

_FINISHED = ("Succeeded", "Failed")
_MOST_TOLD = 50


@dataclass(slots=True)
class Pod:
    key: str
    uid: str
    namespace: str
    node: str
    owner: str  # uid of its controller
    requests: Amounts
    lives: bool  # not finished
    leaving: bool
    ready: bool
    evicted: bool  # DisruptionTarget: not its owner's doing
    created: str
    gone_at: float  # seconds since the epoch: when it should have gone; infinite for those that stay


@dataclass(slots=True)
class Deployment:
    name: str
    replicas: int
    surge: int
    unavailable: int
    recreate: bool
    ceiling: int  # pods, now
    floor: int  # ready pods, now; 0 while it is growing or hurt
    whole: bool  # what its status says


@dataclass(slots=True)
class _Group:
    """The pods of a Deployment or Job: how many there are of those that do not leave."""

    pods: dict[str, Pod] = field(default_factory=dict)  # by key
    living: int = 0
    ready: int = 0

    def add(self, pod: Pod) -> None:
        self.pods[pod.key] = pod
        self._count(pod, 1)

    def remove(self, pod: Pod) -> None:
        if self.pods.pop(pod.key, None) is not None:
            self._count(pod, -1)

    def _count(self, pod: Pod, sign: int) -> None:
        if not pod.leaving:
            self.living += sign * pod.lives
            self.ready += sign * pod.ready


@dataclass(slots=True)
class _Totals:
    pods: int = 0
    amounts: Amounts = field(default_factory=lambda: defaultdict(int))

    def add(self, requests: Amounts, sign: int) -> None:
        self.pods += sign
        for name, amount in requests.items():
            self.amounts[name] += sign * amount


def requests_of(spec: Json) -> Amounts:
    total: Amounts = defaultdict(int)
    for container in spec.get("containers") or ():
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] += quantity.milli(amount)
    return total


def _resolved(value: Any, of: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = of * int(value[:-1]) / 100
        return math.ceil(share - 1e-9) if up else math.floor(share + 1e-9)
    return int(value)


class Laws:
    def __init__(self) -> None:
        self.violations: list[str] = []
        self.checks = 0
        self._pods: dict[str, Pod] = {}
        self._nodes: dict[str, _Totals] = defaultdict(_Totals)
        self._allocatable: dict[str, Amounts] = {}
        self._namespaces: dict[str, _Totals] = defaultdict(_Totals)
        self._quotas: dict[str, dict[str, Amounts]] = defaultdict(dict)
        self._deployments: dict[str, Deployment] = {}  # by uid
        self._sets: dict[str, str] = {}  # uid of a ReplicaSet -> uid of its Deployment
        self._asked: dict[str, dict[str, int]] = defaultdict(dict)  # uid of a Deployment -> uid of its set -> replicas
        self._unaware: dict[str, dict[str, None]] = defaultdict(dict)  # uid of a Deployment -> sets behind their spec
        self._groups: dict[str, _Group] = defaultdict(_Group)  # uid of Deployment or Job -> its pods
        self._jobs: dict[str, tuple[str, int]] = {}  # uid -> (name, most pods at work)
        self._uids: dict[str, str] = {}  # key -> uid, of owners
        self._by_hand: set[str] = set()  # uids of pods that people delete
        self._ending: set[str] = set()  # namespaces that are being deleted, with all that is in them
        self._takers = {
            "/registry/core/namespaces/": self._namespace,
            "/registry/core/pods/": self._pod,
            "/registry/core/nodes/": self._node,
            "/registry/core/resourcequotas/": self._quota,
            "/registry/apps/deployments/": self._deployment,
            "/registry/apps/replicasets/": self._replica_set,
            "/registry/batch/jobs/": self._job,
        }

    def __call__(self, events: Sequence[Event]) -> None:
        """For `MemoryStorage(on_commit)`."""
        for event in events:
            prefix = event.key[: event.key.find("/", event.key.find("/", 10) + 1) + 1]
            take = self._takers.get(prefix)
            if take is not None:
                take(event.key, orjson.loads(event.value) if event.kind == "PUT" else None)

    def tell(self, text: str) -> None:
        if len(self.violations) < _MOST_TOLD:
            self.violations.append(text)

    def deleted_by_hand(self, uid: str) -> None:
        """A person is about to delete this pod: its owner has not done it."""
        self._by_hand.add(uid)

    # What there is

    def _node(self, key: str, obj: Json | None) -> None:
        name = key.rsplit("/", 1)[-1]
        if obj is None:
            self._allocatable.pop(name, None)
            return
        allocatable = (obj.get("status") or {}).get("allocatable") or {}
        self._allocatable[name] = {r: quantity.milli(a) for r, a in allocatable.items()}

    def _namespace(self, key: str, obj: Json | None) -> None:
        name = key.rsplit("/", 1)[-1]
        if obj is None:
            self._ending.discard(name)
        elif obj["metadata"].get("deletionTimestamp"):
            self._ending.add(name)

    def _quota(self, key: str, obj: Json | None) -> None:
        namespace = key.split("/")[4]
        if obj is None:
            self._quotas[namespace].pop(key, None)
        elif not obj["spec"].get("scopes") and not obj["spec"].get("scopeSelector"):
            self._quotas[namespace][key] = {r: quantity.milli(a) for r, a in (obj["spec"].get("hard") or {}).items()}

    def _job(self, key: str, obj: Json | None) -> None:
        if obj is None:
            self._jobs.pop(self._uids.pop(key, ""), None)
            return
        uid, spec = obj["metadata"]["uid"], obj["spec"]
        most = 0 if spec.get("suspend") else int(spec.get("parallelism", 1))
        self._uids[key] = uid
        known = self._jobs.get(uid)
        # Pods at work are stopped when a Job is suspended or shrinks: the bound of before counts.
        self._jobs[uid] = (key, max(most, known[1] if known is not None else 0))

    def _replica_set(self, key: str, obj: Json | None) -> None:
        if obj is None:
            uid = self._uids.pop(key, "")
            owner = self._sets.pop(uid, "")
            self._asked[owner].pop(uid, None)
            self._unaware[owner].pop(uid, None)
            return
        uid = obj["metadata"]["uid"]
        owner = _controller(obj["metadata"])
        self._uids[key] = uid
        replicas = int(obj["spec"].get("replicas", 1))
        before = self._asked[owner].get(uid, 0)
        self._sets[uid] = owner
        self._asked[owner][uid] = replicas
        seen = int((obj.get("status") or {}).get("observedGeneration") or 0)
        if seen < int(obj["metadata"].get("generation") or 0):
            self._unaware[owner][uid] = None
        else:
            self._unaware[owner].pop(uid, None)
        deployment = self._deployments.get(owner)
        if deployment is not None and replicas > before:
            self.checks += 1
            total = sum(self._asked[owner].values())
            if total > deployment.ceiling:
                self.tell(
                    f"Deployment {deployment.name}: its ReplicaSets ask for {total}, allowed {deployment.ceiling}"
                )
        self._relax(owner)

    def _deployment(self, key: str, obj: Json | None) -> None:
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            uid = self._uids.pop(key, "")
            self._deployments.pop(uid, None)
            self._asked.pop(uid, None)
            return
        uid, spec = obj["metadata"]["uid"], obj["spec"]
        strategy = spec.get("strategy") or {}
        rolling = strategy.get("rollingUpdate") or {}
        replicas = int(spec.get("replicas", 1))
        recreate = strategy.get("type") == "Recreate"
        surge = 0 if recreate else _resolved(rolling.get("maxSurge", "25%"), replicas, up=True)
        unavailable = replicas if recreate else _resolved(rolling.get("maxUnavailable", "25%"), replicas, up=False)
        if not surge and not unavailable:
            unavailable = 1
        known = self._deployments.get(uid)
        seen = int((obj.get("status") or {}).get("observedGeneration") or 0)
        if seen < int(obj["metadata"].get("generation") or 0):
            self._unaware[uid][uid] = None  # its controller may still act on the spec before
        else:
            self._unaware[uid].pop(uid, None)
            self._relax(uid)
        if known is None or (known.replicas, known.surge, known.unavailable) != (replicas, surge, unavailable):
            self._uids[key] = uid
            ceiling = max(replicas + surge, known.ceiling if known else 0)
            known = Deployment(key, replicas, surge, unavailable, recreate, ceiling, 0, False)
            self._deployments[uid] = known
            self._relax(uid)
        whole = (
            uid not in self._unaware[uid] and int((obj.get("status") or {}).get("availableReplicas") or 0) >= replicas
        )
        if whole and not known.whole and self._ready(uid) >= replicas:
            known.floor = replicas - unavailable
        known.whole = whole

    # Pods

    def _pod(self, key: str, obj: Json | None) -> None:
        old = self._pods.pop(key, None)
        new = self._read(key, obj) if obj is not None else None
        if new is not None:
            self._pods[key] = new
        self._count(old, -1)
        self._count(new, 1)
        if new is not None:
            if new.node and new.lives and not (old is not None and old.node and old.lives):
                self._check_node(new)
            if old is None:
                self._check_namespace(new)
                self._check_job(new)
            elif old.uid == new.uid and new.lives and not old.lives:
                self.tell(f"pod {key} was finished and lives again")
        self._follow_deployment(old, new)

    def _read(self, key: str, obj: Json) -> Pod:
        metadata, status = obj["metadata"], obj.get("status") or {}
        conditions = {c["type"]: c["status"] == "True" for c in status.get("conditions") or ()}
        known = self._pods.get(key)
        return Pod(
            key,
            metadata["uid"],
            metadata["namespace"],
            obj["spec"].get("nodeName") or "",
            _controller(metadata),
            known.requests if known is not None and known.uid == metadata["uid"] else requests_of(obj["spec"]),
            status.get("phase") not in _FINISHED,
            bool(metadata.get("deletionTimestamp")),
            conditions.get("Ready", False),
            conditions.get("DisruptionTarget", False),
            metadata.get("creationTimestamp") or "",
            _gone_at(metadata),
        )

    def _count(self, pod: Pod | None, sign: int) -> None:
        if pod is None:
            return
        if pod.lives:
            self._namespaces[pod.namespace].add(pod.requests, sign)
            if pod.node:
                self._nodes[pod.node].add(pod.requests, sign)
        uid = self._group(pod)
        if sign > 0:
            self._groups[uid].add(pod)
        elif (group := self._groups.get(uid)) is not None:
            group.remove(pod)
            if not group.pods:
                del self._groups[uid]

    def _group(self, pod: Pod) -> str:
        """The Deployment behind its ReplicaSet, or the owner itself."""
        return self._sets.get(pod.owner) or pod.owner

    def _check_node(self, pod: Pod) -> None:
        self.checks += 1
        allocatable, used = self._allocatable.get(pod.node), self._nodes[pod.node]
        if allocatable is None:
            return
        if used.pods * 1000 > allocatable.get("pods", 0):
            self.tell(f"node {pod.node} has {used.pods} pods, {allocatable.get('pods', 0) // 1000} allowed ({pod.key})")
        for name in ("cpu", "memory"):
            if used.amounts[name] > allocatable.get(name, 0):
                self.tell(f"node {pod.node}: {name} {used.amounts[name]}m of {allocatable.get(name, 0)}m ({pod.key})")

    def _check_namespace(self, pod: Pod) -> None:
        used = self._namespaces[pod.namespace]
        for key, hard in self._quotas[pod.namespace].items():
            self.checks += 1
            for name, limit in hard.items():
                found = used.pods * 1000 if name == "pods" else used.amounts.get(name.removeprefix("requests."), 0)
                if name not in ("pods", "requests.cpu", "requests.memory") or found <= limit:
                    continue
                overdue = self._overdue(pod, name)  # which looks at every pod
                if found > limit + overdue:
                    late = f", {overdue}m of it should have gone" if overdue else ""
                    self.tell(f"quota {key}: {name} is {found}m of {limit}m{late} ({pod.key})")

    def _overdue(self, new: Pod, name: str) -> int:
        """What those hold that should have gone before this pod was made."""
        now = parse_rfc3339(new.created) + 1.0 if new.created else 0.0  # stamps are cut to seconds
        overdue = [p for p in self._pods.values() if p.namespace == new.namespace and p.lives and p.gone_at < now]
        if name == "pods":
            return len(overdue) * 1000
        return sum(p.requests.get(name.removeprefix("requests."), 0) for p in overdue)

    def _check_job(self, pod: Pod) -> None:
        known = self._jobs.get(pod.owner)
        if known is None:
            return
        self.checks += 1
        working = self._groups[pod.owner].living
        if working > known[1]:
            self.tell(f"Job {known[0]} has {working} pods at work, {known[1]} allowed")

    # Deployments

    def _follow_deployment(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        uid = self._group(pod)
        deployment = self._deployments.get(uid)
        if deployment is None:
            return
        pods = self._groups[uid]
        if old is None:
            self.checks += 1
            living = pods.living
            if living > deployment.ceiling:
                self.tell(f"Deployment {deployment.name} has {living} pods, {deployment.ceiling} allowed")
        elif old.ready and not old.leaving and (new is None or not new.ready or new.leaving):
            self._lost(deployment, old, new, pods.ready)
        self._relax(uid)

    def _lost(self, deployment: Deployment, old: Pod, new: Pod | None, ready: int) -> None:
        """A ready pod is not there any more: who took it?"""
        taken = new is not None and new.leaving and not new.evicted and not old.evicted
        if not taken or old.uid in self._by_hand or old.namespace in self._ending:
            deployment.floor = 0  # hurt by others
            return
        self.checks += 1
        if ready < deployment.floor:
            self.tell(f"Deployment {deployment.name} took {old.key}: {ready} ready are left of {deployment.floor}")

    def _relax(self, uid: str) -> None:
        """Once there are no more pods than what is asked for now, it is the bound."""
        deployment = self._deployments.get(uid)
        if deployment is None:
            return
        pods = self._groups[uid]
        wanted = deployment.replicas + deployment.surge
        if deployment.ceiling > wanted and not self._unaware[uid]:
            asked = sum(self._asked[uid].values())
            if asked <= wanted and pods.living <= wanted:
                deployment.ceiling = wanted

    def _ready(self, uid: str) -> int:
        return self._groups[uid].ready


def _gone_at(metadata: Json) -> float:
    """Its grace is given once more, as upstream's quotas give it."""
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return parse_rfc3339(deleted) + grace if deleted and grace is not None else math.inf


def _controller(metadata: Json) -> str:
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""
