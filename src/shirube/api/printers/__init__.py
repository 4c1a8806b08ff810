"""How ``kubectl get`` shows each kind: columns and cells, one module a family.

Resources without an entry get the default of upstream's generic store: the name and when it was created.
"""

from __future__ import annotations

from shirube.api.printers import cluster, extension, network, pods, policy, storage, workloads
from shirube.api.printers.column import NAME, Column, Obj, Printer
from shirube.api.printers.duration import age


def _created(obj: Obj, now: float) -> list[object]:
    metadata = obj.get("metadata") or {}
    return [metadata.get("name", ""), metadata.get("creationTimestamp", "")]


def _aged(obj: Obj, now: float) -> list[object]:
    return [(obj.get("metadata") or {}).get("name", ""), age(obj, now)]


# built-in kinds without columns of their own
DEFAULT = Printer((NAME, Column("Created At", "When the object was created.", "date")), _created)
# custom resources whose definition asks for no columns
CUSTOM = Printer((NAME, Column("Age", "When the object was created.", "date")), _aged)

# (group, plural) -> how it is printed
PRINTERS: dict[tuple[str, str], Printer] = {
    **pods.PRINTERS,
    **workloads.PRINTERS,
    **network.PRINTERS,
    **cluster.PRINTERS,
    **storage.PRINTERS,
    **policy.PRINTERS,
    **extension.PRINTERS,
}
