"""The authorisers of an AuthorizationConfiguration, asked in order: the first with an opinion decides."""

from __future__ import annotations

from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization import configuration
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.authorization.node import NodeAuthorizer
from shirube.apiserver.authorization.rbac import Rbac
from shirube.apiserver.authorization.webhook import Webhook
from shirube.foundation.clock import Clock


class Chain:
    def __init__(self, data: bytes, node: NodeAuthorizer, rbac: Rbac, clock: Clock) -> None:
        """Raises ConfigurationError."""
        self._node, self._rbac = node, rbac
        self._authorizers: list[str | Webhook] = [
            entry.type if entry.webhook is None else Webhook(entry.webhook, clock) for entry in configuration.read(data)
        ]

    @property
    def asks_webhooks(self) -> bool:
        return any(isinstance(one, Webhook) for one in self._authorizers)

    async def authorize(self, a: Attributes) -> Decision:
        reasons: list[str] = []
        for one in self._authorizers:
            decision = await one.authorize(a) if isinstance(one, Webhook) else self._built_in(one, a)
            if decision is None:
                continue
            if decision.allowed or decision.final:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))

    def _built_in(self, kind: str, a: Attributes) -> Decision | None:
        if kind == "Node":
            return self._node.authorize(a)
        if kind == "RBAC":
            return self._rbac.authorize(a)
        if kind == "AlwaysAllow":
            return Decision(True)
        return Decision(False, "Everything is forbidden.")
