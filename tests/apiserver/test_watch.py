"""WATCH: where it begins, what it tells, how it ends."""

from __future__ import annotations

import asyncio

from shirube.apiserver import watching

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def configmap(name: str, labels: dict | None = None, **data: str) -> dict:
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


async def test_a_life_in_events(api):
    start = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    async with api.watch(f"{CONFIGMAPS}?resourceVersion={start}") as events:
        made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
        assert await events.next() == ("ADDED", made)
        put = await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", x="2"))
        assert await events.next() == ("MODIFIED", put)
        await api.ok("DELETE", f"{CONFIGMAPS}/a")
        kind, last = await events.next()
        assert kind == "DELETED"
        assert last["data"] == {"x": "2"}
        assert int(last["metadata"]["resourceVersion"]) > int(put["metadata"]["resourceVersion"])


async def test_without_a_version_it_begins_with_what_there_is(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a"))
    for query in ("", "?resourceVersion=0"):
        async with api.watch(CONFIGMAPS + query) as events:
            assert await events.next() == ("ADDED", made)


async def test_it_resumes_without_gaps(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a"))
    for i in range(5):
        await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", x=str(i)))
    async with api.watch(f"{CONFIGMAPS}?resourceVersion={made['metadata']['resourceVersion']}") as events:
        seen = [(await events.next())[1]["data"]["x"] for _ in range(5)]
    assert seen == ["0", "1", "2", "3", "4"]


async def test_selectors_turn_changes_into_comings_and_goings(api):
    async with api.watch(f"{CONFIGMAPS}?labelSelector=in=yes") as events:
        await api.ok("POST", CONFIGMAPS, configmap("a", {"in": "no"}))
        await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", {"in": "yes"}))
        assert (await events.next())[0] == "ADDED"
        await api.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", {"in": "no"}))
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["labels"]) == ("DELETED", {"in": "yes"})


async def test_send_initial_events_ends_with_a_marked_bookmark(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(f"{CONFIGMAPS}?{query}") as events:
        assert await events.next() == ("ADDED", made)
        kind, mark = await events.next()
        assert kind == "BOOKMARK"
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
        assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")


async def test_send_initial_events_needs_its_match(api):
    for query in (
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "resourceVersionMatch=NotOlderThan",
    ):
        assert (await api.get(f"{CONFIGMAPS}?watch=true&{query}")).status == 422


async def test_bookmarks(api, monkeypatch):
    monkeypatch.setattr(watching, "BOOKMARK_INTERVAL", 0.05)
    async with api.watch(f"{CONFIGMAPS}?allowWatchBookmarks=true&labelSelector=none") as events:
        await api.ok("POST", CONFIGMAPS, configmap("a"))
        kind, mark = await events.next()
        assert kind == "BOOKMARK"
        assert list(mark["metadata"]) == ["resourceVersion", "creationTimestamp"]


async def test_timeouts_end_with_a_bookmark(api, monkeypatch):
    monkeypatch.setattr(watching, "timeout_of", lambda rc: 0.05)
    async with api.watch(f"{CONFIGMAPS}?allowWatchBookmarks=true&labelSelector=none") as events:
        assert [kind for kind, _ in await events.rest()] == ["BOOKMARK"]
    async with api.watch(f"{CONFIGMAPS}?labelSelector=none") as events:
        assert await events.rest() == []


async def test_a_version_that_is_too_old_is_an_error_event(api):
    resource = api.context.table.by_path("", "v1", "configmaps")
    cache = api.context.caches.of(resource)
    cache._window_start = cache.revision
    async with api.watch(f"{CONFIGMAPS}?resourceVersion=1") as events:
        [(kind, status)] = await events.rest()
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")


async def test_the_server_stopping_ends_watches(api):
    from shirube.apiserver.main import end_watches

    async with api.watch(CONFIGMAPS) as events:
        waiting = asyncio.gather(events.rest())
        await asyncio.sleep(0.02)
        assert len(api.context.watchers) == 1
        end_watches(api.context)
        assert await waiting == [[]]
    assert not api.context.watchers


async def test_one_object_by_name_and_by_the_old_path(api):
    async with (
        api.watch(f"{CONFIGMAPS}?fieldSelector=metadata.name=b") as one,
        api.watch("/api/v1/watch/namespaces/default/configmaps/b") as old,
    ):
        await api.ok("POST", CONFIGMAPS, configmap("a"))
        made = await api.ok("POST", CONFIGMAPS, configmap("b"))
        assert await one.next() == ("ADDED", made)
        assert await old.next() == ("ADDED", made)


async def test_metadata_only(api):
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    async with api.watch(CONFIGMAPS, accept=accept) as events:
        made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
        kind, obj = await events.next()
    assert kind == "ADDED"
    assert obj == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}


async def test_another_version(api):
    url = "/apis/events.k8s.io/v1/namespaces/default/events"
    async with api.watch(url) as events:
        body = {
            "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
            "reason": "Why",
            "message": "because",
        }
        await api.ok("POST", "/api/v1/namespaces/default/events", body)
        _, event = await events.next()
    assert (event["apiVersion"], event["regarding"]["name"], event["note"]) == ("events.k8s.io/v1", "p", "because")


async def test_a_watch_follows_from_its_answer_on_and_ends_unread(api):
    async with api.watch(CONFIGMAPS):
        assert len(api.context.watchers) == 1
    assert not api.context.watchers
