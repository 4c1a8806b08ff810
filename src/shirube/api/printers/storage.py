"""Rows of storage: volumes, claims, classes, drivers."""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import UNSET, access_modes_text
from shirube.api.printers.column import AGE, NAME, Column, Obj, Printer, integer, wide
from shirube.api.printers.duration import age

_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _phase(obj: Obj) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def _class_name(obj: Obj) -> str:
    old = (obj["metadata"].get("annotations") or {}).get(_OLD_CLASS)
    return old if old is not None else (obj.get("spec") or {}).get("storageClassName", "")


def _volume(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    claim = spec.get("claimRef")
    return [
        _name(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        access_modes_text(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class_name(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _claim(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bound = bool(spec.get("volumeName"))
    return [
        _name(obj),
        _phase(obj),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        access_modes_text(status.get("accessModes")) if bound else "",
        _class_name(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _storage_class(obj: Obj, now: float) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = any(annotations.get(a) == "true" for a in _DEFAULT_CLASS)
    return [
        f"{_name(obj)} (default)" if default else _name(obj),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _attributes_class(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), obj.get("driverName", ""), age(obj, now)]


def _attachment(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        _name(obj),
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        bool(status.get("attached")),
        age(obj, now),
    ]


def _driver(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        _name(obj),
        spec.get("attachRequired", True),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        ",".join(t.get("audience", "") for t in spec.get("tokenRequests") or ()) or UNSET,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or UNSET,
        age(obj, now),
    ]


def _csi_node(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), len((obj.get("spec") or {}).get("drivers") or ()), age(obj, now)]


_MODE = wide("VolumeMode", "Whether the volume is a file system or a block device.")
_CLASS = Column("StorageClass", "Name of the storage class.")
_ATTRIBUTES = Column("VolumeAttributesClass", "Name of the volume attributes class.")

PRINTERS = {
    ("", "persistentvolumeclaims"): Printer(
        (
            NAME,
            Column("Status", "Phase of the claim."),
            Column("Volume", "Volume that the claim is bound to."),
            Column("Capacity", "Size of the volume."),
            Column("Access Modes", "How the volume may be mounted."),
            _CLASS,
            _ATTRIBUTES,
            AGE,
            _MODE,
        ),
        _claim,
    ),
    ("", "persistentvolumes"): Printer(
        (
            NAME,
            Column("Capacity", "Size of the volume."),
            Column("Access Modes", "How the volume may be mounted."),
            Column("Reclaim Policy", "What happens when it is released."),
            Column("Status", "Phase of the volume."),
            Column("Claim", "Claim that the volume is bound to."),
            _CLASS,
            _ATTRIBUTES,
            Column("Reason", "Why the volume is in this phase."),
            AGE,
            _MODE,
        ),
        _volume,
    ),
    ("storage.k8s.io", "csidrivers"): Printer(
        (
            NAME,
            Column("AttachRequired", "Whether volumes are attached before they are mounted.", "boolean"),
            Column("PodInfoOnMount", "Whether the driver is told about the pod.", "boolean"),
            Column("StorageCapacity", "Whether the scheduler looks at capacities.", "boolean"),
            Column("TokenRequests", "Audiences of tokens that the driver gets."),
            Column("RequiresRepublish", "Whether volumes are published again and again.", "boolean"),
            Column("Modes", "Lifecycles that volumes may have."),
            AGE,
        ),
        _driver,
    ),
    ("storage.k8s.io", "csinodes"): Printer(
        (NAME, integer("Drivers", "How many drivers the node has."), AGE), _csi_node
    ),
    ("storage.k8s.io", "storageclasses"): Printer(
        (
            NAME,
            Column("Provisioner", "Who makes volumes of this class."),
            Column("ReclaimPolicy", "What happens when a volume is released."),
            Column("VolumeBindingMode", "When volumes are made."),
            Column("AllowVolumeExpansion", "Whether volumes can grow."),
            AGE,
        ),
        _storage_class,
    ),
    ("storage.k8s.io", "volumeattachments"): Printer(
        (
            NAME,
            Column("Attacher", "Driver that attaches the volume.", format="name"),
            Column("PV", "Volume to be attached."),
            Column("Node", "Node to attach it to."),
            Column("Attached", "Whether it is attached.", "boolean"),
            AGE,
        ),
        _attachment,
    ),
    ("storage.k8s.io", "volumeattributesclasses"): Printer(
        (NAME, Column("DriverName", "Driver that the class is for."), AGE), _attributes_class
    ),
}
