"""FlowSchemas: pure rules that say to which flow and priority level a request belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext

Json = dict[str, Any]


class Flow(NamedTuple):
    """What a request is classified by."""

    user: str
    groups: tuple[str, ...]
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    path: str  # "" for resources


@dataclass(frozen=True, slots=True)
class Schema:
    name: str
    uid: str
    precedence: int
    level: str
    by: str  # ByUser, ByNamespace or ""
    rules: list[Json]

    @classmethod
    def of(cls, obj: Json) -> Schema:
        meta, spec = obj["metadata"], obj.get("spec") or {}
        return cls(
            meta["name"],
            meta.get("uid", ""),
            spec.get("matchingPrecedence", 1000),
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            (spec.get("distinguisherMethod") or {}).get("type", ""),
            spec.get("rules") or [],
        )

    def matches(self, flow: Flow) -> bool:
        return any(_rule_matches(rule, flow) for rule in self.rules)


def distinguisher(schema: Schema, rc: RequestContext) -> str:
    """What keeps the flows of one schema apart."""
    if schema.by == "ByUser":
        return rc.user.name
    return rc.attributes.namespace if schema.by == "ByNamespace" else ""


def _rule_matches(rule: Json, flow: Flow) -> bool:
    if not any(_is_subject(subject, flow) for subject in rule.get("subjects") or ()):
        return False
    if flow.path:
        return any(_path_matches(r, flow) for r in rule.get("nonResourceRules") or ())
    return any(_resource_matches(r, flow) for r in rule.get("resourceRules") or ())


def _is_subject(subject: Json, flow: Flow) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        return (subject.get("user") or {}).get("name") in ("*", flow.user)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == "*" or name in flow.groups
    if kind != "ServiceAccount":
        return False
    account = subject.get("serviceAccount") or {}
    prefix = f"system:serviceaccount:{account.get('namespace')}:"
    if account.get("name") == "*":
        return flow.user.startswith(prefix)
    return flow.user == prefix + str(account.get("name"))


def _has(values: list[str] | None, value: str) -> bool:
    return values is not None and ("*" in values or value in values)


def _resource_matches(rule: Json, flow: Flow) -> bool:
    resource = f"{flow.resource}/{flow.subresource}" if flow.subresource else flow.resource
    if not (_has(rule.get("verbs"), flow.verb) and _has(rule.get("apiGroups"), flow.group)):
        return False
    if not _has(rule.get("resources"), resource):
        return False
    if not flow.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces"), flow.namespace)


def _path_matches(rule: Json, flow: Flow) -> bool:
    if not _has(rule.get("verbs"), flow.verb):
        return False
    for url in rule.get("nonResourceURLs") or ():
        if url == flow.path or url == "*" or (url.endswith("*") and flow.path.startswith(url[:-1])):
            return True
    return False
