from __future__ import annotations

from typing import Any

from tests.client.waiting import until
from tests.controllers.conftest import House

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
