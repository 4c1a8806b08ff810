from __future__ import annotations

from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, absent
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, NAMESPACES, PODS, SERVICEACCOUNTS
from shirube.client.rest import Client
from shirube.controllers.namespace import NamespaceController, Remains, conditions_of
from shirube.controllers.root_ca import RootCAController
from shirube.controllers.service_account import ServiceAccountController


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.served = [(PODS, "Pod", True), (CONFIGMAPS, "ConfigMap", True), (NAMESPACES, "Namespace", False)]
    return api


async def make_namespace(client: Client, name: str = "team") -> dict[str, Any]:
    return await client.create(
        NAMESPACES,
        {"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
    )


async def gone(client: Client, name: str = "team") -> bool:
    return await absent(client, NAMESPACES, name)


async def test_pods_go_first_then_the_rest_then_the_namespace(house: House, client: Client):
    await make_namespace(client)
    metadata = {"namespace": "team", "finalizers": ["test/hold"]}
    await client.create(PODS, {"metadata": {"name": "p", **metadata}, "spec": {}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "team"}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "default"}})
    async with house.running(NamespaceController):
        await client.delete(NAMESPACES, "team")

        async def told() -> bool:
            namespace = await client.get(NAMESPACES, "team")
            conditions = {c["type"]: c for c in namespace["status"].get("conditions", ())}
            remaining = conditions.get("NamespaceContentRemaining") or {}
            return remaining.get("message") == ("Some resources are remaining: pods. has 1 resource instances")

        await until(told)
        assert (await client.get(CONFIGMAPS, "c", "team"))["metadata"]["name"] == "c", "pods go first"
        await client.patch(PODS, "p", {"metadata": {"finalizers": None}}, "team")
        await until(lambda: gone(client))
    assert (await client.list(CONFIGMAPS))["items"][0]["metadata"]["namespace"] == "default"


async def test_nothing_else_goes_while_pods_cannot_be_deleted(house: House, client: Client, api: MemoryApi):
    await make_namespace(client)
    await client.create(PODS, {"metadata": {"name": "p", "namespace": "team"}, "spec": {}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "team"}})

    def fault(method: str, path: str) -> None:
        if method == "DELETE" and path.endswith("/pods"):
            raise ApiError(500, "InternalError", "a webhook says no")

    api.fault = fault
    async with house.running(NamespaceController):
        await client.delete(NAMESPACES, "team")

        async def told() -> bool:
            found = (await client.get(NAMESPACES, "team"))["status"].get("conditions") or ()
            return any("a webhook says no" in c["message"] for c in found)

        await until(told)
        assert (await client.get(CONFIGMAPS, "c", "team"))["metadata"]["name"] == "c"
        api.fault = None
        await until(lambda: gone(client))


def test_conditions_without_a_time_get_one():
    """Somebody has written them."""
    kind = "NamespaceContentRemaining"
    written = [{"type": kind, "status": "True", "reason": "x", "message": "y"}]
    (condition,) = [c for c in conditions_of(written, Remains(counts={"pods.": 1}), 0) if c["type"] == kind]
    assert condition["lastTransitionTime"] == "1970-01-01T00:00:00Z"


def test_conditions_keep_their_time_while_their_status_stays():
    first = conditions_of([], Remains(counts={"pods.": 2}), 0)
    second = conditions_of(first, Remains(counts={"pods.": 1}), 60)
    third = conditions_of(second, Remains(), 120)
    times = [
        next(c["lastTransitionTime"] for c in cs if c["type"] == "NamespaceContentRemaining")
        for cs in (first, second, third)
    ]
    assert times[0] == times[1] != times[2]
    assert conditions_of(third, Remains(), 180) == third


def test_what_cannot_be_discovered_is_named():
    found = Remains(discovery_failures=["metrics.k8s.io/v1beta1"])
    (condition,) = [c for c in conditions_of([], found, 0) if c["type"] == "NamespaceDeletionDiscoveryFailure"]
    assert (condition["status"], condition["reason"]) == ("True", "DiscoveryFailed")
    assert condition["message"] == (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        "metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"
    )


async def test_every_namespace_has_an_account_and_the_ca(house: House, client: Client, tmp_path):
    ca = tmp_path / "ca.crt"
    ca.write_text("CERTIFICATE")
    await make_namespace(client)
    context = house.context(root_ca=ca)
    async with house.running(ServiceAccountController, RootCAController, context=context):

        async def there() -> bool:
            try:
                await client.get(SERVICEACCOUNTS, "default", "team")
                found = await client.get(CONFIGMAPS, "kube-root-ca.crt", "team")
            except ApiError:
                return False
            return found["data"] == {"ca.crt": "CERTIFICATE"}

        await until(there)
        await client.delete(SERVICEACCOUNTS, "default", "team")
        await client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, "team")
        await until(there)
