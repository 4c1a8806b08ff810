"""Node lifecycle: nodes that have fallen silent, and taints that say what is wrong with a node.

A node lives while its Lease (kube-node-lease) is renewed or its status heartbeats change. When neither has
changed for 40 s *by our own stopwatch* (60 s for a node that never spoke), its conditions become Unknown and
its pods not ready. Conditions become taints: NoSchedule for each, NoExecute for not-ready and unreachable;
`taint_eviction` acts on those, and `zone_disruption` says how fast they come. When no node at all is heard of, the
fault is more likely ours: no NoExecute taint is set then, and those there are taken off, as upstream does in a
full disruption.

Quiet when all is well: a renewal only moves a stopwatch; each node is looked at once per grace period.
"""

from __future__ import annotations

from dataclasses import dataclass

from shirube.api.errors import ApiError
from shirube.api.gvr import LEASES, NODES, PODS
from shirube.client.controller import Controller
from shirube.client.events import NORMAL
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers import zone_disruption as zones
from shirube.controllers.context import Context
from shirube.foundation.clock import rfc3339

_ACCOUNT = "node-controller"
_LEASE_NAMESPACE = "kube-node-lease"
STARTUP_GRACE_SECONDS = 60.0

UNREACHABLE, NOT_READY = "node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

# condition -> status -> taint
_TAINTS = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_NO_SCHEDULE = frozenset(t for by_status in _TAINTS.values() for t in by_status.values()) | {UNSCHEDULABLE}
_NO_EXECUTE = frozenset((UNREACHABLE, NOT_READY))
# label -> its former name, which pods and volumes may still choose nodes by
_LABELS = {"kubernetes.io/os": "beta.kubernetes.io/os", "kubernetes.io/arch": "beta.kubernetes.io/arch"}
_HEARTBEAT_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def ready_status(node: Object) -> str:
    found = of_pods.condition(node, "Ready")
    return str(found["status"]) if found is not None else "Unknown"


def silent_conditions(node: Object, now: float) -> list[Object]:
    """The node's conditions once it has fallen silent."""
    stamp = rfc3339(now)
    conditions = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or ()}
    for kind in _HEARTBEAT_CONDITIONS:
        known = conditions.get(kind)
        if known is None:
            conditions[kind] = {
                "type": kind,
                "status": "Unknown",
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
                "lastTransitionTime": stamp,
            }
        elif known["status"] != "Unknown":
            conditions[kind] = {
                **known,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": stamp,
            }
    return list(conditions.values())


def emptied(node: Object) -> bool:
    """Whether the node has a NoExecute taint of ours already: one may take the other's place at any time."""
    taints = node["spec"].get("taints") or ()
    return any(t["effect"] == "NoExecute" and t["key"] in _NO_EXECUTE for t in taints)


def wanted_taints(node: Object, now: float, *, disrupted: bool) -> list[Object]:
    """The node's taints, ours brought up to date and those of others left alone. `disrupted`: no NoExecute."""
    no_schedule: set[str] = set()
    for kind, by_status in _TAINTS.items():
        found = of_pods.condition(node, kind)
        if found is not None and (taint := by_status.get(found["status"])):
            no_schedule.add(taint)
    no_execute = no_schedule & _NO_EXECUTE if not disrupted else set()
    if node["spec"].get("unschedulable"):
        no_schedule.add(UNSCHEDULABLE)
    wanted = {(t, "NoSchedule") for t in no_schedule} | {(t, "NoExecute") for t in no_execute}
    ours = {(t, "NoSchedule") for t in _NO_SCHEDULE} | {(t, "NoExecute") for t in _NO_EXECUTE}
    old = list(node["spec"].get("taints") or ())
    if of_pods.condition(node, "Ready") is None:
        # Just registered, nothing said yet: what admission has put there stays.
        ours = {k for k in ours if k[0] not in _NO_EXECUTE}
    kept = [t for t in old if (k := (t["key"], t["effect"])) not in ours or k in wanted]
    have = {(t["key"], t["effect"]) for t in kept}
    stamp = rfc3339(now)
    return kept + [{"key": key, "effect": effect, "timeAdded": stamp} for key, effect in sorted(wanted - have)]


def wanted_labels(node: Object) -> dict[str, str]:
    """Labels under their former names that are not there or say something else than those of today."""
    labels = node["metadata"].get("labels") or {}
    return {old: labels[new] for new, old in _LABELS.items() if new in labels and labels.get(old) != labels[new]}


@dataclass(slots=True)
class _Heard:
    at: float  # by our stopwatch
    lease: str = ""
    heartbeat: str = ""


class NodeLifecycleController(Controller[str]):
    name = "node-lifecycle-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._nodes = context.informer(NODES)
        self._leases = context.informer(LEASES)
        self._pods = context.informer(PODS)
        super().__init__(self._nodes, self._leases, self._pods)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("node-controller", _ACCOUNT)
        self._clock = context.clock
        self._grace = context.node_monitor_grace
        self._heard: dict[str, _Heard] = {}
        self._pace = zones.Pace()
        self._marked: dict[str, int] = {}  # uid of a pod -> resourceVersion in which we have called it not ready
        self._pods.add_handler(on_delete=lambda pod: self._marked.pop(pod["metadata"]["uid"], None))
        self._pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self._nodes.add_handler(self._node_added, self._node_updated, self._node_deleted)
        self._leases.add_handler(self._renewed, lambda _, new: self._renewed(new))

    def _hear(self, name: str, *, lease: str = "", heartbeat: str = "") -> None:
        """Note a sign of life; the first sight of a node counts as one, as we may just have started."""
        heard = self._heard.get(name)
        if heard is None:
            self._heard[name] = _Heard(self._clock.monotonic(), lease, heartbeat)
            return
        if (lease and lease != heard.lease) or (heartbeat and heartbeat != heard.heartbeat):
            heard.at = self._clock.monotonic()
        heard.lease = lease or heard.lease
        heard.heartbeat = heartbeat or heard.heartbeat

    def _renewed(self, lease: Object) -> None:
        metadata = lease["metadata"]
        if metadata.get("namespace") == _LEASE_NAMESPACE:
            self._hear(metadata["name"], lease=str((lease.get("spec") or {}).get("renewTime") or ""))

    def _tell(self, node: Object, reason: str, message: str) -> None:
        name = key_of(node)
        about = {"kind": "Node", "name": name, "uid": node["metadata"]["uid"], "apiVersion": "v1"}
        self._recorder.event(about, NORMAL, reason, f"Node {name} {message}")

    def _node_added(self, node: Object) -> None:
        self._node_changed(node)
        if of_pods.created(node) + STARTUP_GRACE_SECONDS > self._clock.now():  # not those known before our own start
            self._tell(node, "RegisteredNode", f"event: Registered Node {key_of(node)} in Controller")

    def _node_changed(self, node: Object) -> None:
        found = of_pods.condition(node, "Ready") or {}
        self._hear(key_of(node), heartbeat=str(found.get("lastHeartbeatTime") or ""))
        self.queue.add(key_of(node))

    def _node_updated(self, old: Object, new: Object) -> None:
        self._node_changed(new)
        if ready_status(old) != ready_status(new):
            # The first or last node of a disruption changes what holds for all.
            for other in self._nodes.store:
                self.queue.add(key_of(other))

    def _node_deleted(self, node: Object) -> None:
        self._heard.pop(key_of(node), None)
        self._tell(node, "RemovingNode", f"event: Removing Node {key_of(node)} from Controller")

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.store.get(None, key)
        if node is None:
            return None
        heard = self._heard.setdefault(key, _Heard(self._clock.monotonic()))
        spoke = of_pods.condition(node, "Ready") is not None
        grace = self._grace if spoke else STARTUP_GRACE_SECONDS
        left = heard.at + grace - self._clock.monotonic()
        if left <= 0 and not (spoke and ready_status(node) == "Unknown"):
            node = await self._mark_silent(node)
        again = await self._taint(node)
        if labels := wanted_labels(node):
            await self._client.patch(NODES, key, {"metadata": {"uid": node["metadata"]["uid"], "labels": labels}})
        if ready_status(node) != "True":
            await self._mark_pods_not_ready(key)
        waits = [max(left, 1.0)] if left > 0 else []
        return min([*waits, again] if again is not None else waits, default=None)

    async def _mark_silent(self, node: Object) -> Object:
        self.log.warning("node has fallen silent", node=key_of(node))
        status = node.get("status") or {}
        conditions = silent_conditions(node, self._clock.now())
        if ready_status(node) == "True":
            self._tell(node, "NodeNotReady", "status is now: NodeNotReady")
        return await self._client.update_status(NODES, {**node, "status": {**status, "conditions": conditions}})

    def _disrupted(self) -> bool:
        return all(ready_status(node) != "True" for node in self._nodes.store)

    async def _taint(self, node: Object) -> float | None:
        """Bring the taints up to date. Seconds after which the zone may lose its next node, when it has to wait."""
        again, zone, now = None, zones.zone_of(node), self._clock.monotonic()
        held_back = self._disrupted()
        if not held_back and not emptied(node) and ready_status(node) != "True":
            peers = [ready_status(n) == "True" for n in self._nodes.store if zones.zone_of(n) == zone]
            wait = self._pace.wait(zone, zones.rate(zones.state(peers), len(peers)), now)
            held_back = wait != 0.0
            again = 10.0 if wait is None else wait or None  # a zone that may lose none is looked at again
        taints = wanted_taints(node, self._clock.now(), disrupted=held_back)
        if taints == list(node["spec"].get("taints") or ()):
            return again
        metadata = node["metadata"]
        patch = {
            "metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]},
            "spec": {"taints": taints or None},
        }
        stored = await self._client.patch(NODES, metadata["name"], patch)
        if emptied(stored) and not emptied(node):
            self._pace.taken(zone, now)
        return again

    async def _mark_pods_not_ready(self, node_name: str) -> None:
        stamp = rfc3339(self._clock.now())
        for pod in self._pods.store.by_index("node", node_name):
            metadata = pod["metadata"]
            if not of_pods.ready(pod):
                self._marked.pop(metadata["uid"], None)
                continue
            if int(metadata["resourceVersion"]) < self._marked.get(metadata["uid"], 0):
                continue  # done and told; the cache does not show it yet
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": stamp}
            try:
                stored = await self._client.patch(
                    PODS,
                    metadata["name"],
                    {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [condition]}},
                    metadata["namespace"],
                    type="strategic",
                    subresource="status",
                )
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
                continue
            self._marked[metadata["uid"]] = int(stored["metadata"]["resourceVersion"])
            self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
