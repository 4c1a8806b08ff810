"""All controllers together on the real API server, with RBAC: what people see of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import gone, items, kubelet
from tests.controllers.live import Live, live
from tests.controllers.test_deployment import deployment, finished
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import (
    CLUSTERROLES,
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICEACCOUNTS,
    SERVICES,
)
from shirube.client.rest import Client


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


def web(replicas: int = 2) -> dict[str, Any]:
    found = deployment(replicas=replicas)
    found["spec"]["template"]["spec"]["containers"] = [{"name": "c", "image": "hello"}]
    return found


async def test_from_a_namespace_to_a_service_and_back(house: Live):
    admin = house.admin
    async with house.controllers(), kubelet(admin):
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await admin.create(NAMESPACES, {"metadata": {"name": "team"}})

        async def furnished() -> bool:
            accounts = await admin.list(SERVICEACCOUNTS, "team")
            maps = await admin.list(CONFIGMAPS, "team")
            return bool(accounts["items"] and maps["items"])

        await until(furnished)
        await admin.create(DEPLOYMENTS, web())
        service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await admin.create(SERVICES, service, "default")
        found = await until(lambda: finished(admin), 10)
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"

        async def behind() -> bool:
            slices = await admin.list(ENDPOINTSLICES, "default", label_selector="kubernetes.io/service-name=web")
            old = await admin.get(ENDPOINTS, "web", "default")
            ready = [e for s in slices["items"] for e in s["endpoints"] or () if e["conditions"]["ready"]]
            return len(ready) == 2 and bool(old.get("subsets"))

        await until(behind)
        assert (await admin.get(NODES, "n1"))["spec"]["podCIDR"] == "10.244.0.0/24"

        template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "1"}}}}}
        await admin.patch(DEPLOYMENTS, "web", template, "default")
        await until(lambda: finished(admin), 10)
        assert len((await admin.list(REPLICASETS, "default"))["items"]) == 2

        await admin.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await _finish_pods(admin, "default")
        await gone(admin, DEPLOYMENTS, "web", "default")
        await until(lambda: _pods(admin, 0))
    refused = {entry for entry in house.tokens.log if entry[2] in (401, 403)}
    assert not refused, "each controller has the rights that it needs"


async def _pods(client: Client, n: int) -> bool:
    return len(await items(client, PODS)) == n


async def _finish_pods(client: Client, namespace: str) -> None:
    """What a kubelet does at the end of a pod: confirm that it is gone."""

    async def confirm() -> bool:
        pods = (await client.list(PODS, namespace))["items"]
        for pod in pods:
            if pod["metadata"].get("deletionTimestamp"):
                try:
                    await client.delete(PODS, pod["metadata"]["name"], namespace, grace_period_seconds=0)
                except ApiError as error:
                    assert error.code == 404
        return not pods

    await until(confirm, 10)


async def test_a_namespace_goes_with_all_that_is_in_it(house: Live):
    admin = house.admin
    async with house.controllers():
        await admin.create(NAMESPACES, {"metadata": {"name": "team"}})
        await until(lambda: items(admin, SERVICEACCOUNTS, "team"))
        await admin.create(CONFIGMAPS, {"metadata": {"name": "c"}}, "team")
        await admin.delete(NAMESPACES, "team")
        await gone(admin, NAMESPACES, "team")
        assert not await items(admin, CONFIGMAPS, "team")


async def test_orphans_stay(house: Live):
    admin = house.admin
    async with house.controllers():
        await admin.create(DEPLOYMENTS, web())
        await until(lambda: _pods(admin, 2))
        await admin.delete(DEPLOYMENTS, "web", "default", propagation_policy="Orphan")
        await gone(admin, DEPLOYMENTS, "web", "default")
        (replica_set,) = (await admin.list(REPLICASETS, "default"))["items"]
        assert not replica_set["metadata"].get("ownerReferences")


async def test_a_restart_changes_nothing(house: Live):
    """Twice started, the second time on a finished world: not a single write but for its own credentials."""
    admin = house.admin
    async with house.controllers(), kubelet(admin):
        await admin.create(DEPLOYMENTS, web())
        await until(lambda: finished(admin), 10)
    house.tokens.log.clear()
    async with house.controllers() as controllers:
        for controller in controllers:
            for informer in controller.informers:
                await informer.wait_for_cache_sync()

        async def quiet() -> bool:
            return all(c.queue.idle for c in controllers)

        for _ in range(50):
            await until(quiet)
    writes = [entry for entry in house.tokens.log if entry[0] != "GET"]
    assert writes == []


async def test_admin_gathers_what_is_labelled_for_it(house: Live):
    async with house.controllers():
        await house.admin.create(
            CLUSTERROLES,
            {
                "metadata": {
                    "name": "crd-admin",
                    "labels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"},
                },
                "rules": [{"apiGroups": ["x.io"], "resources": ["xs"], "verbs": ["get"]}],
            },
        )

        async def gathered() -> bool:
            rules = (await house.admin.get(CLUSTERROLES, "admin"))["rules"]
            return any(r["apiGroups"] == ["x.io"] for r in rules)

        await until(gathered)
