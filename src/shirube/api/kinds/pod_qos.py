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


def _positive(values: Mapping[str, Any] | None) -> dict[str, int]:
    found = {}
    for name in _COUNTED:
        value = (values or {}).get(name)
        amount = parse_any(value) if value is not None else None
        if amount is not None and amount.nanos > 0:
            found[name] = amount.nanos
    return found


def _guaranteed(resources: Obj) -> bool:
    limits, requests = _positive(resources.get("limits")), _positive(resources.get("requests"))
    return len(limits) == len(_COUNTED) and all(requests.get(n, limits[n]) == limits[n] for n in _COUNTED)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, of a defaulted spec."""
    if resources := spec.get("resources"):
        asked = [resources]
    else:
        asked = [c.get("resources") or {} for c in spec.get("containers") or ()]
        asked += [c.get("resources") or {} for c in spec.get("initContainers") or ()]
    if not any(_positive(r.get("requests")) or _positive(r.get("limits")) for r in asked):
        return "BestEffort"
    return "Guaranteed" if all(_guaranteed(r) for r in asked) else "Burstable"
