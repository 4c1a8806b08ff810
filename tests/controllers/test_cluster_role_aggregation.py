from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import House
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CLUSTERROLES
from shirube.client.rest import Client
from shirube.controllers.cluster_role_aggregation import ClusterRoleAggregationController, aggregated_rules


def role(name: str, rules: list[Any], **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "rules": rules}


ADMIN = {**role("admin", []), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "admin"}}]}}


def test_rules_are_joined_by_name_each_once():
    pods, secrets = {"resources": ["pods"]}, {"resources": ["secrets"]}
    roles = [role("b", [pods], to="admin"), role("a", [secrets, pods], to="admin"), role("c", [{"x": 1}])]
    assert aggregated_rules(ADMIN, roles) == [secrets, pods]


async def test_a_new_role_is_taken_in(house: House, client: Client):
    await client.create(CLUSTERROLES, ADMIN)
    async with house.running(ClusterRoleAggregationController):
        await client.create(CLUSTERROLES, role("more", [{"verbs": ["get"]}], to="admin"))

        async def taken() -> bool:
            return (await client.get(CLUSTERROLES, "admin"))["rules"] == [{"verbs": ["get"]}]

        await until(taken)


def test_rules_come_in_the_order_of_the_selectors():
    """As upstream: people compare what two clusters show."""
    selectors = [{"matchLabels": {"to": "second"}}, {"matchLabels": {"to": "first"}}]
    whole = {**role("whole", []), "aggregationRule": {"clusterRoleSelectors": selectors}}
    roles = [role("a", [{"x": 1}], to="first"), role("b", [{"x": 2}], to="second"), role("whole", [{"x": 3}])]
    assert aggregated_rules(whole, roles) == [{"x": 2}, {"x": 1}]


async def test_the_rules_are_owned_by_who_puts_them_together(tmp_path: Path):
    """Whoever applies the role again, without rules, takes none away."""
    async with live(tmp_path) as house:
        admin = house.admin
        whole = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "whole"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "whole"}}]},
        }
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
        async with house.controllers(only="clusterrole-aggregation-controller"):
            await admin.patch(CLUSTERROLES, "whole", whole, type="apply", field_manager="me")
            part = {**role("part", [rule], to="whole"), "kind": "ClusterRole"}
            await admin.create(CLUSTERROLES, part)

            async def taken() -> bool:
                return (await admin.get(CLUSTERROLES, "whole")).get("rules") == [rule]

            await until(taken, 10)
            labelled = {**whole, "metadata": {"name": "whole", "labels": {"x": "y"}}}
            found = await admin.patch(CLUSTERROLES, "whole", labelled, type="apply", field_manager="me")
            assert found["rules"] == [rule]
            managers = {m["manager"]: m["operation"] for m in found["metadata"]["managedFields"]}
            assert managers == {"me": "Apply", "clusterrole-aggregation-controller": "Apply"}
            await admin.delete(CLUSTERROLES, "part")

            async def given_up() -> bool:
                return not (await admin.get(CLUSTERROLES, "whole")).get("rules")

            await until(given_up, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


@pytest.mark.parametrize("stale", [[], [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]])
async def test_rules_that_nobody_gives_any_more_go(tmp_path: Path, stale: list[Any]):
    """Also those that somebody wrote into the role himself; and a role that is deleted does not come back."""
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    whole = {**role("whole", stale), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "whole"}}]}}
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(CLUSTERROLES, whole)
        await admin.create(CLUSTERROLES, role("part", [pods], to="whole"))

        def has(rules: list[Any]) -> Any:
            async def check() -> bool:
                return ((await admin.get(CLUSTERROLES, "whole")).get("rules") or []) == rules

            return check

        async with house.controllers(only="clusterrole-aggregation-controller") as controllers:
            await until(has([pods]), 10)
            await admin.delete(CLUSTERROLES, "part")
            await until(has([]), 10)
            known = controllers[-1]._roles.store.get(None, "whole")
            await admin.delete(CLUSTERROLES, "whole")

            class Behind:  # its cache does not know yet
                def get(self, _: Any, key: str) -> Any:
                    return {**known, "rules": [pods]} if key == "whole" else None

                def __iter__(self) -> Any:
                    return iter([])

            controllers[-1]._roles = type("Roles", (), {"store": Behind()})()
            with pytest.raises(ApiError):
                await controllers[-1].reconcile("whole")
            with pytest.raises(ApiError, match="not found"):
                await admin.get(CLUSTERROLES, "whole")
