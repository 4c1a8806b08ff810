"""An aggregated server behind the front door: who it hears from, what clients see of it."""

from __future__ import annotations

import asyncio

from shirube.apiserver.aggregation import Aggregation, availability, connecting
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


async def test_a_server_that_never_answered_is_told_as_stale(front, wardle):
    """Who would delete everything of a namespace has to know that it does not see everything."""

    async def versions() -> list[dict]:
        items = (await front.get("/apis", accept=V2)).json["items"]
        return [v for i in items if i["metadata"]["name"] == GROUP for v in i["versions"]]

    wardle.healthy = False
    await register(front, wardle)
    assert not await availability.check(front.context)
    assert await versions() == [{"version": VERSION, "resources": [], "freshness": "Stale"}]
    assert GROUP not in [g["name"] for g in (await front.get("/apis")).json["groups"]]
    wardle.healthy = True
    await availability.check(front.context)
    assert [(v["freshness"], len(v["resources"])) for v in await versions()] == [("Current", 1)]


async def test_one_endpoint_of_several_is_enough(front, wardle, monkeypatch):
    """Nine of ten lead to nowhere; the server is available, since one answers."""
    await register(front, wardle)
    await front.ok("DELETE", "/api/v1/namespaces/default/services/wardle")
    spec = {"ports": [{"port": wardle.port, "targetPort": wardle.port}]}
    await front.ok("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "wardle"}, "spec": spec})
    tried = iter([ConnectionRefusedError("connection refused")] * 3)
    asked = availability.fetch

    async def fetch(*arguments, **more):
        if (error := next(tried, None)) is not None:
            raise error
        return await asked(*arguments, **more)

    piece = {
        "metadata": {"name": "w", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "FQDN",
        "endpoints": [{"addresses": ["wardle.example.com"], "conditions": {"ready": True}}],
        "ports": [{"port": wardle.port, "name": ""}],
    }
    await front.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
    place = connecting.place
    monkeypatch.setattr(connecting, "place", lambda *who: place(*who)._replace(host="localhost"))
    availability.fetch = fetch
    try:
        assert await availability.check(front.context)
    finally:
        availability.fetch = asked


async def test_openapi_v2_is_merged(front, wardle):
    """Their paths and what they refer to; a name that means something else here gets a number."""
    pod = "io.k8s.api.core.v1.Pod"
    wardle.openapi_v2 = {
        "swagger": "2.0",
        "paths": {
            ROOT + "/": {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/List"}}}}},
            f"{ROOT}/flunders": {"get": {"responses": {"200": {"schema": {"$ref": f"#/definitions/{pod}"}}}}},
            "/apis/other/v1/things": {"get": {}},
        },
        "definitions": {
            "List": {"type": "object", "properties": {"a": {"$ref": f"#/definitions/{pod}"}}},
            pod: {"type": "object", "description": "not the one you know"},
            "Unused": {"type": "object"},
        },
    }
    before = (await front.get("/openapi/v2")).json
    await register(front, wardle)
    await availability.check(front.context)
    answer = await front.get("/openapi/v2")
    merged = answer.json
    assert set(merged["paths"]) - set(before["paths"]) == {f"{ROOT}/", f"{ROOT}/flunders"}
    assert set(merged["definitions"]) - set(before["definitions"]) == {"List", f"{pod}_v2"}
    assert merged["definitions"][pod] == before["definitions"][pod]
    assert merged["definitions"]["List"]["properties"]["a"] == {"$ref": f"#/definitions/{pod}_v2"}
    # Not asked again at once; and while it is unchanged they say so, and our document keeps its ETag.
    before_check = len(wardle.requests)
    await availability.check(front.context)
    assert {request.path for request in wardle.requests[before_check:]} == {ROOT}
    Aggregation.of(front.context).openapi_due.clear()
    await availability.check(front.context)
    asked = [request for request in wardle.requests if request.path == "/openapi/v2"]
    assert asked[-1].headers.get("if-none-match") == '"1"'
    assert (await front.get("/openapi/v2")).header("etag") == answer.header("etag")
    await front.ok("DELETE", APISERVICE)
    assert (await front.get("/openapi/v2")).json == before


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
    found = await condition(front)
    assert found["reason"] == "EndpointsNotFound"
    assert found["message"] == 'cannot find endpointslices for service/wardle in "default"'
    piece = {
        "metadata": {"name": "w", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.1.1"], "conditions": {"ready": False}}],
        "ports": [{"port": 1, "name": ""}],
    }
    await front.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
    await availability.check(front.context)
    found = await condition(front)
    assert found["reason"] == "MissingEndpoints"
    assert found["message"] == ('endpointslices for service/wardle in "default" have no addresses with port name ""')
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
            "127.0.0.1", port, "GET", f"{ROOT}/namespaces/default/flunders/a/shell", headers, None, timeout=60
        )
        assert status == 101
        async with asyncio.timeout(60):
            await connection.write(b"hello")
            assert await connection.read() == b"HELLO"
        await connection.close()


async def test_a_watch_begins_before_anything_happens(front, wardle):
    """The head of the answer does not wait for the first event."""
    await register(front, wardle)
    await availability.check(front.context)
    async with served(front.server.handle) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {ROOT}/namespaces/default/flunders?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            wardle.speak.set()
            assert b"{}" in await reader.readuntil(b"{}\n")
        writer.close()
        await writer.wait_closed()
