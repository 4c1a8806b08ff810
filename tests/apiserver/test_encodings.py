"""Tables, metadata and protobuf: other forms of the same objects, in and out."""

from __future__ import annotations

import pytest

from shirube.api import protobuf

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def configmap(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_tables(api):
    await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    listed = (await api.get(CONFIGMAPS, accept=TABLE)).json
    assert (listed["kind"], listed["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [c["name"] for c in listed["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert listed["rows"][0]["cells"][:2] == ["a", 1]
    assert listed["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert listed["metadata"]["resourceVersion"]
    one = (await api.get(f"{CONFIGMAPS}/a?includeObject=Object", accept=TABLE)).json
    assert one["rows"][0]["object"]["data"] == {"x": "1"}
    assert (await api.get(f"{CONFIGMAPS}/none", accept=TABLE)).json["kind"] == "Status"
    limited = (await api.get("/api/v1/configmaps?limit=1", accept=TABLE)).json
    assert limited["metadata"]["continue"]


async def test_tables_in_a_watch_name_their_columns_once(api):
    async with api.watch(CONFIGMAPS, accept=TABLE) as events:
        await api.ok("POST", CONFIGMAPS, configmap("a"))
        await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", x="1"))
        first, second = await events.next(), await events.next()
    assert first[1]["columnDefinitions"]
    assert (second[0], second[1]["columnDefinitions"]) == ("MODIFIED", None)
    assert second[1]["rows"][0]["cells"][:2] == ["a", 1]


async def test_protobuf_in_and_out(api):
    raw = protobuf.encode(configmap("a", x="1"))
    made = await api.call("POST", CONFIGMAPS, raw=raw, content_type=PROTOBUF, accept=f"{PROTOBUF},application/json")
    assert (made.status, made.content_type) == (201, PROTOBUF)
    as_json = (await api.get(f"{CONFIGMAPS}/a")).json
    assert protobuf.decode(made.raw)["data"] == {"x": "1"}
    got = await api.get(f"{CONFIGMAPS}/a", accept=PROTOBUF)
    assert protobuf.decode(got.raw)["metadata"]["uid"] == as_json["metadata"]["uid"]
    missing = await api.get(f"{CONFIGMAPS}/none", accept=PROTOBUF)
    assert protobuf.decode(missing.raw)["reason"] == "NotFound"
    bad = await api.call("POST", CONFIGMAPS, raw=raw[:-9], content_type=PROTOBUF)
    assert bad.status == 400
    other = protobuf.encode({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    assert (await api.call("POST", CONFIGMAPS, raw=other, content_type=PROTOBUF)).status == 400


@pytest.mark.parametrize("query", ["", "?limit=500&resourceVersion=0", "?resourceVersionMatch=Exact&resourceVersion="])
async def test_protobuf_lists(api, query):
    for i in range(5):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{i}", x="y" * 100_000))
    if query.endswith("="):
        query += (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    response = await api.send("GET", CONFIGMAPS + query, accept=PROTOBUF)
    chunks = [c async for c in response.body]
    assert len(chunks) > 1
    listed = protobuf.decode(b"".join(chunks))
    assert listed["kind"] == "ConfigMapList"
    assert [o["metadata"]["name"] for o in listed["items"]] == [f"c{i}" for i in range(5)]
    assert listed["metadata"]["resourceVersion"]


async def test_protobuf_watch(api):
    response = await api.send("GET", f"{CONFIGMAPS}?watch=1", accept=PROTOBUF)
    assert response.content_type == f"{PROTOBUF};stream=watch"
    chunks = response.body
    assert await anext(chunks) == b""
    await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    data = await anext(chunks)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    kind, obj = protobuf.decode_watch_event(data[4:])
    assert (kind, obj["data"]) == ("ADDED", {"x": "1"})
    await chunks.aclose()


async def test_delete_options_in_protobuf(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a"))
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}}
    refused = await api.call("DELETE", f"{CONFIGMAPS}/a", raw=protobuf.encode(options), content_type=PROTOBUF)
    assert refused.status == 409
    options["preconditions"]["uid"] = made["metadata"]["uid"]
    done = await api.call("DELETE", f"{CONFIGMAPS}/a", raw=protobuf.encode(options), content_type=PROTOBUF)
    assert done.status == 200


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for Table transformation should "
    "return a 406 for a backend which does not implement metadata [Conformance]"
)
async def test_what_is_only_created_has_no_table(api):
    url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    refused = await api.post(url, review, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert (refused.status, refused.json["reason"]) == (406, "NotAcceptable")
    assert (await api.post(url, review, accept=TABLE)).json["kind"] == "SelfSubjectAccessReview"


async def test_old_apis_say_so(api):
    answer = await api.get("/api/v1/namespaces/default/endpoints")
    assert answer.warnings == ['299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"']
