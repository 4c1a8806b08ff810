"""What somebody may do: the masters everything, nodes what is theirs, everybody what RBAC grants.

`Authorizer.authorize` asks upstream's usual chain (`Node,RBAC`), or that of an AuthorizationConfiguration, after the
group `system:masters`; nothing is allowed by default, not even health checks: those are granted by bootstrap roles.
`refusal` words a 403 as upstream does. Modules: `rbac` (index and decisions), `rules` (one rule), `node` with
`pod_graph`, `escalation`, `configuration` and `webhook`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.gvr import PODS
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.authorization.node import NodeAuthorizer
from shirube.apiserver.authorization.pod_graph import PodsOnNode
from shirube.apiserver.authorization.rbac import Rbac
from shirube.apiserver.authorization.rules import Rule
from shirube.apiserver.user import MASTERS, User

if TYPE_CHECKING:
    from shirube.apiserver.authorization.chain import Chain
    from shirube.apiserver.context import ServerContext
    from shirube.apiserver.reader import Reader
    from shirube.foundation.clock import Clock

__all__ = ["Authorizer", "Decision"]

_MASTER = Decision(True)
_RESOURCE_KEYS = ("verbs", "apiGroups", "resources", "resourceNames")
_URL_KEYS = ("verbs", "nonResourceURLs")


class Authorizer:
    def __init__(self, reader: Reader, pods_on_node: PodsOnNode | None = None) -> None:
        """`pods_on_node` finds the pods of a node faster than looking through all of them."""
        self._rbac = Rbac(reader)
        self._node = NodeAuthorizer(reader, pods_on_node or _among_all(reader))
        self._chain: Chain | None = None  # None: Node and RBAC

    @classmethod
    def of(cls, server: ServerContext) -> Authorizer:
        resource = server.table.by_gvr(PODS)
        assert resource is not None, "the table has no pods"

        def pods_on_node(node: str, namespace: str) -> Iterator[dict[str, Any]]:
            cache = server.caches.of(resource)
            for entry in cache.entries(resource.prefix(namespace or None)):
                if entry.fields.get("spec.nodeName") == node:
                    _, home, name = entry.key.rsplit("/", 2)
                    if (pod := server.reader.get(PODS, home, name)) is not None:
                        yield pod

        return cls(server.reader, pods_on_node)

    async def authorize(self, a: Attributes) -> Decision:
        if MASTERS in a.user.groups:
            return _MASTER
        if self._chain is not None:
            return await self._chain.authorize(a)
        node = self._node.authorize(a)
        if node is not None and node.allowed:
            return node
        decision = self._rbac.authorize(a)
        if decision.allowed or node is None or not node.reason:
            return decision
        # Upstream's union joins what each authoriser says.
        return Decision(False, "\n".join(r for r in (node.reason, decision.reason) if r))

    def configure(self, data: bytes, clock: Clock) -> None:
        """Follow an AuthorizationConfiguration from now on. Raises ConfigurationError, and changes nothing then."""
        from shirube.apiserver.authorization.chain import Chain

        self._chain = Chain(data, self._node, self._rbac, clock)

    def refusal(self, a: Attributes, decision: Decision) -> errors.ApiError:
        """The 403 for a request that was not allowed."""
        why = _escape(forbidden_message(a))
        if decision.reason:
            why += ": " + decision.reason
        resource = f"{a.resource}.{a.group}" if a.group else a.resource
        return errors.forbidden(resource if a.is_resource else "", a.name, why)

    def held_rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """(every RBAC rule that the user holds in the namespace ("" = cluster-wide), missing roles)."""
        return self._rbac.rules(user, namespace)

    def role_rules(self, kind: str, namespace: str, name: str) -> list[Rule] | None:
        """The rules of a Role or ClusterRole; None when there is no such role."""
        return self._rbac.role_rules(kind, namespace, name)

    def rules_for(self, user: User, namespace: str) -> dict[str, Any]:
        """The `status` of a SelfSubjectRulesReview."""
        rules, missing = self.held_rules(user, namespace)
        status: dict[str, Any] = {"resourceRules": [], "nonResourceRules": [], "incomplete": False}
        for rule in rules:
            if rule.get("resources"):
                status["resourceRules"].append({k: list(rule[k]) for k in _RESOURCE_KEYS if rule.get(k)})
            if rule.get("nonResourceURLs"):
                status["nonResourceRules"].append({k: list(rule[k]) for k in _URL_KEYS if rule.get(k)})
        problems = list(missing)
        if self._node.is_node(user):
            problems.append("node authorizer does not support user rule resolution")
        if self._chain is not None and self._chain.asks_webhooks:
            problems.append("webhook authorizer does not support user rule resolution")
        if problems:
            status["incomplete"] = True
            status["evaluationError"] = ", ".join(problems)
        return status


def _among_all(reader: Reader) -> PodsOnNode:
    def pods_on_node(node: str, namespace: str) -> Iterator[dict[str, Any]]:
        return (p for p in reader.list(PODS, namespace) if (p.get("spec") or {}).get("nodeName") == node)

    return pods_on_node


def forbidden_message(a: Attributes) -> str:
    who = f'User "{a.user.name}"'
    if not a.is_resource:
        return f'{who} cannot {a.verb} path "{a.path}"'
    resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    where = f'in the namespace "{a.namespace}"' if a.namespace else "at the cluster scope"
    return f'{who} cannot {a.verb} resource "{resource}" in API group "{a.group}" {where}'


def _escape(text: str) -> str:
    # As upstream: a browser may show this.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
