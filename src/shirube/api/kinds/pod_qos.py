"""Quality of service: which class a pod is in by its requests and limits.

Guaranteed: every container limits cpu and memory and requests just that. BestEffort: nobody asks for
anything. Burstable: the rest. Follows core's ``qos.ComputePodQOS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shirube.api.validation.resource_requirements import parse

Obj = Mapping[str, Any]

_COUNTED = ("cpu", "memory")
_CONTAINERS = ("containers", "initContainers")


@lru_cache(maxsize=8192)
def _nanos(amount: str) -> int:
    """What is asked for; 0 for what is no quantity."""
    parsed = parse(amount)
    return max(0, parsed.nanos) if parsed is not None else 0


def _positive(values: Mapping[str, Any] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    if values:
        for name in _COUNTED:
            if (value := values.get(name)) is not None and (nanos := _nanos(str(value))):
                found[name] = nanos
    return found


def _guaranteed(requests: Mapping[str, int], limits: Mapping[str, int]) -> bool:
    return len(limits) == len(_COUNTED) and {**limits, **requests} == limits


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, of a defaulted spec."""
    if resources := spec.get("resources"):
        asked = [resources]
    else:
        asked = [c.get("resources") or {} for field in _CONTAINERS for c in spec.get(field) or ()]
    guaranteed, best_effort = True, True
    for resources in asked:
        requests, limits = _positive(resources.get("requests")), _positive(resources.get("limits"))
        best_effort = best_effort and not requests and not limits
        guaranteed = guaranteed and _guaranteed(requests, limits)
    if best_effort:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
