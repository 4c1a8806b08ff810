"""Whether a rule, a pair of selectors and a match policy mean a write; webhooks and policies share this.

Follows upstream's `rules.Matcher`, `namespace.Matcher`, `object.Matcher` and the Equivalent match policy: a rule
that names another served version of the same stored resource means it too, and the object is shown in that version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.gvr import NAMESPACES
from shirube.apiserver.admission.request import CREATE, DELETE, AdmissionRequest

if TYPE_CHECKING:
    from shirube.api.resources import Resource, ResourceTable
    from shirube.api.selectors import LabelSelector
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

ADMISSION_GROUP = "admissionregistration.k8s.io"
# What could lock everybody out if it could be refused: the configurations themselves.
_EXEMPT = frozenset(
    (
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    )
)


def exempt(resource: Resource) -> bool:
    """Whether neither webhooks nor policies are asked about this resource."""
    return resource.group == ADMISSION_GROUP and resource.name in _EXEMPT


def is_namespace(req: AdmissionRequest) -> bool:
    return req.resource.name == "namespaces" and not req.resource.group


def namespace_of(req: AdmissionRequest) -> str:
    """The request's namespace as upstream has it: that of a Namespace object is its own name, once it has one."""
    if is_namespace(req):
        return "" if req.operation == CREATE else req.name
    return req.namespace


def matched_resource(
    table: ResourceTable, rules: Iterable[Json], req: AdmissionRequest, *, equivalent: bool
) -> Resource | None:
    """The resource, in the version in which a rule means it; None when no rule does."""
    requested = req.requested
    rules = list(rules)
    if any(rule_matches(rule, req, requested) for rule in rules):
        return requested
    if not equivalent:
        return None
    for other in table:
        if other.storage != requested.storage or other is requested:
            continue
        if req.subresource and req.subresource not in other.subresources:
            continue
        if any(rule_matches(rule, req, other) for rule in rules):
            return other
    return None


def rule_matches(rule: Json, req: AdmissionRequest, resource: Resource) -> bool:
    operations = rule.get("operations") or ()
    return (
        ("*" in operations or req.operation in operations)
        and _named(rule.get("apiGroups"), resource.group)
        and _named(rule.get("apiVersions"), resource.version)
        and _resource_named(rule.get("resources"), resource.name, req.subresource)
        and _in_scope(rule.get("scope"), req)
        and _object_named(rule.get("resourceNames"), req)
    )


def _named(wanted: list[str] | None, have: str) -> bool:
    return wanted is not None and ("*" in wanted or have in wanted)


def _resource_named(wanted: list[str] | None, name: str, subresource: str) -> bool:
    for each in wanted or ():
        resource, _, sub = each.partition("/")
        if resource in ("*", name) and sub in ("*", subresource):
            return True
    return False


def _in_scope(scope: str | None, req: AdmissionRequest) -> bool:
    if scope in (None, "", "*"):
        return True
    inside = bool(req.namespace) and not is_namespace(req)
    return inside if scope == "Namespaced" else not inside


def _object_named(names: list[str] | None, req: AdmissionRequest) -> bool:
    """`resourceNames`: policies have them, webhooks do not."""
    return not names or req.name in names


def labels_of(obj: Json | None) -> Mapping[str, str] | None:
    return None if obj is None else (obj.get("metadata") or {}).get("labels") or {}


def namespace_object(server: ServerContext, req: AdmissionRequest) -> Json | None:
    """The Namespace that the write happens in; None for what is in none. Raises ApiError 404."""
    if is_namespace(req):
        return req.obj if req.operation == CREATE else server.reader.get(NAMESPACES, "", req.name) or req.old
    if not req.namespace:
        return None
    found = server.reader.get(NAMESPACES, "", req.namespace)
    if found is None:
        raise errors.not_found("namespaces", req.namespace)
    return found


def in_selected_namespace(server: ServerContext, selector: LabelSelector, req: AdmissionRequest) -> bool:
    """Cluster-scoped objects are in every selection; a Namespace is judged by its own labels. Raises ApiError."""
    if selector.empty:
        return True
    if is_namespace(req):
        obj = req.obj if req.operation != DELETE else req.old
        return selector.matches(labels_of(obj) or {})
    namespace = namespace_object(server, req)
    return namespace is None or selector.matches(labels_of(namespace) or {})


def object_selected(selector: LabelSelector, req: AdmissionRequest) -> bool:
    """Either the new or the old object; objects without labels are selected by what selects everything."""
    if selector.empty:
        return True
    return any(labels is not None and selector.matches(labels) for labels in map(labels_of, (req.obj, req.old)))
