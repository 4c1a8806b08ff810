"""An aggregated server behind the front door: who it hears from, what clients see of it."""

from __future__ import annotations

import asyncio

from shirube.apiserver.aggregation import availability
from shirube.serving import http_client

from .conftest import GROUP, ROOT, VERSION, register, served

APISERVICE = f"/apis/apiregistration.k8s.io/v1/apiservices/{VERSION}.{GROUP}"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def condition(api):
    found = await api.ok("GET", APISERVICE)
    return found["status"]["conditions"][0]


async def test_requests_are_passed_on_with_the_users_identity(front, wardle):
    await register(front, wardle)
    assert (await front.get(f"{ROOT}/namespaces/default/flunders")).status == 503
    assert await availability.check(front.context)
    assert (await condition(front))["reason"] == "Passed"
    target = f"{ROOT}/namespaces/default/flunders/a?x=1%2F2"
    headers = {"authorization": "Bearer secret", "x_remote_user": "evil", "x_remote_group": "system:masters"}
    answer = await front.put(target, {"a": 1}, **headers)
    assert answer.status == 200 and answer.json["body"] == '{"a":1}'
    assert answer.header("x-mark") == ["1"]
    request = wardle.requests[-1]
    assert (request.method, request.path, request.query) == ("PUT", f"{ROOT}/namespaces/default/flunders/a", "x=1%2F2")
    assert request.headers.get("authorization") is None
    assert request.headers.get_all("x-remote-user") == ["admin"]
    assert request.headers.get_all("x-remote-group") == ["system:masters", "system:authenticated"]
    assert request.headers.get("host") == f"wardle.default.svc:{wardle.port}"
    assert request.peer.certificate is not None


async def test_discovery_is_merged(front, wardle):
    await register(front, wardle)
    groups = (await front.get("/apis")).json["groups"]
    assert GROUP not in [g["name"] for g in groups]
    await availability.check(front.context)
    groups = (await front.get("/apis")).json["groups"]
    assert [g for g in groups if g["name"] == GROUP] == [
        {
            "name": GROUP,
            "versions": [{"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}],
            "preferredVersion": {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION},
        }
    ]
    assert (await front.get(f"/apis/{GROUP}")).json["kind"] == "APIGroup"
    assert (await front.get(ROOT)).json["resources"][0]["name"] == "flunders"
    items = (await front.get("/apis", accept=V2)).json["items"]
    (item,) = [i for i in items if i["metadata"]["name"] == GROUP]
    (version,) = item["versions"]
    assert version["freshness"] == "Current"
    (resource,) = version["resources"]
    assert resource["responseKind"] == {"group": GROUP, "version": VERSION, "kind": "Flunder"}
    assert resource["subresources"][0]["subresource"] == "status"
    paths = (await front.get("/openapi/v3")).json["paths"]
    assert paths[f"apis/{GROUP}/{VERSION}"]["serverRelativeURL"] == f"/openapi/v3{ROOT}?hash=1"
    assert "apis/apps/v1" in paths
    document = await front.get(f"/openapi/v3{ROOT}?hash=1")
    assert "Flunder" in document.json["components"]["schemas"]


async def test_conditions_say_what_is_wrong(front, wardle):
    await register(front, wardle)
    await front.ok("DELETE", "/api/v1/namespaces/default/services/wardle")
    assert not await availability.check(front.context)
    found = await condition(front)
    assert (found["status"], found["reason"]) == ("False", "ServiceNotFound")
    assert found["message"] == 'service/wardle in "default" is not present'
    ports = [{"port": wardle.port}]
    await front.ok(
        "POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "wardle"}, "spec": {"ports": ports}}
    )
    await availability.check(front.context)
    assert (await condition(front))["reason"] == "MissingEndpoints"
    await front.ok("DELETE", "/api/v1/namespaces/default/services/wardle")
    service = {"metadata": {"name": "wardle"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    await front.ok("POST", "/api/v1/namespaces/default/services", service)
    wardle.healthy = False
    await availability.check(front.context)
    found = await condition(front)
    assert found["reason"] == "FailedDiscoveryCheck" and found["message"].endswith(": 500")
    wardle.healthy = True
    await availability.check(front.context)
    assert (await condition(front))["status"] == "True"
    await front.ok("DELETE", APISERVICE)
    assert (await front.get(f"{ROOT}/namespaces/default/flunders")).status == 404


async def test_upgrades_pass_through(front, wardle):
    await register(front, wardle)
    await availability.check(front.context)
    async with served(front.server.handle) as port:
        headers = [("Connection", "Upgrade"), ("Upgrade", "echo")]
        status, _, connection = await http_client.upgrade(
            "127.0.0.1", port, "GET", f"{ROOT}/namespaces/default/flunders/a/shell", headers, None, timeout=5
        )
        assert status == 101
        async with asyncio.timeout(5):
            await connection.write(b"hello")
            assert await connection.read() == b"HELLO"
        await connection.close()
