"""PriorityClasses: names for priorities; the number behind a name never changes.

Follows scheduling's ``ValidatePriorityClass``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import forbidden, not_supported, required

HIGHEST_USER_PRIORITY = 1_000_000_000
# name -> value of the classes that the server makes
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_POLICIES = ["PreemptLowerPriority", "Never"]


class PriorityClassStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("value", 0)
        if not obj.get("preemptionPolicy"):
            obj["preemptionPolicy"] = "PreemptLowerPriority"

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        return False

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
        if name.startswith("system-"):
            if name not in SYSTEM_CLASSES:
                detail = "priority class names with 'system-' prefix are reserved for system use only"
                causes.append(
                    forbidden("metadata.name", detail + ". error: " + f"{name} is not a known system priority class")
                )
            elif value != SYSTEM_CLASSES[name]:
                detail = f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
                causes.append(forbidden("metadata.name", detail))
        elif value > HIGHEST_USER_PRIORITY:
            detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
            causes.append(forbidden("value", detail))
        policy = obj.get("preemptionPolicy", "")
        if policy not in _POLICIES:
            at = "preemptionPolicy"
            causes.append(not_supported(at, policy, _POLICIES) if policy else required(at))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        if obj.get("value", 0) != old.get("value", 0):
            causes.append(forbidden("value", "may not be changed in an update."))
        if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
            causes.append(Cause.invalid("preemptionPolicy", obj.get("preemptionPolicy"), "field is immutable"))
        return causes
