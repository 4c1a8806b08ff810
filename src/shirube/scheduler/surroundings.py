"""What the scheduler knows beyond nodes and pods: namespaces, storage, owners' selectors, disruption budgets, devices.

Plain tables that the informers fill; `version` changes with each of them, so that plugins know when to look anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shirube.api.selectors import LabelSelector
from shirube.client.informer import key_of
from shirube.scheduler.devices.inventory import Inventory
from shirube.scheduler.matching import selector_of, selector_of_service

Object = dict[str, Any]
SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(slots=True)
class Surroundings:
    """Objects by name, or by "namespace/name". Read-only to the plugins."""

    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    claims: dict[str, Object] = field(default_factory=dict)
    volumes: dict[str, Object] = field(default_factory=dict)
    classes: dict[str, Object] = field(default_factory=dict)
    csi_nodes: dict[str, Object] = field(default_factory=dict)
    csi_drivers: dict[str, Object] = field(default_factory=dict)
    capacities: dict[str, Object] = field(default_factory=dict)
    budgets: dict[str, Object] = field(default_factory=dict)
    devices: Inventory = field(default_factory=Inventory)
    services: dict[str, dict[str, LabelSelector]] = field(default_factory=dict)  # namespace -> name -> selector
    owners: dict[tuple[str, str, str], LabelSelector] = field(default_factory=dict)  # (kind, namespace, name)
    chosen_volumes: dict[str, str] = field(default_factory=dict)  # volume -> claim, while the binding is on its way
    chosen_nodes: dict[str, str] = field(default_factory=dict)  # claim -> node that a volume is to be made on
    version: int = 0
    selectors_version: int = 0

    def storage_node(self, claim: Object) -> str:
        """Where a volume is being made for a claim; "" when nobody has asked for one."""
        marked = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        return marked or self.chosen_nodes.get(key_of(claim), "")

    def volume_taken(self, volume: str, claim: str) -> bool:
        """Whether a volume is about to be another claim's."""
        return self.chosen_volumes.get(volume, claim) != claim

    def set_service(self, service: Object) -> None:
        metadata, selector = service["metadata"], (service.get("spec") or {}).get("selector")
        known = self.services.setdefault(metadata["namespace"], {})
        known.pop(metadata["name"], None)
        if selector:
            known[metadata["name"]] = selector_of_service(selector)
        self.selectors_version += 1

    def remove_service(self, service: Object) -> None:
        self.services.get(service["metadata"]["namespace"], {}).pop(service["metadata"]["name"], None)
        self.selectors_version += 1

    def set_owner(self, kind: str, owner: Object) -> None:
        selector = (owner.get("spec") or {}).get("selector")
        key = (kind, owner["metadata"]["namespace"], owner["metadata"]["name"])
        if not selector:
            self.owners.pop(key, None)
        elif kind == "ReplicationController":
            self.owners[key] = selector_of_service(selector)
        else:
            self.owners[key] = selector_of(selector)
        self.selectors_version += 1

    def remove_owner(self, kind: str, owner: Object) -> None:
        self.owners.pop((kind, owner["metadata"]["namespace"], owner["metadata"]["name"]), None)
        self.selectors_version += 1
