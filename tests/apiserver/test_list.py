"""GET and LIST: which state, which objects, in pieces, in which form."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from shirube.apiserver import continuation, listing

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def configmap(name: str, labels: dict | None = None, **data: str) -> dict:
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


def names(answer) -> list[str]:
    return [o["metadata"]["name"] for o in answer.json["items"]]


@pytest.fixture
async def ten(api):
    for i in range(10):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{i}", {"n": str(i), "odd": str(i % 2)}))
    return api


async def test_whole_lists(ten):
    answer = await ten.get(CONFIGMAPS)
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(answer) == [f"c{i}" for i in range(10)]
    everywhere = await ten.get("/api/v1/configmaps")
    assert set(names(everywhere)) > set(names(answer))
    assert (await ten.get("/api/v1/namespaces/nowhere/configmaps")).json["items"] == []


async def test_in_pieces(ten):
    found, token, pieces = [], "", 0
    while True:
        answer = await ten.get(f"{CONFIGMAPS}?limit=4&continue={token}")
        found += names(answer)
        pieces += 1
        meta = answer.json["metadata"]
        if pieces == 1:
            assert meta["remainingItemCount"] == 6
            await ten.ok("POST", CONFIGMAPS, configmap("c00"))
            await ten.ok("DELETE", f"{CONFIGMAPS}/c9")
        token = meta.get("continue", "")
        if not token:
            break
    assert found == [f"c{i}" for i in range(10)]  # all pieces show one moment
    assert pieces == 3


async def test_pieces_with_a_selector(ten):
    first = await ten.get(f"{CONFIGMAPS}?limit=2&labelSelector=odd=1")
    assert names(first) == ["c1", "c3"]
    assert "remainingItemCount" not in first.json["metadata"]
    second = await ten.get(f"{CONFIGMAPS}?limit=2&labelSelector=odd=1&continue={first.json['metadata']['continue']}")
    assert names(second) == ["c5", "c7"]
    third = await ten.get(f"{CONFIGMAPS}?limit=2&labelSelector=odd=1&continue={second.json['metadata']['continue']}")
    assert names(third) == ["c9"]
    assert "continue" not in third.json["metadata"]


async def test_tokens_expire_and_say_how_to_go_on(ten):
    token = (await ten.get(f"{CONFIGMAPS}?limit=4")).json["metadata"]["continue"]
    found = continuation.decode(token)
    old = continuation.encode(found.revision, found.start_after, found.issued - continuation.LIFETIME - 10)
    expired = await ten.get(f"{CONFIGMAPS}?limit=4&continue={old}")
    assert (expired.status, expired.json["reason"]) == (410, "Expired")
    assert expired.message == continuation.EXPIRED
    await ten.ok("POST", CONFIGMAPS, configmap("c99"))
    rest = await ten.get(f"{CONFIGMAPS}?continue={expired.json['metadata']['continue']}")
    assert names(rest) == ["c4", "c5", "c6", "c7", "c8", "c9", "c99"]


async def test_compacted_history_expires_tokens(ten):
    token = (await ten.get(f"{CONFIGMAPS}?limit=4")).json["metadata"]["continue"]
    await ten.ok("POST", CONFIGMAPS, configmap("more"))
    await ten.context.storage.compact(await ten.context.storage.current_revision())
    assert (await ten.get(f"{CONFIGMAPS}?continue={token}")).status == 410


@pytest.mark.parametrize("token", ["%%%", "abc", "eyJ2IjoieCJ9", "e30", "bnVsbA"])
async def test_made_up_tokens(api, token):
    assert (await api.get(f"{CONFIGMAPS}?continue={token}")).status == 400


async def test_resource_versions(ten):
    now = (await ten.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    await ten.ok("POST", CONFIGMAPS, configmap("later"))
    exact = await ten.get(f"{CONFIGMAPS}?resourceVersion={now}&resourceVersionMatch=Exact")
    assert "later" not in names(exact)
    assert exact.json["metadata"]["resourceVersion"] == now
    legacy = await ten.get(f"{CONFIGMAPS}?resourceVersion={now}&limit=500")
    assert "later" not in names(legacy)
    for query in (
        "",
        "?resourceVersion=0",
        f"?resourceVersion={now}",
        f"?resourceVersion={now}&resourceVersionMatch=NotOlderThan",
    ):
        assert "later" in names(await ten.get(CONFIGMAPS + query)), query


async def test_resource_versions_that_cannot_be(ten, monkeypatch):
    monkeypatch.setattr("shirube.apiserver.caches.WAIT_FOR_REVISION", 0.05)
    token = (await ten.get(f"{CONFIGMAPS}?limit=4")).json["metadata"]["continue"]
    for query, status in (
        ("resourceVersion=x", 422),
        ("resourceVersion=-1", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=5&resourceVersionMatch=Newest", 422),
        (f"continue={token}&resourceVersion=5", 400),
        (f"continue={token}&resourceVersion=5&resourceVersionMatch=Exact", 422),
        ("limit=many", 400),
        ("resourceVersion=999999", 504),
        ("resourceVersion=999999&resourceVersionMatch=Exact", 504),
    ):
        answer = await ten.get(f"{CONFIGMAPS}?{query}")
        assert answer.status == status, (query, answer.raw)
    future = await ten.get(f"{CONFIGMAPS}?resourceVersion=999999")
    assert future.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_an_exact_revision_that_is_forgotten(ten):
    before = (await ten.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    await ten.ok("POST", CONFIGMAPS, configmap("later"))
    await ten.context.storage.compact(await ten.context.storage.current_revision())
    answer = await ten.get(f"{CONFIGMAPS}?resourceVersion={before}&resourceVersionMatch=Exact")
    assert (answer.status, answer.message) == (410, listing.TOO_OLD)


async def test_selectors(ten):
    assert names(await ten.get(f"{CONFIGMAPS}?labelSelector=n%20in%20(1,2)")) == ["c1", "c2"]
    assert names(await ten.get(f"{CONFIGMAPS}?fieldSelector=metadata.name=c3")) == ["c3"]
    assert names(await ten.get("/api/v1/configmaps?fieldSelector=metadata.name=c3")) == ["c3"]
    assert names(await ten.get(f"{CONFIGMAPS}?fieldSelector=metadata.name=c3&labelSelector=odd=0")) == []
    assert len(names(await ten.get(f"{CONFIGMAPS}?fieldSelector=metadata.name!=c3"))) == 9
    assert (await ten.get(f"{CONFIGMAPS}?labelSelector=a%20in%20b")).status == 400
    unknown = await ten.get(f"{CONFIGMAPS}?fieldSelector=data.x=1")
    assert unknown.status == 400
    only = 'only "metadata.name", "metadata.namespace"'
    assert unknown.message == f'"data.x" is not a known field selector: {only}'
    unknown = await ten.get("/api/v1/pods?fieldSelector=data.x=1")
    assert (unknown.status, unknown.message) == (400, "field label not supported: data.x")
    unknown = await ten.get("/apis/batch/v1/jobs?fieldSelector=data.x=1")
    assert unknown.message == 'field label "data.x" not supported for Job'


async def test_pods_by_node(pods):
    path = "/api/v1/namespaces/default/pods"
    for i in range(3):
        spec = {
            "containers": [{"name": "c", "image": "x"}],
            "nodeName": f"n{i % 2}",
            "automountServiceAccountToken": False,
        }
        await pods.ok("POST", path, {"metadata": {"name": f"p{i}"}, "spec": spec})
    assert names(await pods.get("/api/v1/pods?fieldSelector=spec.nodeName=n0")) == ["p0", "p2"]
    assert names(await pods.get("/api/v1/pods?fieldSelector=spec.nodeName=n0,status.phase=Pending")) == ["p0", "p2"]


async def test_long_lists_leave_in_chunks_and_compress(api):
    for i in range(12):
        await api.ok("POST", CONFIGMAPS, configmap(f"big{i:02}", x="y" * 60_000))
    response = await api.send("GET", CONFIGMAPS)
    chunks = [c async for c in response.body]
    assert len(chunks) > 2
    assert max(map(len, chunks)) < 400_000
    squeezed = await api.get(CONFIGMAPS, accept_encoding="gzip")
    assert squeezed.header("content-encoding") == ["gzip"]
    assert gzip.decompress(squeezed.raw) == b"".join(chunks)


async def test_get_at_a_state(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
    version = made["metadata"]["resourceVersion"]
    await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", x="2"))
    assert (await api.get(f"{CONFIGMAPS}/a?resourceVersion={version}")).json["data"] == {"x": "2"}
    assert (await api.get(f"{CONFIGMAPS}/a?atRevision={version}")).json == made
    assert (await api.get(f"{CONFIGMAPS}/a?atRevision={int(version) - 1}")).status == 404
    assert (await api.get(f"{CONFIGMAPS}/a?resourceVersion=zero")).status == 422


async def test_head_is_a_get(api):
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    assert (await api.call("HEAD", f"{CONFIGMAPS}/a")).status == 200
    assert (await api.call("HEAD", f"{CONFIGMAPS}/b")).status == 404


async def test_events_are_selected_by_the_names_of_either_version(api):
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Why",
        "message": "because",
    }
    await api.ok("POST", "/api/v1/namespaces/default/events", body)
    old = "/api/v1/events?fieldSelector=involvedObject.name"
    new = "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name"
    assert names(await api.get(f"{old}=p")) == names(await api.get(f"{new}=p")) == ["e"]
    assert names(await api.get(f"{old}=q")) == names(await api.get(f"{new}=q")) == []


async def test_selecting_from_many_is_one_moment_in_slices(api, monkeypatch):
    monkeypatch.setattr(listing, "YIELD_EVERY", 4)
    for i in range(20):
        await api.ok("POST", CONFIGMAPS, {"metadata": {"name": f"c{i:02}", "labels": {"odd": str(i % 2)}}})
    target = f"{CONFIGMAPS}?labelSelector=odd%3D1"
    found, _ = await asyncio.gather(api.get(target), api.delete(f"{CONFIGMAPS}/c19"))
    assert names(found) in ([f"c{i:02}" for i in range(1, 20, 2)], [f"c{i:02}" for i in range(1, 18, 2)])
    page = await api.get(f"{CONFIGMAPS}?labelSelector=odd%3D0&limit=3")
    assert names(page) == ["c00", "c02", "c04"]
    rest: list[str] = []
    while token := page.json["metadata"].get("continue"):
        page = await api.get(f"{CONFIGMAPS}?labelSelector=odd%3D0&limit=3&continue={token}")
        rest += names(page)
    assert rest == [f"c{i:02}" for i in range(6, 20, 2)]
