"""How fast an autoscaler may go: stabilisation windows and scaling policies. Pure.

An autoscaler without `behavior` goes by upstream's older rule, which is not quite what the defaults of `behavior` say:
up to the double, or four, at each look; never below the highest recommendation of the last five minutes.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from shirube.api import quantity
from shirube.client.rest import Object
from shirube.controllers.autoscaling_replicas import Tolerance, whole

DOWN_SECONDS = 300
_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN = {
    "stabilizationWindowSeconds": DOWN_SECONDS,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


class Recommendation(NamedTuple):
    replicas: int
    at: float


class Change(NamedTuple):
    """Replicas added (or taken) by us."""

    replicas: int
    at: float


class Limited(NamedTuple):
    replicas: int
    reason: str
    message: str
    limited: bool


def rules(autoscaler: Object, direction: str) -> Object:
    """`scaleUp` or `scaleDown`, with what is not said filled in."""
    given = (autoscaler["spec"].get("behavior") or {}).get(direction) or {}
    default = _UP if direction == "scaleUp" else _DOWN
    return {**default, **{k: v for k, v in given.items() if v is not None}}


def tolerance(autoscaler: Object) -> Tolerance:
    def one(direction: str) -> float:
        value = rules(autoscaler, direction).get("tolerance")
        return 0.1 if value is None else float(_number(value))

    return Tolerance(one("scaleDown"), one("scaleUp"))


def _number(value: Any) -> float:
    """As upstream makes a float of a quantity: its digits times a power of ten, `570m` is 570 * 0.001."""
    amount, exponent = quantity.parse(value).nanos, -9
    while exponent < 0 and amount % 1000 == 0:
        amount, exponent = amount // 1000, exponent + 3
    return float(float(amount) * 10.0**exponent)


def longest_window(autoscaler: Object) -> float:
    return float(max(rules(autoscaler, d)["stabilizationWindowSeconds"] for d in ("scaleUp", "scaleDown")))


def longest_period(autoscaler: Object, direction: str) -> float:
    return float(max((p["periodSeconds"] for p in rules(autoscaler, direction)["policies"]), default=0))


def stabilized(
    autoscaler: Object, desired: int, current: int, recent: Iterable[Recommendation], now: float
) -> tuple[int, str, str]:
    """(replicas, reason, message): not lower than anything recommended lately, nor higher."""
    if _plain(autoscaler):
        result = max([desired, *(one.replicas for one in recent if one.at > now - DOWN_SECONDS)])
        return _stabilized(result, desired)
    up_since = now - rules(autoscaler, "scaleUp")["stabilizationWindowSeconds"]
    down_since = now - rules(autoscaler, "scaleDown")["stabilizationWindowSeconds"]
    up = down = desired
    for one in recent:
        if one.at > up_since:
            up = min(up, one.replicas)
        if one.at > down_since:
            down = max(down, one.replicas)
    return _stabilized(min(max(current, up), down) if up <= down else current, desired)


def _stabilized(result: int, desired: int) -> tuple[int, str, str]:
    if result > desired:
        message = "recent recommendations were higher than current one, applying the highest recent recommendation"
        return result, "ScaleDownStabilized", message
    if result < desired:
        message = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return result, "ScaleUpStabilized", message
    return result, "ReadyForNewScale", "recommended size matches current size"


def _plain(autoscaler: Object) -> bool:
    return autoscaler["spec"].get("behavior") is None


def _at_start(current: int, added: Iterable[Change], taken: Iterable[Change], period: float, now: float) -> int:
    since = now - period
    return current - sum(c.replicas for c in added if c.at > since) + sum(c.replicas for c in taken if c.at > since)


def up_limit(autoscaler: Object, current: int, added: list[Change], taken: list[Change], now: float) -> int:
    if _plain(autoscaler):
        return max(2 * current, 4)
    rule = rules(autoscaler, "scaleUp")
    if rule["selectPolicy"] == "Disabled":
        return current
    proposals = []
    for policy in rule["policies"]:
        start = _at_start(current, added, taken, policy["periodSeconds"], now)
        grown = whole(start * (1 + policy["value"] / 100))
        proposals.append(start + policy["value"] if policy["type"] == "Pods" else grown)
    found: int = min(proposals) if rule["selectPolicy"] == "Min" else max(proposals)
    return max(found, current)


def down_limit(autoscaler: Object, current: int, added: list[Change], taken: list[Change], now: float) -> int:
    if _plain(autoscaler):
        return 0
    rule = rules(autoscaler, "scaleDown")
    if rule["selectPolicy"] == "Disabled":
        return current
    proposals = []
    for policy in rule["policies"]:
        start = _at_start(current, added, taken, policy["periodSeconds"], now)
        shrunk = int(start * (1 - policy["value"] / 100))
        proposals.append(start - policy["value"] if policy["type"] == "Pods" else shrunk)
    found: int = max(proposals) if rule["selectPolicy"] == "Min" else min(proposals)
    return min(found, current)


def limited(
    autoscaler: Object, desired: int, current: int, added: list[Change], taken: list[Change], now: float
) -> Limited:
    """The desired count within the bounds of the spec and of the policies."""
    spec = autoscaler["spec"]
    least = 1 if spec.get("minReplicas") is None else int(spec["minReplicas"])
    most = int(spec["maxReplicas"])
    if desired > current:
        bound = up_limit(autoscaler, current, added, taken, now)
        if desired > min(most, bound):
            if bound < most:
                message = "the desired replica count is increasing faster than the maximum scale rate"
                return Limited(bound, "ScaleUpLimit", message, True)
            return Limited(
                most, "TooManyReplicas", "the desired replica count is more than the maximum replica count", True
            )
    elif desired < current:
        bound = down_limit(autoscaler, current, added, taken, now)
        if desired < max(least, bound):
            if bound > least:
                message = "the desired replica count is decreasing faster than the maximum scale rate"
                return Limited(bound, "ScaleDownLimit", message, True)
            message = "the desired replica count is less than the minimum replica count"
            return Limited(least, "TooFewReplicas", message, True)
    if desired < least:
        return Limited(
            least, "TooFewReplicas", "the desired replica count is less than the minimum replica count", True
        )
    if desired > most:
        return Limited(
            most, "TooManyReplicas", "the desired replica count is more than the maximum replica count", True
        )
    return Limited(desired, "DesiredWithinRange", "the desired count is within the acceptable range", False)
