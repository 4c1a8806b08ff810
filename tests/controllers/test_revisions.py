from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import kubelet
from tests.controllers.live import live
from tests.controllers.test_daemon_set import daemon_set
from tests.controllers.test_restart import quiet
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, NODES
from shirube.client.rest import Client
from shirube.controllers import revisions


def owner(image: str) -> dict[str, Any]:
    one = daemon_set()
    one["metadata"]["uid"] = "u"
    one["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return one


def test_a_revision_gives_its_template_back():
    one = owner("a")
    kept = revisions.new_revision(one, "DaemonSet", 1, {"app": "agent"}, revisions.POD_LABEL, None)
    assert revisions.template_of(kept) == one["spec"]["template"]
    assert revisions.equal(kept, one) and not revisions.equal(kept, owner("b"))
    salted = revisions.new_revision(one, "DaemonSet", 1, {}, revisions.POD_LABEL, 1)
    assert salted["metadata"]["name"] != kept["metadata"]["name"]


def test_only_unused_revisions_beyond_the_limit_go():
    every = [{"metadata": {"name": str(n)}, "revision": n} for n in range(5)]
    assert [r["revision"] for r in revisions.to_clean_up(every, {"0", "4"}, 1)] == [1, 2]
    assert revisions.to_clean_up(every, set(), None) == []


def revision(number: int, image: str, *, made: str = "2026-01-01T00:00:00Z", name: str = "") -> dict[str, Any]:
    kept = revisions.new_revision(owner(image), "DaemonSet", number, {}, revisions.POD_LABEL, None)
    kept["metadata"] |= {"creationTimestamp": made, "name": name or f"r{number}"}
    return kept


def test_revisions_are_put_in_order():
    same = [revision(2, "b", name="z"), revision(2, "b", made="2026-01-02T00:00:00Z", name="a"), revision(1, "a")]
    assert [r["metadata"]["name"] for r in revisions.in_order(same)] == ["r1", "z", "a"]
    assert [r["metadata"]["name"] for r in revisions.in_order([*same, revision(2, "b", name="b")])] == [
        "r1",
        "b",
        "z",
        "a",
    ]


def test_annotations_of_the_owner_are_kept_but_for_what_apply_notes():
    one = owner("a")
    one["metadata"]["annotations"] = {
        "kubernetes.io/change-cause": "why",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    kept = revisions.new_revision(one, "DaemonSet", 1, {}, revisions.POD_LABEL, None)
    assert kept["metadata"]["annotations"] == {"kubernetes.io/change-cause": "why"}


@pytest.mark.parametrize(
    "images,now,expected,writes",
    [
        ([], "a", (1, "a"), 1),  # the first
        (["a"], "a", (1, "a"), 0),
        (["a"], "b", (2, "b"), 1),
        (["a", "b"], "b", (2, "b"), 0),
        (["a", "b", "c"], "a", (4, "a"), 1),  # back to an old one, which gets the next number
        (["a", "b", "a"], "a", (3, "a"), 0),  # of equals the newest
    ],
)
async def test_the_revision_of_the_present_template(
    client: Client, api: MemoryApi, images: list[str], now: str, expected: tuple[int, str], writes: int
):
    history = revisions.RevisionHistory(client, DAEMONSETS, "DaemonSet", revisions.POD_LABEL)
    kept = [await client.create(CONTROLLERREVISIONS, revision(n, image)) for n, image in enumerate(images, 1)]
    before = len(api.writes())
    current, collisions = await history.current(owner(now), kept, {})
    image = revisions.template_of(current)["spec"]["containers"][0]["image"]
    assert ((current["revision"], image), collisions) == (expected, None)
    assert len(api.writes()) - before == writes
    assert len((await client.list(CONTROLLERREVISIONS, "default"))["items"]) == len(images) + (now not in images)


async def test_a_name_that_is_taken_is_salted_until_it_is_free(client: Client, api: MemoryApi):
    """By a revision of another owner, or by one of another template: a hash is not a proof."""
    history = revisions.RevisionHistory(client, DAEMONSETS, "DaemonSet", revisions.POD_LABEL)
    one = owner("a")
    for salt in (None, 1):
        taken = revisions.new_revision(one, "DaemonSet", 1, {}, revisions.POD_LABEL, salt)
        taken |= {"data": revisions.patch_of(owner("b"))} if salt else {}
        taken["metadata"]["ownerReferences"][0]["uid"] = "u" if salt else "another"
        await client.create(CONTROLLERREVISIONS, taken)
    made, collisions = await history.current(one, [], {})
    assert collisions == 2 and revisions.equal(made, one)
    one["status"] = {"collisionCount": collisions}
    before = len(api.writes())
    again, collisions = await history.current(one, [], {})  # the cache has not seen it yet
    assert again["metadata"]["uid"] == made["metadata"]["uid"] and collisions == 2
    assert [w[0] for w in api.writes()[before:]] == ["POST"]


@pytest.mark.conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
async def test_the_life_of_a_revision(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await admin.patch(NODES, "n1", {"spec": {"taints": None}})

        async def listed(selector: str, count: int) -> list[dict[str, Any]]:
            found = (await admin.list(CONTROLLERREVISIONS, "default", label_selector=selector))["items"]
            return found if len(found) == count else []

        async with house.controllers(only="daemonset-controller") as controllers, kubelet(admin, ends=True):
            await admin.create(DAEMONSETS, daemon_set())
            (first,) = await until(lambda: listed("app=agent", 1), 10)

            async def up() -> bool:
                return ((await admin.get(DAEMONSETS, "agent", "default")).get("status") or {}).get("numberReady") == 1

            await until(up, 10)
            await quiet(house, controllers)
            name = first["metadata"]["name"]
            label = {"metadata": {"labels": {name: "patched"}}}
            patched = await admin.patch(CONTROLLERREVISIONS, name, label, "default")
            assert patched["metadata"]["labels"][name] == "patched"
            metadata = {"name": "extra", "labels": {"app": "agent", "controller-revision-hash": "extra"}}
            extra = {"metadata": metadata, "data": first["data"], "revision": first["revision"] + 1}
            await admin.create(CONTROLLERREVISIONS, extra, "default")
            assert await listed("app=agent", 2)
            await admin.delete(CONTROLLERREVISIONS, name, "default")
            assert await listed("app=agent", 1)

            async def updated() -> bool:
                current = await admin.get(CONTROLLERREVISIONS, "extra", "default")
                current["metadata"]["labels"]["extra"] = "updated"
                try:
                    await admin.update(CONTROLLERREVISIONS, current)
                except ApiError as error:
                    assert error.code == 409  # the controller has just made it its own
                    return False
                return True

            await until(updated, 10)
            assert await listed("extra=updated", 1)
            template = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
            await admin.patch(DAEMONSETS, "agent", template, "default", type="strategic")
            await until(lambda: listed("app=agent", 2), 10)
            await admin.delete_collection(CONTROLLERREVISIONS, "default", label_selector="extra=updated")
            (last,) = await until(lambda: listed("app=agent", 1), 10)
            assert last["revision"] == 3
