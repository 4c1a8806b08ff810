"""Role-based access control: bindings indexed by subject, roles compiled, both rebuilt when they have changed.

The index is derived from what the Reader has; the four revisions say whether it is still true. A rebuild over
upstream's bootstrap roles takes a few milliseconds and happens only after a write to one of the four kinds.
Subjects that are service accounts are indexed by their user name. Decisions are remembered until then (bounded).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api.gvr import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authentication.service_account_tokens import username
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.authorization.rules import CompiledRule, Rule
from shirube.apiserver.user import User

if TYPE_CHECKING:
    from shirube.apiserver.reader import Reader

_CACHED = 8192
_SUFFIX = "rbac.authorization.k8s.io"


class _Binding(NamedTuple):
    kind: str
    shown: str  # "name" or "name/namespace", as upstream's reasons print it
    role_kind: str
    role_namespace: str  # "" for ClusterRole
    role: str
    subject: str  # `User "x"`


class _Index:
    """Who is bound to what. Built once, never changed."""

    def __init__(self, reader: Reader) -> None:
        self.roles: dict[tuple[str, str], list[CompiledRule]] = {}
        for role in reader.list(CLUSTERROLES):
            self.roles["", role["metadata"]["name"]] = _compile(role)
        for role in reader.list(ROLES):
            meta = role["metadata"]
            self.roles[meta["namespace"], meta["name"]] = _compile(role)
        self._everywhere: dict[str, list[_Binding]] = {}
        self._inside: dict[str, dict[str, list[_Binding]]] = {}
        for binding in reader.list(CLUSTERROLEBINDINGS):
            self._add(self._everywhere, binding, "")
        for binding in reader.list(ROLEBINDINGS):
            namespace = binding["metadata"]["namespace"]
            self._add(self._inside.setdefault(namespace, {}), binding, namespace)

    def _add(self, index: dict[str, list[_Binding]], binding: dict[str, Any], namespace: str) -> None:
        name, ref = binding["metadata"]["name"], binding.get("roleRef") or {}
        kind = "RoleBinding" if namespace else "ClusterRoleBinding"
        shown = f"{name}/{namespace}" if namespace else name
        role_namespace = namespace if ref.get("kind") == "Role" else ""
        for subject in binding.get("subjects") or ():
            found = _subject(subject, namespace)
            if found:
                key, text = found
                role = ref.get("name", "")
                index.setdefault(key, []).append(_Binding(kind, shown, ref.get("kind", ""), role_namespace, role, text))

    def bindings(self, user: User, namespace: str) -> Iterator[_Binding]:
        """Cluster-wide ones first, then those of the namespace."""
        keys = ["u:" + user.name, *("g:" + group for group in user.groups)]
        for index in (self._everywhere, self._inside.get(namespace) if namespace else None):
            if index:
                for key in keys:
                    yield from index.get(key, ())


def _compile(role: dict[str, Any]) -> list[CompiledRule]:
    return [CompiledRule(rule) for rule in role.get("rules") or ()]


def _subject(subject: dict[str, Any], namespace: str) -> tuple[str, str] | None:
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "User":
        return "u:" + name, f'User "{name}"'
    if kind == "Group":
        return "g:" + name, f'Group "{name}"'
    if kind == "ServiceAccount":
        home = subject.get("namespace") or namespace
        return "u:" + username(home, name), f'ServiceAccount "{name}/{home}"' if home else ""
    return None


class Rbac:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._built_at: tuple[int, ...] = ()
        self._index: _Index | None = None
        self._decisions: dict[tuple[Any, ...], Decision] = {}

    def _current(self) -> _Index:
        revision = self._reader.revision
        now = (
            revision(CLUSTERROLEBINDINGS),
            revision(ROLEBINDINGS),
            revision(CLUSTERROLES),
            revision(ROLES),
        )
        if self._index is None or now != self._built_at:
            self._index, self._built_at = _Index(self._reader), now
            self._decisions.clear()
        return self._index

    def authorize(self, a: Attributes) -> Decision:
        index = self._current()
        user = a.user
        key = (user.name, user.groups, a.verb, a.group, a.resource, a.subresource, a.namespace, a.name, a.path)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) >= _CACHED:
                self._decisions.clear()
            decision = self._decisions[key] = _decide(index, a)
        return decision

    def rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """(every rule that the user holds in the namespace, roles that are bound and missing)."""
        index = self._current()
        rules: list[Rule] = []
        missing: list[str] = []
        seen: set[tuple[str, str]] = set()
        for binding in index.bindings(user, namespace):
            role = (binding.role_namespace, binding.role)
            if role in seen:
                continue
            seen.add(role)
            compiled = index.roles.get(role)
            if compiled is None:
                missing.append(_missing(binding))
            else:
                rules += [c.source for c in compiled]
        return rules, missing

    def role_rules(self, kind: str, namespace: str, name: str) -> list[Rule] | None:
        """The rules of the role that a roleRef names; None when there is no such role."""
        compiled = self._current().roles.get((namespace if kind == "Role" else "", name))
        return None if compiled is None else [c.source for c in compiled]


def _decide(index: _Index, a: Attributes) -> Decision:
    missing: list[str] = []
    # Paths that are no resources are granted by cluster roles bound cluster-wide only.
    for binding in index.bindings(a.user, a.namespace if a.is_resource else ""):
        rules = index.roles.get((binding.role_namespace, binding.role))
        if rules is None:
            missing.append(_missing(binding))
            continue
        for rule in rules:
            if rule.allows(a):
                shown = f"{binding.role}/{binding.role_namespace}" if binding.role_namespace else binding.role
                return Decision(
                    True,
                    f'RBAC: allowed by {binding.kind} "{binding.shown}" of {binding.role_kind} "{shown}" '
                    f"to {binding.subject}",
                )
    if not missing:
        return Decision(False)
    missing = list(dict.fromkeys(missing))
    return Decision(False, "RBAC: " + (missing[0] if len(missing) == 1 else "[" + ", ".join(missing) + "]"))


def _missing(binding: _Binding) -> str:
    return f'{binding.role_kind.lower()}.{_SUFFIX} "{binding.role}" not found'
