"""Parameters of a policy: the objects that a binding's `paramRef` names, or none.

Read from the watch caches: any kind that is served may be a parameter. Follows upstream's `CollectParams`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import selectors

if TYPE_CHECKING:
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext
    from shirube.apiserver.policies.definitions import Binding, Policy

Json = dict[str, Any]


class CannotConfigure(Exception):
    """The parameters cannot be had; failurePolicy says what that means."""


def of(server: ServerContext, policy: Policy, binding: Binding, req: AdmissionRequest) -> list[Json | None]:
    """Each is one evaluation; [None] where no parameters are used. Raises CannotConfigure."""
    kind, ref = policy.spec.get("paramKind"), binding.spec.get("paramRef")
    if not kind or not ref:
        return [None]
    group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
    resource = server.table.by_kind(group, version, kind.get("kind", ""))
    if resource is None or resource.virtual:
        what = f"{kind.get('apiVersion')}, Kind={kind.get('kind')}"
        raise CannotConfigure(f"failed to find resource referenced by paramKind: '{what}'")
    namespace = ref.get("namespace") or ""
    if resource.namespaced:
        namespace = namespace or req.namespace
        if not namespace:
            raise CannotConfigure(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif namespace:
        raise CannotConfigure("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    if ref.get("name"):
        one = server.reader.get(resource.gvr, namespace, ref["name"])
        found = [] if one is None else [one]
    else:
        selector = selectors.label_selector_from(ref.get("selector") or {})
        found = [
            p
            for p in server.reader.list(resource.gvr, namespace)
            if selector.matches((p["metadata"].get("labels")) or {})
        ]
    if not found and ref.get("parameterNotFoundAction") == "Deny":
        raise CannotConfigure("no params found for policy binding with `Deny` parameterNotFoundAction")
    return list(found)
