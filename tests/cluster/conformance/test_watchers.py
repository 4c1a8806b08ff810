"""What watchers see, and in which order."""

from __future__ import annotations

import random
import threading

import pytest
from tests.cluster.conformance.objects import config_map

WHICH = "watch-this-configmap"
A, B = {WHICH: "multiple-watchers-A"}, {WHICH: "multiple-watchers-B"}


def _bump(value: str):
    return {"data": {"mutation": value}}


def _mutation(obj) -> str | None:
    return (obj.get("data") or {}).get("mutation")


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps "
    "[Conformance]"
)
def test_add_update_delete_by_label(api, ns):
    maps = api.at("v1", "configmaps", ns)
    both = f"{WHICH} in (multiple-watchers-A,multiple-watchers-B)"
    with (
        maps.watch(f"{WHICH}=multiple-watchers-A") as on_a,
        maps.watch(f"{WHICH}=multiple-watchers-B") as on_b,
        maps.watch(both) as on_both,
    ):
        maps.create(config_map("a", labels=A))
        maps.patch("a", _bump("1"))
        maps.patch("a", _bump("2"))
        maps.delete("a")
        maps.create(config_map("b", labels=B))
        maps.delete("b")
        for watcher in (on_a, on_both):
            seen = [watcher.next() for _ in range(4)]
            assert [e["type"] for e in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
            assert [_mutation(e["object"]) for e in seen] == [None, "1", "2", "2"]
        for watcher in (on_b, on_both):
            assert [watcher.next()["type"] for _ in range(2)] == ["ADDED", "DELETED"]
        # What came last was B's deletion for all who see B; whoever sees A got nothing after A's.
        assert (len(on_a.events), len(on_b.events), len(on_both.events)) == (4, 2, 6)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"
)
def test_from_a_version(api, ns):
    maps = api.at("v1", "configmaps", ns)
    maps.create(config_map("here", labels=A))
    first = maps.patch("here", _bump("1"))
    maps.patch("here", _bump("2"))
    maps.delete("here")
    with maps.watch(f"{WHICH}=multiple-watchers-A", resourceVersion=first["metadata"]["resourceVersion"]) as watch:
        event = watch.next()
        assert (event["type"], _mutation(event["object"])) == ("MODIFIED", "2")
        assert watch.next()["type"] == "DELETED"


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the "
    "previous watch [Conformance]"
)
def test_restart(api, ns):
    maps = api.at("v1", "configmaps", ns)
    label = f"{WHICH}=multiple-watchers-A"
    with maps.watch(label) as watch:
        maps.create(config_map("closed", labels=A))
        maps.patch("closed", _bump("1"))
        watch.until("ADDED")
        last = watch.until("MODIFIED", lambda o: _mutation(o) == "1")["metadata"]["resourceVersion"]
    maps.patch("closed", _bump("2"))
    maps.delete("closed")
    with maps.watch(label, resourceVersion=last) as again:
        event = again.next()
        assert (event["type"], _mutation(event["object"])) == ("MODIFIED", "2")
        assert again.next()["type"] == "DELETED"


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the "
    "selector [Conformance]"
)
def test_leaving_the_selector_is_a_deletion(api, ns):
    maps = api.at("v1", "configmaps", ns)
    with maps.watch(f"{WHICH}=multiple-watchers-A") as watch:
        maps.create(config_map("changed", labels=A))
        maps.patch("changed", _bump("1"))
        maps.patch("changed", {"metadata": {"labels": {WHICH: "other"}}})
        assert [watch.next()["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]
        maps.patch("changed", _bump("2"))
        maps.patch("changed", {"metadata": {"labels": A}})
        event = watch.next()
        assert (event["type"], _mutation(event["object"])) == ("ADDED", "2")
        maps.patch("changed", _bump("3"))
        maps.delete("changed")
        seen = [watch.next() for _ in range(2)]
        assert [(e["type"], _mutation(e["object"])) for e in seen] == [("MODIFIED", "3"), ("DELETED", "3")]


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]"
)
def test_concurrent_watches_agree(api, ns):
    maps = api.at("v1", "configmaps", ns)
    stop = threading.Event()

    def write() -> None:
        chance, live, number = random.Random(1), [], 0
        while not stop.wait(0.005):
            action = chance.choice(["create", "update", "delete"])
            if action == "create" or not live:
                number += 1
                live.append(maps.create(config_map(f"map-{number}"))["metadata"]["name"])
            elif action == "update":
                maps.patch(chance.choice(live), _bump(str(chance.random())))
            else:
                maps.delete(live.pop(chance.randrange(len(live))))

    writer = threading.Thread(target=write)
    start = maps.list()["metadata"]["resourceVersion"]
    watches = [maps.watch(resourceVersion=start)]
    writer.start()
    try:
        for _ in range(30):
            # Every watch starts where the first one is, and must see the same from there.
            version = watches[0].next()["object"]["metadata"]["resourceVersion"]
            for watch in watches[1:]:
                assert watch.next()["object"]["metadata"]["resourceVersion"] == version
            watches.append(maps.watch(resourceVersion=version))
    finally:
        stop.set()
        writer.join()
        for watch in watches:
            watch.close()
