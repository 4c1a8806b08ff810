"""The informers: what the API says becomes columns, tables and events for the queue.

Each collection is a row of `_TABLES`: what is kept of its objects, where, and which event its changes are. Pods and
nodes have handlers of their own. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shirube.api import gvr
from shirube.api.gvr import GVR
from shirube.client.informer import Informer, InformerFactory, key_of
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.devices.inventory import Inventory
from shirube.scheduler.hints import CLAIM, DEVICES, NAMESPACE, NODE, NODE_REMOVED, STORAGE, Event
from shirube.scheduler.pod import project
from shirube.scheduler.surroundings import Surroundings

Object = dict[str, Any]
Tell = Callable[[Event], None]


class _Table(NamedTuple):
    collection: GVR
    parts: tuple[str, ...]  # what is kept besides metadata
    name: str  # the table in `Surroundings`
    event: str  # "" when no pod waits for it


_TABLES = (
    _Table(gvr.PERSISTENTVOLUMECLAIMS, ("spec", "status"), "claims", STORAGE),
    _Table(gvr.PERSISTENTVOLUMES, ("spec", "status"), "volumes", STORAGE),
    _Table(gvr.STORAGECLASSES, ("provisioner", "volumeBindingMode", "allowedTopologies"), "classes", STORAGE),
    _Table(gvr.CSINODES, ("spec",), "csi_nodes", STORAGE),
    _Table(gvr.CSIDRIVERS, ("spec",), "csi_drivers", STORAGE),
    _Table(
        gvr.CSISTORAGECAPACITIES,
        ("storageClassName", "nodeTopology", "capacity", "maximumVolumeSize"),
        "capacities",
        STORAGE,
    ),
    _Table(gvr.PODDISRUPTIONBUDGETS, ("spec", "status"), "budgets", ""),
)
_OWNERS = (
    ("ReplicaSet", gvr.REPLICASETS),
    ("StatefulSet", gvr.STATEFULSETS),
    ("ReplicationController", gvr.REPLICATIONCONTROLLERS),
)
_METADATA = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")


def follow(factory: InformerFactory, nodes: NodeColumns, tell: Tell) -> tuple[Informer, list[Informer]]:
    """Fill the columns and tables from now on; the pods' informer, without handlers yet, and all the others."""
    others = [_follow_nodes(factory, nodes, tell), _follow_namespaces(factory, nodes, tell)]
    others += [_follow_table(factory, table, nodes.around, tell) for table in _TABLES]
    others += _follow_devices(factory, nodes.around.devices, tell)
    services = factory.informer(gvr.SERVICES, projection=_part("spec", "selector"))
    services.add_handler(
        nodes.around.set_service, lambda _, new: nodes.around.set_service(new), nodes.around.remove_service
    )
    others.append(services)
    others += [_follow_owner(factory, kind, collection, nodes.around) for kind, collection in _OWNERS]
    return factory.informer(gvr.PODS, projection=project), others


def _follow_nodes(factory: InformerFactory, nodes: NodeColumns, tell: Tell) -> Informer:
    informer = factory.informer(gvr.NODES, projection=_slim_node)

    def seen(node: Object) -> None:
        nodes.set_node(node)
        at = nodes.index(node["metadata"]["name"])
        if at is not None:
            tell(Event(NODE, at))

    def changed(old: Object, new: Object) -> None:
        if (
            old["spec"] != new["spec"]
            or old["status"] != new["status"]
            or (old["metadata"].get("labels") != new["metadata"].get("labels"))
        ):
            seen(new)

    def gone(node: Object) -> None:
        nodes.remove_node(node["metadata"]["name"])
        tell(Event(NODE_REMOVED, labels=node["metadata"].get("labels") or {}))

    informer.add_handler(seen, changed, gone)
    return informer


def _follow_namespaces(factory: InformerFactory, nodes: NodeColumns, tell: Tell) -> Informer:
    informer = factory.informer(gvr.NAMESPACES, projection=_part("metadata", "labels"))

    def seen(namespace: Object) -> None:
        name, labels = namespace["metadata"]["name"], namespace["metadata"].get("labels") or {}
        known = nodes.around.namespaces.get(name)
        nodes.around.namespaces[name] = labels
        if known != labels:
            nodes.counts.forget()
            tell(Event(NAMESPACE))

    def gone(namespace: Object) -> None:
        nodes.around.namespaces.pop(namespace["metadata"]["name"], None)

    informer.add_handler(seen, lambda _, new: seen(new), gone)
    return informer


def _follow_table(factory: InformerFactory, table: _Table, around: Surroundings, tell: Tell) -> Informer:
    kept: dict[str, Object] = getattr(around, table.name)

    def slim(obj: Object) -> Object:
        metadata = {k: obj["metadata"][k] for k in (*_METADATA, "annotations", "labels") if k in obj["metadata"]}
        return {"metadata": metadata, **{k: obj[k] for k in table.parts if k in obj}}

    def seen(obj: Object) -> None:
        kept[key_of(obj)] = obj
        told(obj)

    def gone(obj: Object) -> None:
        kept.pop(key_of(obj), None)
        told(obj)

    def told(obj: Object) -> None:
        around.version += 1
        if table.event:
            tell(Event(table.event, key=key_of(obj), table=table.name))

    informer = factory.informer(table.collection, projection=slim)
    informer.add_handler(seen, lambda _, new: seen(new), gone)
    return informer


def _follow_devices(factory: InformerFactory, devices: Inventory, tell: Tell) -> list[Informer]:
    slices, classes, claims = (factory.informer(c) for c in (gvr.RESOURCESLICES, gvr.DEVICECLASSES, gvr.RESOURCECLAIMS))

    def slice_seen(obj: Object) -> None:
        devices.set_slice(obj)
        tell(Event(DEVICES))

    def class_seen(obj: Object) -> None:
        devices.set_class(obj)
        tell(Event(DEVICES))

    def claim_seen(claim: Object) -> None:
        freed = devices.set_claim(claim)
        tell(Event(CLAIM, key=key_of(claim), freed=freed))

    def claim_gone(claim: Object) -> None:
        freed = devices.remove_claim(claim)
        tell(Event(CLAIM, key=key_of(claim), freed=freed))

    slices.add_handler(slice_seen, lambda _, new: slice_seen(new), devices.remove_slice)
    classes.add_handler(class_seen, lambda _, new: class_seen(new), devices.remove_class)
    claims.add_handler(claim_seen, lambda _, new: claim_seen(new), claim_gone)
    return [slices, classes, claims]


def _follow_owner(factory: InformerFactory, kind: str, collection: GVR, around: Surroundings) -> Informer:
    informer = factory.informer(collection, projection=_part("spec", "selector"))

    def seen(owner: Object) -> None:
        around.set_owner(kind, owner)

    def changed(old: Object, new: Object) -> None:
        if old["spec"] != new["spec"]:
            seen(new)

    informer.add_handler(seen, changed, lambda owner: around.remove_owner(kind, owner))
    return informer


def _part(part: str, field: str) -> Callable[[Object], Object]:
    """Keep one field of one part, and what names the object."""

    def slim(obj: Object) -> Object:
        kept: Object = {"metadata": {k: obj["metadata"][k] for k in _METADATA if k in obj["metadata"]}}
        value = (obj.get(part) or {}).get(field)
        kept.setdefault(part, {}).update({} if value is None else {field: value})
        return kept

    return slim


def _slim_node(node: Object) -> Object:
    status, spec = node.get("status") or {}, node.get("spec") or {}
    return {
        "metadata": {k: node["metadata"].get(k) for k in ("name", "uid", "resourceVersion", "labels")},
        "spec": {k: spec[k] for k in ("taints", "unschedulable") if k in spec},
        "status": {"allocatable": status.get("allocatable") or {}, "images": status.get("images") or []},
    }
