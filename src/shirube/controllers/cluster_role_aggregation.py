"""ClusterRoles that are put together from others (`aggregationRule`): admin, edit, view and people's own."""

from __future__ import annotations

from collections.abc import Iterable

from shirube.api.gvr import CLUSTERROLES
from shirube.api.selectors import label_selector_from
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers.context import Context

_ACCOUNT = "clusterrole-aggregation-controller"


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[Object]:
    """Rules of all roles that a selector matches, by name of role, each rule once."""
    selectors = [label_selector_from(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or ()]
    rules: list[Object] = []
    for other in sorted(roles, key=key_of):
        if other["metadata"]["name"] == role["metadata"]["name"]:
            continue
        labels = other["metadata"].get("labels") or {}
        if any(selector.matches(labels) for selector in selectors):
            rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


class ClusterRoleAggregationController(Controller[str]):
    name = "clusterrole-aggregation-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._roles = context.informer(CLUSTERROLES)
        super().__init__(self._roles)
        self._client = context.client_of(_ACCOUNT)
        self._roles.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)

    def _changed(self, _: Object) -> None:
        for role in self._roles.store:
            if role.get("aggregationRule"):
                self.queue.add(key_of(role))

    async def reconcile(self, key: str) -> None:
        role = self._roles.store.get(None, key)
        if role is None or not role.get("aggregationRule"):
            return
        rules = aggregated_rules(role, self._roles.store)
        if rules != (role.get("rules") or []):
            await self._client.update(CLUSTERROLES, {**role, "rules": rules})
