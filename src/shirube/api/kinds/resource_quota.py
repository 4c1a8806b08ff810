"""ResourceQuotas: how much a namespace may use in all.

Follows core's ``ValidateResourceQuota`` and its update rules.
"""

from __future__ import annotations

from typing import Any

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, required
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.resource_requirements import is_huge_page, is_standard, validate_quantity

_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass",
    "Terminating", "VolumeAttributesClass",
)  # fmt: skip
_ONLY_EXISTS = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
_EXCLUSIVE = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_NOT_QUOTA = "must be a standard resource for quota"
_PODS_ONLY = {"pods"}
_POD_COMPUTE = {
    "pods", "cpu", "memory", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage",
}  # fmt: skip
_CLAIMS = {"persistentvolumeclaims", "requests.storage"}
_QUOTA_RESOURCES = _POD_COMPUTE | _CLAIMS | {
    "ephemeral-storage", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "services.nodeports", "services.loadbalancers",
}  # fmt: skip


class ResourceQuotaStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        canonical_resources(obj.setdefault("spec", {}).get("hard"))
        for field in ("hard", "used"):
            canonical_resources((obj.get("status") or {}).get(field))

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_spec(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate_spec(obj["spec"])
        now, was = sorted(obj["spec"].get("scopes") or ()), sorted(old["spec"].get("scopes") or ())
        return causes + immutable(now, was, "spec.scopes")

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        if not obj["metadata"].get("resourceVersion"):
            causes.append(required("resourceVersion"))
        for field in ("hard", "used"):
            for name, value in ((obj.get("status") or {}).get(field) or {}).items():
                causes.extend(_validate_amount(name, value, f"status.{field}[{name}]"))
        return causes


def quota_name_messages(name: str) -> list[str]:
    """What is wrong with the name of something counted."""
    messages = names.is_qualified_name(name)
    if (
        not messages
        and "/" not in name
        and not is_standard(name)
        and not name.startswith(("count/", "requests.", "limits."))
    ):
        messages = ["must be a standard resource type or fully qualified", _NOT_QUOTA]
    elif (
        not messages
        and "/" not in name
        and name not in _QUOTA_RESOURCES
        and not is_huge_page(name.removeprefix("requests."))
    ):
        messages = [_NOT_QUOTA]
    return messages


def _validate_amount(name: str, value: Any, path: str) -> list[Cause]:
    causes = [invalid(path, name, m) for m in quota_name_messages(name)]
    return causes + validate_quantity(name, value, path)


def _validate_spec(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for name, value in (spec.get("hard") or {}).items():
        causes.extend(_validate_amount(name, value, f"spec.hard[{name}]"))
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            causes.append(invalid("spec.scopes", scopes, "unsupported scope"))
        causes.extend(_unsupported(spec, scope, "spec.scopes", scopes))
    _validate_exclusive(causes, set(scopes), scopes, "spec.scopes")
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    at = "spec.scopeSelector.matchExpressions"
    for expression in expressions:
        _validate_expression(causes, expression, at)
        causes.extend(_unsupported(spec, expression.get("scopeName", ""), at, spec["scopeSelector"]))
    _validate_exclusive(causes, {e.get("scopeName") for e in expressions}, expressions, at)
    return causes


def _unsupported(spec: Obj, scope: str, path: str, shown: Any) -> list[Cause]:
    """Scopes that say something of pods only cannot limit what is not asked for by pods."""
    counted = {
        "BestEffort": _PODS_ONLY,
        "Terminating": _POD_COMPUTE,
        "NotTerminating": _POD_COMPUTE,
        "NotBestEffort": _POD_COMPUTE,
        "PriorityClass": _POD_COMPUTE,
        "CrossNamespacePodAffinity": _POD_COMPUTE,
        "VolumeAttributesClass": _CLAIMS,
    }.get(scope)
    named = sorted(n for n in spec.get("hard") or () if n in _QUOTA_RESOURCES)
    wrong = [n for n in named if counted is not None and n not in counted]
    return [invalid(path, shown, "unsupported scope applied to resource") for _ in wrong]


def _validate_exclusive(causes: list[Cause], found: set[Any], value: Any, path: str) -> None:
    for pair in _EXCLUSIVE:
        if found.issuperset(pair):
            causes.append(invalid(path, value, "conflicting scopes"))


def _validate_expression(causes: list[Cause], expression: Obj, path: str) -> None:
    scope, operator, values = (expression.get(f) for f in ("scopeName", "operator", "values"))
    if scope not in _SCOPES:
        causes.append(invalid(f"{path}.scopeName", scope or "", "unsupported scope"))
    if scope in _ONLY_EXISTS and operator != "Exists":
        detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"  # noqa: E501
        causes.append(invalid(f"{path}.operator", operator or "", detail))
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            causes.append(required(f"{path}.values", detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            causes.append(invalid(f"{path}.values", values, detail))
    else:
        causes.append(invalid(f"{path}.operator", operator or "", "not a valid selector operator"))
