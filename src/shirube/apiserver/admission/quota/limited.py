"""Resources that are limited by default: what a ResourceQuota must cover before it may be used at all.

`limitedResources` of the admission configuration (ResourceQuotaConfiguration) names a resource and what of it is
limited: amounts whose names contain one of `matchContains` ("requests.nvidia.com/gpu",
"gold.storageclass.storage.k8s.io/"), and objects in one of `matchScopes` (pods of a priority class). What is limited
may be created, or grow, only where a quota whose scopes include the object counts it. Upstream also takes a scope as
covered by a quota that shares the scope and does not include the object for another of its scopes; here such a quota,
which would not count it, covers nothing. See "Limit Priority Class consumption by default" under "Resource Quotas" in
the upstream documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from shirube.api import quota_usage as usage
from shirube.api.quota_usage import Usage
from shirube.api.resources import Resource
from shirube.apiserver.configuration_file import ConfigurationError, Fields, of_kind

Json = dict[str, Any]
KINDS = (
    ("apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration"),
    ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
    ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
)
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class LimitedResource(NamedTuple):
    group: str
    resource: str
    contains: tuple[str, ...]
    scopes: tuple[Json, ...]


def read_configuration(value: Any, where: str) -> tuple[LimitedResource, ...]:
    """Raises ConfigurationError."""
    fields = of_kind(value, where, KINDS)
    found = tuple(_limited(item) for item in fields.objects("limitedResources"))
    fields.done()
    return found


def _limited(fields: Fields) -> LimitedResource:
    made = LimitedResource(
        fields.text("apiGroup"),
        fields.text("resource", required=True),
        fields.texts("matchContains"),
        tuple(_scope(item) for item in fields.objects("matchScopes")),
    )
    fields.done()
    return made


def _scope(fields: Fields) -> Json:
    name, operator = fields.text("scopeName", required=True), fields.text("operator", required=True)
    values = list(fields.texts("values"))
    if operator not in OPERATORS:
        known = ", ".join(f'"{each}"' for each in OPERATORS)
        raise ConfigurationError(f'{fields.at("operator")}: Unsupported value: "{operator}": supported values: {known}')
    if bool(values) is not (operator in ("In", "NotIn")):
        why = "must be given with" if not values else "must be empty with"
        raise ConfigurationError(f"{fields.at('values')}: Invalid value: {why} operator {operator}")
    fields.done()
    return {"scopeName": name, "operator": operator, "values": values}


class Needed(NamedTuple):
    """What quotas must cover for one write."""

    names: frozenset[str]
    scopes: tuple[Json, ...]

    def __bool__(self) -> bool:
        return bool(self.names or self.scopes)


NOTHING = Needed(frozenset(), ())


def needed(rules: Sequence[LimitedResource], resource: Resource, obj: Json, cost: Usage) -> Needed:
    """What of an object that costs so much is limited."""
    about = [rule for rule in rules if (rule.group, rule.resource) == (resource.group, resource.name)]
    if not about:
        return NOTHING
    contained = [part for rule in about for part in rule.contains]
    names = frozenset(n for n, amount in cost.items() if amount.nanos > 0 and any(part in n for part in contained))
    scopes = tuple(s for rule in about for s in rule.scopes if usage.matches(_only(s), resource, obj))
    return Needed(names, scopes)


def _only(scope: Json) -> Json:
    """A quota of one scope."""
    return {"spec": {"scopeSelector": {"matchExpressions": [scope]}}}


def uncovered(wanted: Needed, quotas: Iterable[Json], resource: Resource, obj: Json, cost: Usage) -> str:
    """Why a write must not be, in upstream's words; "" when the quotas cover it."""
    names, scopes = set(wanted.names), list(wanted.scopes)
    for quota in quotas:
        spec = quota.get("spec") or {}
        counted = (spec.get("hard") or {}).keys() & cost.keys()
        if not counted or not usage.matches(quota, resource, obj):
            continue
        names -= counted
        covered = {*(spec.get("scopes") or ())}
        covered |= {e.get("scopeName") for e in (spec.get("scopeSelector") or {}).get("matchExpressions") or ()}
        scopes = [scope for scope in scopes if scope["scopeName"] not in covered]
    if names:
        return f"insufficient quota to consume: {','.join(sorted(names))}"
    if scopes:
        return f"insufficient quota to match these scopes: [{' '.join(map(_shown, scopes))}]"
    return ""


def _shown(scope: Json) -> str:
    """As Go prints it."""
    return f"{{{scope['scopeName']} {scope['operator']} [{' '.join(scope['values'])}]}}"
