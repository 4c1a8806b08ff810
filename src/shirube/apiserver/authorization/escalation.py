"""Nobody grants what he does not hold: checks before a role or a binding is stored.

A role may only be written by who holds every permission in it, or the verb `escalate` on roles; a binding by
who holds every permission of the role that it names, or the verb `bind` on that role. See "Privilege
escalation prevention and bootstrapping" in the upstream documentation. Called by the admission plugin
`rbac_escalation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization.rules import Rule, compact, describe, quoted, uncovered
from shirube.apiserver.user import MASTERS, User

if TYPE_CHECKING:
    from shirube.apiserver.authorization import Authorizer

_GROUP = "rbac.authorization.k8s.io"
_ALL: list[Rule] = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]


async def check_role(
    authorizer: Authorizer, user: User, kind: str, obj: dict[str, Any], old: dict[str, Any] | None
) -> None:
    """`kind` is Role or ClusterRole. Raises ApiError 403."""
    if MASTERS in user.groups:
        return
    if old is not None and all(obj.get(k) == old.get(k) for k in ("rules", "aggregationRule")):
        return
    meta = obj["metadata"]
    namespace = meta.get("namespace", "") if kind == "Role" else ""
    resource = kind.lower() + "s"
    name = meta.get("name", "")
    ask = Attributes(user, "escalate", _GROUP, "v1", resource, "", namespace, name)
    if (await authorizer.authorize(ask)).allowed:
        return
    if obj.get("aggregationRule") and uncovered(authorizer.held_rules(user, namespace)[0], _ALL):
        raise errors.forbidden(
            f"{resource}.{_GROUP}", name, "must have cluster-admin privileges to use the aggregationRule"
        )
    _confirm(authorizer, user, namespace, obj.get("rules") or (), f"{resource}.{_GROUP}", name)


async def check_binding(
    authorizer: Authorizer, user: User, kind: str, obj: dict[str, Any], old: dict[str, Any] | None
) -> None:
    """`kind` is RoleBinding or ClusterRoleBinding. Raises ApiError 403."""
    if MASTERS in user.groups:
        return
    if old is not None and all(obj.get(k) == old.get(k) for k in ("roleRef", "subjects")):
        return
    meta, ref = obj["metadata"], obj.get("roleRef") or {}
    namespace = meta.get("namespace", "") if kind == "RoleBinding" else ""
    role_kind, role = ref.get("kind", ""), ref.get("name", "")
    ask = Attributes(user, "bind", _GROUP, "v1", role_kind.lower() + "s", "", namespace, role)
    if (await authorizer.authorize(ask)).allowed:
        return
    rules = authorizer.role_rules(role_kind, namespace, role)
    if rules is None:
        raise errors.not_found(f"{role_kind.lower()}.{_GROUP}", role)
    _confirm(authorizer, user, namespace, rules, f"{kind.lower()}s.{_GROUP}", meta.get("name", ""))


def _confirm(
    authorizer: Authorizer, user: User, namespace: str, wanted: Sequence[Rule], resource: str, name: str
) -> None:
    held, missing_roles = authorizer.held_rules(user, namespace)
    missing = uncovered(held, wanted)
    if not missing:
        return
    lines = "\n".join(sorted({describe(rule) for rule in compact(missing)}))
    message = (
        f'user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not '
        f"currently held:\n{lines}"
    )
    if missing_roles:
        message += f"; resolution errors: [{' '.join(missing_roles)}]"
    raise errors.forbidden(resource, name, message)
