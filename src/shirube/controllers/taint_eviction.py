"""Pods leave nodes with NoExecute taints that they do not tolerate, or tolerate for some seconds only.

A pod leaves at the earliest moment that one of the node's NoExecute taints says: at once when it does not tolerate
it, else so many seconds after both the taint (`timeAdded`) and the pod were on the node. That is computed anew from
the objects each time, so that a restart neither forgets nor prolongs.
"""

from __future__ import annotations

from collections.abc import Iterable

from shirube.api.gvr import NODES, PODS
from shirube.client.controller import Controller
from shirube.client.events import NORMAL
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.pod_eviction import evict
from shirube.controllers.pods import condition
from shirube.foundation.clock import parse_rfc3339

_ACCOUNT = "node-controller"


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    if not toleration.get("key"):
        return False
    return (toleration.get("value") or "") == (taint.get("value") or "")


def deadline(taints: Iterable[Object], tolerations: list[Object], seen_at: float) -> float | None:
    """When a pod has to leave (seconds since the epoch); None for never. `seen_at` dates taints without a
    date."""
    earliest: float | None = None
    for taint in taints:
        if taint["effect"] != "NoExecute":
            continue
        since = parse_rfc3339(taint["timeAdded"]) if taint.get("timeAdded") else seen_at
        matching = [t for t in tolerations if tolerates(t, taint)]
        if not matching:
            leave = since
        else:
            limits = [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
            if not limits:
                continue
            leave = since + max(min(limits), 0)
        earliest = leave if earliest is None else min(earliest, leave)
    return earliest


def leaves_at(taints: Iterable[Object], pod: Object, seen_at: float) -> float | None:
    """When a pod has to leave its node; None for never. Of the tolerations that match a taint the first one counts."""
    earliest: float | None = None
    tolerations = pod["spec"].get("tolerations") or ()
    for taint in taints:
        leave = parse_rfc3339(taint["timeAdded"]) if taint.get("timeAdded") else seen_at
        first = next((t for t in tolerations if tolerates(t, taint)), None)
        if first is not None:
            if first.get("tolerationSeconds") is None:
                continue
            leave = max(leave, _assigned_at(pod)) + max(first["tolerationSeconds"], 0)
        earliest = leave if earliest is None else min(earliest, leave)
    return earliest


def _assigned_at(pod: Object) -> float:
    """When the pod came to its node."""
    scheduled = condition(pod, "PodScheduled")
    stamp = (scheduled or {}).get("lastTransitionTime") or pod["metadata"].get("creationTimestamp")
    return parse_rfc3339(stamp) if stamp else 0.0


def _no_execute(node: Object) -> list[Object]:
    return [t for t in (node.get("spec") or {}).get("taints") or () if t["effect"] == "NoExecute"]


class TaintEvictionController(Controller[str]):
    name = "taint-eviction-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        self._nodes = context.informer(NODES)
        self._pods = context.informer(PODS)
        super().__init__(self._nodes, self._pods)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._seen_at: dict[tuple[str, str], float] = {}  # (node, taint key) without a date of its own
        self._leaving: set[str] = set()  # keys of pods that have to leave later
        self._pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self._nodes.add_handler(self._node_added, self._node_updated, lambda node: self._forget(key_of(node), []))
        self._pods.add_handler(self._pod_added, self._pod_updated)

    def _wake_pods_of(self, node: Object) -> None:
        for pod in self._pods.store.by_index("node", key_of(node)):
            self.queue.add(key_of(pod))

    def _node_added(self, node: Object) -> None:
        if _no_execute(node):
            self._wake_pods_of(node)

    def _node_updated(self, old: Object, new: Object) -> None:
        if _no_execute(old) != _no_execute(new):
            self._forget(key_of(new), _no_execute(new))
            self._wake_pods_of(new)

    def _forget(self, node: str, taints: list[Object]) -> None:
        """A taint that is gone begins anew when it comes again, whether pods were there to see it go or not."""
        kept = {(node, taint["key"]) for taint in taints}
        self._seen_at = {k: v for k, v in self._seen_at.items() if k[0] != node or k in kept}

    def _pod_added(self, pod: Object) -> None:
        node = self._nodes.store.get(None, pod["spec"].get("nodeName") or "")
        if node is not None and _no_execute(node):
            self.queue.add(key_of(pod))

    def _pod_updated(self, old: Object, new: Object) -> None:
        if old["spec"].get("nodeName") != new["spec"].get("nodeName") or old["spec"].get("tolerations") != new[
            "spec"
        ].get("tolerations"):
            self._pod_added(new)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.store.get(*split_key(key))
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            self._leaving.discard(key)
            return None
        name, now = pod["spec"].get("nodeName") or "", self._clock.now()
        node = self._nodes.store.get(None, name)
        taints = _no_execute(node) if node is not None else []
        seen = min((self._seen_at.setdefault((name, t["key"]), now) for t in taints), default=now)
        leave = leaves_at(taints, pod, seen)
        if leave is None:
            if key in self._leaving:
                self._leaving.discard(key)
                self._recorder.event(pod, NORMAL, "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        if leave > now:
            self._leaving.add(key)
            return leave - now
        self._leaving.discard(key)
        await self._evict(pod)
        return None

    async def _evict(self, pod: Object) -> None:
        self._recorder.event(pod, NORMAL, "TaintManagerEviction", f"Marking for deletion Pod {key_of(pod)}")
        why = "Taint manager: deleting due to NoExecute taint"
        await evict(self._client, pod, "DeletionByTaintManager", why, self._clock.now())
