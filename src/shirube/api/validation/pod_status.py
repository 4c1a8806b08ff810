"""Validation of a pod's status as node agents and controllers write it.

Follows core's ``ValidatePodStatusUpdate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, forbidden, invalid

Obj = Mapping[str, Any]


def _terminated(state: Obj | None) -> Obj | None:
    return (state or {}).get("terminated")


def _validate_transitions(
    causes: list[Cause], new: list[Obj], old: list[Obj], path: str, may_restart: Mapping[str, bool]
) -> None:
    before = {s.get("name"): s for s in old}
    for i, status in enumerate(new):
        was = before.get(status.get("name"))
        if was is None or _terminated(was.get("state")) is None:
            continue
        if may_restart.get(status.get("name", ""), True) or _terminated(status.get("state")) is not None:
            continue
        at = f"{path}[{i}].state"
        causes.append(forbidden(at, "may not be transitioned to non-terminated state"))


def validate_status(pod: Obj, old: Obj) -> list[Cause]:
    """Addresses are addresses, and what ended for good does not run again."""
    causes: list[Cause] = []
    status, old_status, spec = pod.get("status") or {}, old.get("status") or {}, pod.get("spec") or {}
    nominated = status.get("nominatedNodeName")
    if nominated:
        for message in names.is_dns1123_subdomain(nominated):
            causes.append(invalid("status.nominatedNodeName", nominated, message))
    policy = spec.get("restartPolicy", "Always")
    restarts = {
        c.get("name", ""): (c.get("restartPolicy") or policy) == "Always"
        or bool(c.get("restartPolicyRules"))
        or (c.get("restartPolicy") or policy) == "OnFailure"
        for c in spec.get("containers") or ()
    }
    _validate_transitions(
        causes,
        status.get("containerStatuses") or [],
        old_status.get("containerStatuses") or [],
        "status.containerStatuses",
        restarts,
    )
    for i, entry in enumerate(status.get("podIPs") or ()):
        address = entry.get("ip", "")
        for message in names.is_ip(address):
            causes.append(invalid(f"status.podIPs[{i}]", address, message))
    for i, condition in enumerate(status.get("conditions") or ()):
        generation = condition.get("observedGeneration", 0)
        if generation < 0:
            at = f"status.conditions[{i}].observedGeneration"
            causes.append(invalid(at, generation, "must be greater than or equal to 0"))
    return causes
