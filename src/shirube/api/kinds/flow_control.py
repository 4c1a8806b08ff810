"""FlowSchemas and PriorityLevelConfigurations: how requests are queued when there are too many.

Follows flowcontrol's defaults, ``ValidateFlowSchema`` and ``ValidatePriorityLevelConfiguration``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import forbidden, invalid, not_supported, required

_VERBS = {"get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy", "*"}
_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
_MAX_PRECEDENCE = 10000
_MAX_QUEUES = 10_000_000


class FlowSchemaStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = 1000

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_schema(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_schema(obj["spec"])


def _validate_schema(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    precedence = spec.get("matchingPrecedence", 0)
    if precedence <= 0:
        causes.append(invalid("spec.matchingPrecedence", precedence, "must be a positive value"))
    if precedence > _MAX_PRECEDENCE:
        detail = f"must not be greater than {_MAX_PRECEDENCE}"
        causes.append(invalid("spec.matchingPrecedence", precedence, detail))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        causes.append(not_supported("spec.distinguisherMethod", method, ["ByNamespace", "ByUser"]))
    name = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    at = "spec.priorityLevelConfiguration.name"
    if not name:
        causes.append(required(at, "must reference a priority level"))
    else:
        causes.extend(invalid(at, name, m) for m in names.is_dns1123_subdomain(name))
    for i, rule in enumerate(spec.get("rules") or ()):
        _validate_rule(causes, rule, f"spec.rules[{i}]")
    return causes


def _validate_rule(causes: list[Cause], rule: Obj, path: str) -> None:
    subjects = rule.get("subjects") or []
    if not subjects:
        causes.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for i, subject in enumerate(subjects):
        at, kind = f"{path}.subjects[{i}]", subject.get("kind", "")
        if kind not in _SUBJECTS:
            causes.append(not_supported(f"{at}.kind", kind, sorted(_SUBJECTS)))
            continue
        chosen = subject.get(_SUBJECTS[kind])
        if chosen is None:
            detail = f"{_SUBJECTS[kind]} is required when subject kind is '{kind}'"
            causes.append(required(f"{at}.{_SUBJECTS[kind]}", detail))
        elif not chosen.get("name"):
            causes.append(required(f"{at}.{_SUBJECTS[kind]}.name"))
    resources, others = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not resources and not others:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        causes.append(required(path, detail))
    for i, one in enumerate(resources):
        at = f"{path}.resourceRules[{i}]"
        _validate_verbs(causes, one, at)
        for field in ("apiGroups", "resources"):
            if not one.get(field):
                causes.append(required(f"{at}.{field}", f"resource rules must supply at least one {field[:-1]}"))
        if not one.get("namespaces") and not one.get("clusterScope"):
            detail = "resource rules that are not cluster scoped must supply at least one namespace"
            causes.append(required(f"{at}.namespaces", detail))
    for i, one in enumerate(others):
        at = f"{path}.nonResourceRules[{i}]"
        _validate_verbs(causes, one, at)
        if not one.get("nonResourceURLs"):
            causes.append(required(f"{at}.nonResourceURLs", "nonResourceURLs must contain at least one value"))


def _validate_verbs(causes: list[Cause], rule: Obj, path: str) -> None:
    verbs = rule.get("verbs") or []
    if not verbs:
        causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    elif "*" in verbs and len(verbs) > 1:
        causes.append(invalid(f"{path}.verbs", verbs, "if '*' is present, must not specify other verbs"))


class PriorityLevelConfigurationStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if (exempt := spec.get("exempt")) is not None:
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)
        elif spec.get("type") == "Exempt":
            spec["exempt"] = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
        if (limited := spec.get("limited")) is not None:
            limited.setdefault("nominalConcurrencyShares", 30)
            limited.setdefault("lendablePercent", 0)
            queuing = (limited.get("limitResponse") or {}).get("queuing")
            if queuing is not None:
                for field, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                    if not queuing.get(field):
                        queuing[field] = value

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_level(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_level(obj)


def _validate_level(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    spec = obj["spec"]
    kind, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    name = obj["metadata"].get("name", "")
    if (name == "exempt") != (kind == "Exempt"):
        detail = "type must be 'Exempt' if and only if name is 'exempt'"
        causes.append(invalid("spec.type", kind, detail))
    if kind == "Exempt":
        if limited is not None:
            causes.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
    elif kind == "Limited":
        if exempt is not None:
            causes.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            causes.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            _validate_limited(causes, limited)
    else:
        causes.append(not_supported("spec.type", kind, ["Exempt", "Limited"]))
    return causes


def _validate_limited(causes: list[Cause], limited: Obj) -> None:
    shares = limited.get("nominalConcurrencyShares", 0)
    if shares < 0:
        causes.append(invalid("spec.limited.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    response = limited.get("limitResponse") or {}
    kind, queuing, at = response.get("type", ""), response.get("queuing"), "spec.limited.limitResponse"
    if kind == "Reject":
        if queuing is not None:
            detail = "must be nil if limited.limitResponse.type is not Limited"
            causes.append(forbidden(f"{at}.queuing", detail))
    elif kind == "Queue":
        if queuing is None:
            detail = "must not be empty if limited.limitResponse.type is Limited"
            causes.append(required(f"{at}.queuing", detail))
            return
        queues, hand = queuing.get("queues", 0), queuing.get("handSize", 0)
        for field in ("queues", "handSize", "queueLengthLimit"):
            if queuing.get(field, 0) <= 0:
                causes.append(invalid(f"{at}.queuing.{field}", queuing.get(field, 0), "must be positive"))
        if queues > _MAX_QUEUES:
            causes.append(invalid(f"{at}.queuing.queues", queues, f"must not be greater than {_MAX_QUEUES}"))
        if hand > queues:
            detail = f"should not be greater than queues ({queues})"
            causes.append(invalid(f"{at}.queuing.handSize", hand, detail))
    else:
        causes.append(not_supported(f"{at}.type", kind, ["Queue", "Reject"]))
