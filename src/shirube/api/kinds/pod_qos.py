"""Quality of service: which class a pod is in by its requests and limits.

Guaranteed: every container limits cpu and memory and requests just that. BestEffort: nobody asks for
anything. Burstable: the rest. Follows core's ``qos.ComputePodQOS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api.validation.resource_requirements import parse_any

Obj = Mapping[str, Any]

_COUNTED = ("cpu", "memory")
_CONTAINERS = ("containers", "initContainers")


def _positive(values: Mapping[str, Any] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    if not values:
        return found
    for name in _COUNTED:
        value = values.get(name)
        amount = parse_any(value) if value is not None else None
        if amount is not None and amount.nanos > 0:
            found[name] = amount.nanos
    return found


def _guaranteed(requests: Mapping[str, int], limits: Mapping[str, int]) -> bool:
    return len(limits) == len(_COUNTED) and all(requests.get(n, limits[n]) == limits[n] for n in _COUNTED)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, of a defaulted spec."""
    if resources := spec.get("resources"):
        asked = [resources]
    else:
        asked = [c.get("resources") or {} for field in _CONTAINERS for c in spec.get(field) or ()]
    amounts = [(_positive(r.get("requests")), _positive(r.get("limits"))) for r in asked]
    if not any(requests or limits for requests, limits in amounts):
        return "BestEffort"
    return "Guaranteed" if all(_guaranteed(*of_one) for of_one in amounts) else "Burstable"
