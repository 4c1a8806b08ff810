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
    """Rules of the roles that each selector matches, by selector and name of role, each rule once."""
    others = sorted((o for o in roles if o["metadata"]["name"] != role["metadata"]["name"]), key=key_of)
    rules: list[Object] = []
    for one in role["aggregationRule"].get("clusterRoleSelectors") or ():
        selector = label_selector_from(one)
        for other in others:
            if selector.matches(other["metadata"].get("labels") or {}):
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
            # Applied, so that whoever applies the rest of the role owns that, and this controller the rules. To this
            # very role: one that is deleted meanwhile does not come back.
            wanted = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": key, "uid": role["metadata"]["uid"]},
                "rules": rules,
            }
            await self._client.patch(
                CLUSTERROLES, key, wanted, type="apply", field_manager="clusterrole-aggregation-controller", force=True
            )
