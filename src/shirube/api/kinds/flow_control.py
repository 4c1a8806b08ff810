"""FlowSchemas and PriorityLevelConfigurations: how requests are queued when there are too many.

Follows flowcontrol's defaults, ``ValidateFlowSchema`` and ``ValidatePriorityLevelConfiguration``.
"""

from __future__ import annotations

from math import ceil, log2

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required

_VERBS = {"get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"}
_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
_MAX_PRECEDENCE = 10000
_HASH_BITS = 60  # what shuffle sharding takes the hands from
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
        return super().validate(obj) + _validate_schema(obj["spec"], obj["metadata"].get("name", ""))

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        return causes + _validate_schema(obj["spec"], obj["metadata"].get("name", ""))

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + _validate_conditions(obj)


def _validate_schema(spec: Obj, schema: str) -> list[Cause]:
    causes: list[Cause] = []
    precedence = spec.get("matchingPrecedence", 0)
    if precedence <= 0:
        causes.append(invalid("spec.matchingPrecedence", precedence, "must be a positive value"))
    if precedence > _MAX_PRECEDENCE:
        detail = f"must not be greater than {_MAX_PRECEDENCE}"
        causes.append(invalid("spec.matchingPrecedence", precedence, detail))
    if precedence == 1 and schema != "exempt":
        detail = "only the schema named 'exempt' may have matchingPrecedence 1"
        causes.append(invalid("spec.matchingPrecedence", precedence, detail))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        causes.append(not_supported("spec.distinguisherMethod.type", method, ["ByNamespace", "ByUser"]))
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
        _validate_subject(causes, subject, f"{path}.subjects[{i}]")
    resources, others = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not resources and not others:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        causes.append(required(path, detail))
    for i, one in enumerate(resources):
        _validate_resource_rule(causes, one, f"{path}.resourceRules[{i}]")
    for i, one in enumerate(others):
        at = f"{path}.nonResourceRules[{i}]"
        _validate_verbs(causes, one, at)
        urls = one.get("nonResourceURLs") or []
        if not urls:
            causes.append(required(f"{at}.nonResourceURLs", "nonResourceURLs must contain at least one value"))
        elif "*" in urls:
            _alone(causes, urls, f"{at}.nonResourceURLs", "non-resource URLs")
        else:
            for j, url in enumerate(urls):
                _validate_url(causes, url, f"{at}.nonResourceURLs[{j}]")


def _validate_subject(causes: list[Cause], subject: Obj, path: str) -> None:
    kind = subject.get("kind", "")
    if kind not in _SUBJECTS:
        causes.append(not_supported(f"{path}.kind", kind, sorted(_SUBJECTS)))
        return
    field = _SUBJECTS[kind]
    chosen, at = subject.get(field), f"{path}.{field}"
    if chosen is None:
        causes.append(required(at, f"{field} is required when subject kind is '{kind}'"))
    else:
        name = chosen.get("name", "")
        if not name:
            causes.append(required(f"{at}.name"))
        elif kind == "ServiceAccount" and name != "*":
            causes.extend(invalid(f"{at}.name", name, m) for m in names.is_dns1123_subdomain(name))
        if kind == "ServiceAccount":
            namespace = chosen.get("namespace", "")
            if not namespace:
                causes.append(required(f"{at}.namespace", "must specify namespace for service account"))
            else:
                causes.extend(invalid(f"{at}.namespace", namespace, m) for m in names.is_dns1123_label(namespace))
    for other, wrong in _SUBJECTS.items():
        if other != kind and subject.get(wrong) is not None:
            detail = f"{wrong} is forbidden when subject kind is not '{other}'"
            causes.append(forbidden(f"{path}.{wrong}", detail))


def _alone(causes: list[Cause], values: list[str], path: str, spoken: str) -> None:
    if "*" in values and len(values) > 1:
        causes.append(invalid(path, values, f"if '*' is present, must not specify other {spoken}"))


def _validate_resource_rule(causes: list[Cause], rule: Obj, path: str) -> None:
    _validate_verbs(causes, rule, path)
    for field, one, spoken in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values = rule.get(field) or []
        if not values:
            causes.append(required(f"{path}.{field}", f"resource rules must supply at least one {one}"))
        _alone(causes, values, f"{path}.{field}", spoken)
    namespaces, at = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        causes.append(required(at, detail))
    elif "*" in namespaces:
        _alone(causes, namespaces, at, "namespaces")
    else:
        intro = "each member of this list must be '*' or a DNS-1123 label; "
        for i, namespace in enumerate(namespaces):
            causes.extend(invalid(f"{at}[{i}]", namespace, intro + m) for m in names.is_dns1123_label(namespace))


def _validate_url(causes: list[Cause], url: str, path: str) -> None:
    if url == "/":
        return
    if not url:
        problem = "must not be empty"
    elif not url.startswith("/"):
        problem = "must start with slash"
    elif " " in url:
        problem = "must not contain white-space"
    elif "//" in url:
        problem = "must not contain double slash"
    elif url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        problem = "wildcard can only do suffix matching"
    else:
        return
    causes.append(invalid(path, url, problem))


def _validate_verbs(causes: list[Cause], rule: Obj, path: str) -> None:
    verbs = rule.get("verbs") or []
    if not verbs:
        causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    elif "*" in verbs:
        _alone(causes, verbs, f"{path}.verbs", "verbs")
    elif not _VERBS.issuperset(verbs):
        causes.append(not_supported(f"{path}.verbs", verbs, _VERBS))


def _validate_conditions(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    kinds = [c.get("type", "") for c in (obj.get("status") or {}).get("conditions") or ()]
    for i, kind in enumerate(kinds):
        at = f"status.conditions[{i}].type"
        if kind in kinds[:i]:
            causes.append(duplicate(at, kind))
        if not kind:
            causes.append(required(at, "must not be empty"))
    return causes


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
        if exempt is not None:
            _validate_shares(causes, exempt, "spec.exempt")
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


def _validate_shares(causes: list[Cause], level: Obj, path: str) -> None:
    shares, lent = level.get("nominalConcurrencyShares", 0), level.get("lendablePercent", 0)
    if shares < 0:
        causes.append(invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if not 0 <= lent <= 100:
        causes.append(invalid(f"{path}.lendablePercent", lent, "must be between 0 and 100, inclusive"))


def _validate_limited(causes: list[Cause], limited: Obj) -> None:
    _validate_shares(causes, limited, "spec.limited")
    borrowed = limited.get("borrowingLimitPercent")
    if borrowed is not None and borrowed < 0:
        detail = "if specified, must be a non-negative integer"
        causes.append(invalid("spec.limited.borrowingLimitPercent", borrowed, detail))
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
        elif hand > 0 and ceil(log2(queues) * hand) > _HASH_BITS:
            detail = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than"
            causes.append(invalid(f"{at}.queuing.handSize", hand, f"{detail} {_HASH_BITS}"))
    else:
        causes.append(not_supported(f"{at}.type", kind, ["Queue", "Reject"]))
