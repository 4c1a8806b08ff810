"""Roles and bindings: whoever may do what. A binding's role never changes.

Follows rbac's ``ValidateRole``, ``ValidateRoleBinding`` and their defaults. That nobody grants what they do
not hold is the authoriser's business.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.object_meta import name_is_path_segment

GROUP = "rbac.authorization.k8s.io"


class _RbacStrategy(Strategy):
    name_rule = staticmethod(name_is_path_segment)
    allow_create_on_update = True


class RoleStrategy(_RbacStrategy):
    def default(self, obj: Obj) -> None:
        obj.setdefault("rules", [])

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_rules(causes, obj.get("rules") or [], namespaced=self.namespaced)
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_rules(causes, obj.get("rules") or [], namespaced=self.namespaced)
        return causes


class ClusterRoleStrategy(RoleStrategy):
    namespaced = False

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_aggregation(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_aggregation(obj)


class RoleBindingStrategy(_RbacStrategy):
    def default(self, obj: Obj) -> None:
        role = obj.setdefault("roleRef", {})
        if not role.get("apiGroup"):
            role["apiGroup"] = GROUP
        for subject in obj.get("subjects") or ():
            if not subject.get("apiGroup"):
                if subject.get("kind") in ("User", "Group"):
                    subject["apiGroup"] = GROUP
                else:
                    subject.pop("apiGroup", None)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_binding(causes, obj, namespaced=self.namespaced)
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_binding(causes, obj, namespaced=self.namespaced)
        if not semantic_equal(obj.get("roleRef"), old.get("roleRef")):
            causes.append(invalid("roleRef", obj.get("roleRef"), "cannot change roleRef"))
        return causes


class ClusterRoleBindingStrategy(RoleBindingStrategy):
    namespaced = False


def _validate_rules(causes: list[Cause], rules: list[Obj], *, namespaced: bool) -> None:
    for i, rule in enumerate(rules):
        at = f"rules[{i}]"
        if not rule.get("verbs"):
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if urls := rule.get("nonResourceURLs"):
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", urls, detail))
            if any(rule.get(f) for f in ("apiGroups", "resources", "resourceNames")):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", urls, detail))
            continue
        if not rule.get("apiGroups"):
            detail = "resource rules must supply at least one api group"
            causes.append(required(f"{at}.apiGroups", detail))
        if not rule.get("resources"):
            causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))


def _validate_aggregation(obj: Obj) -> list[Cause]:
    rule = obj.get("aggregationRule")
    if rule is None:
        return []
    selectors = rule.get("clusterRoleSelectors") or []
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [required("aggregationRule.clusterRoleSelectors", detail)]
    causes: list[Cause] = []
    for i, selector in enumerate(selectors):
        causes.extend(validate_label_selector(selector, f"aggregationRule.clusterRoleSelectors[{i}]"))
    return causes


def _validate_binding(causes: list[Cause], obj: Obj, *, namespaced: bool) -> None:
    role = obj.get("roleRef") or {}
    if role.get("apiGroup") != GROUP:
        causes.append(not_supported("roleRef.apiGroup", role.get("apiGroup", ""), [GROUP]))
    kinds = ["ClusterRole", "Role"] if namespaced else ["ClusterRole"]
    if role.get("kind") not in kinds:
        causes.append(not_supported("roleRef.kind", role.get("kind", ""), kinds))
    name = role.get("name", "")
    if not name:
        causes.append(required("roleRef.name"))
    else:
        causes.extend(invalid("roleRef.name", name, m) for m in names.is_path_segment_name(name))
    for i, subject in enumerate(obj.get("subjects") or ()):
        _validate_subject(causes, subject, f"subjects[{i}]", namespaced=namespaced)


def _validate_subject(causes: list[Cause], subject: Obj, path: str, *, namespaced: bool) -> None:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    if not name:
        causes.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            causes.extend(invalid(f"{path}.name", name, m) for m in names.is_dns1123_subdomain(name))
        if group:
            causes.append(not_supported(f"{path}.apiGroup", group, [""]))
        if not namespaced and not subject.get("namespace"):
            causes.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            causes.append(not_supported(f"{path}.apiGroup", group, [GROUP]))
    else:
        causes.append(not_supported(f"{path}.kind", kind, ["Group", "ServiceAccount", "User"]))
