"""Whether a device is what a request asks for: CEL selectors, tolerated taints, and constraints between devices.

A selector sees `device.driver`, `device.attributes["domain"].name`, `device.capacity["domain"].name` and
`device.allowMultipleAllocations`; names without a domain are in the driver's. A domain that a device does not have is
empty, as upstream has it, so that `"name" in device.attributes["domain"]` can be asked of any device.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from shirube.api.cel import CelError, compiled

Object = dict[str, Any]
_DOMAINS = re.compile(r"""device\s*\.\s*(attributes|capacity)\s*\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\]""")
_KINDS = ("string", "int", "bool", "version")


class AllocationError(Exception):
    """Something is wrong with a claim, a class or a pool: no node would do. The message is for the pod's event."""


def selected(expression: str, driver: str, device: Object, of: str) -> bool:
    """Whether a CEL selector matches; `of` names where it stands. Raises AllocationError."""
    try:
        program = compiled(expression)
    except CelError as error:
        raise AllocationError(f"{of}: CEL compile error: {error}") from error
    seen = variables(driver, device)
    for kind, double, single in _DOMAINS.findall(expression):
        seen[kind].setdefault(double or single, {})
    try:
        answer = program.evaluate({"device": seen})
    except (CelError, ValueError) as error:
        raise AllocationError(f"{of} on device {driver}/{device['name']}: CEL runtime error: {error}") from error
    if not isinstance(answer, bool):
        raise AllocationError(f"{of}: must evaluate to bool, not {type(answer).__name__}")
    return answer


def variables(driver: str, device: Object) -> Object:
    from shirube.api.cel.library import quantity  # the engine: only where there are devices

    attributes: dict[str, Object] = {}
    for name, value in (device.get("attributes") or {}).items():
        domain, own = _qualified(name, driver)
        attributes.setdefault(domain, {})[own] = _value(value)
    capacity: dict[str, Object] = {}
    for name, amount in (device.get("capacity") or {}).items():
        domain, own = _qualified(name, driver)
        capacity.setdefault(domain, {})[own] = quantity(str(amount["value"]))
    return {
        "driver": driver,
        "attributes": attributes,
        "capacity": capacity,
        "allowMultipleAllocations": bool(device.get("allowMultipleAllocations")),
    }


def _qualified(name: str, driver: str) -> tuple[str, str]:
    domain, slash, own = name.partition("/")
    return (domain, own) if slash else (driver, name)


def _value(attribute: Object) -> Any:
    if "version" in attribute:
        from shirube.api.cel.library import semver

        return semver(attribute["version"])
    return next((value for value in attribute.values() if value is not None), None)


# Taints (KEP-5055)


def bearable(device: Object, tolerations: list[Object]) -> bool:
    """Whether every taint of the device that keeps claims away is tolerated."""
    return all(
        any(tolerates(t, taint) for t in tolerations)
        for taint in device.get("taints") or ()
        if taint.get("effect") in ("NoSchedule", "NoExecute")
    )


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")


# Constraints


class Chosen(NamedTuple):
    """A device as constraints look at it."""

    request: str
    subrequest: str  # "" when the request has none
    driver: str
    device: Object


def satisfied(constraints: list[Object], chosen: list[Chosen], claim: str) -> bool:
    """Whether the devices chosen so far for a claim may stay together."""
    for number, constraint in enumerate(constraints):
        match, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
        name = match or distinct
        if not name:
            raise AllocationError(
                f"claim {claim}, constraint #{number}: empty constraint (unsupported constraint type?)"
            )
        concerned = set(constraint.get("requests") or ())
        values = [
            _attribute(one, name)
            for one in chosen
            if not concerned or one.request in concerned or f"{one.request}/{one.subrequest}" in concerned
        ]
        if None in values:
            return False
        if (len(set(values)) > 1) if match else (len(set(values)) < len(values)):
            return False
    return True


def _attribute(one: Chosen, name: str) -> tuple[str, Any] | None:
    """(kind, value), so that 1 and "1" and true differ; None where the device has no such attribute."""
    attributes = one.device.get("attributes") or {}
    domain, _, own = name.partition("/")
    value = attributes.get(name)
    if value is None and domain == one.driver:
        value = attributes.get(own)
    return next(((kind, value[kind]) for kind in _KINDS if value.get(kind) is not None), None) if value else None
