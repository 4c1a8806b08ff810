"""What a request takes of a device's capacity (KEP-5075). Pure; amounts are in billionths.

A capacity's policy rounds a request up (to the range's next step, or the next valid value) or says what is taken when
nothing is asked for; without a policy the whole is. A request for what the device does not have excludes the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import quantity

Object = dict[str, Any]
Amounts = dict[str, int]


def consumed(requested: Mapping[str, Any], driver: str, device: Object) -> Amounts | None:
    """What each of the device's capacities would give for a request; None when the device cannot serve it."""
    capacities: dict[str, Object] = device.get("capacity") or {}
    asked: dict[str, int] = {}
    for name, amount in requested.items():
        found = _resolved(name, driver, capacities)
        if found is None or found in asked:
            return None
        asked[found] = _nanos(amount)
    taken: Amounts = {}
    for name, capacity in capacities.items():
        amount = _rounded(asked.get(name), capacity)
        if amount is None or amount < 0:
            return None
        taken[name] = amount
    return taken


def room(taken: Amounts, already: Mapping[str, int], device: Object) -> bool:
    """Whether that much is left beside what others have taken."""
    capacities: dict[str, Object] = device.get("capacity") or {}
    return all(already.get(name, 0) + amount <= _nanos(capacities[name]["value"]) for name, amount in taken.items())


def written(taken: Amounts, device: Object) -> dict[str, str]:
    """As the claim's status says it, in the format of the device's own amounts."""
    capacities: dict[str, Object] = device.get("capacity") or {}
    return {n: str(quantity.Quantity(a, quantity.parse(capacities[n]["value"]).format)) for n, a in taken.items()}


def _nanos(amount: Any) -> int:
    return quantity.parse(amount).nanos


def _resolved(name: str, driver: str, capacities: Mapping[str, Object]) -> str | None:
    """The capacity that a name means: names without a domain are in the driver's, on either side."""
    if name in capacities:
        return name
    domain, slash, own = name.partition("/")
    other = (own if domain == driver else None) if slash else f"{driver}/{name}"
    return other if other is not None and other in capacities else None


def _rounded(asked: int | None, capacity: Object) -> int | None:
    """What is taken; None when the policy has no such amount."""
    policy = capacity.get("requestPolicy") or {}
    if asked is None:
        return _nanos(policy.get("default", capacity["value"]))
    if limits := policy.get("validRange"):
        least = _nanos(limits.get("min", 0))
        amount = max(asked, least)
        if step := _nanos(limits.get("step", 0)):
            amount = least + -(-(amount - least) // step) * step
        return amount if "max" not in limits or amount <= _nanos(limits["max"]) else None
    if values := policy.get("validValues"):
        return min((v for v in map(_nanos, values) if v >= asked), default=None)
    return asked
