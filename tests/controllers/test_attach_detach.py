from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.controllers.live import live
from tests.controllers.test_volumes import claim, plain, user, volume
from tests.waiting import until

from shirube.api.gvr import (
    CSIDRIVERS,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    SERVICEACCOUNTS,
    VOLUMEATTACHMENTS,
)
from shirube.client.rest import Client
from shirube.controllers.attach_detach import (
    attachment_name,
    elsewhere,
    in_use,
    new_attachment,
    silent_for,
    superseded,
    unique_name,
)

CSI = {"driver": "disk.example.com", "volumeHandle": "v1"}


def csi_volume() -> dict[str, Any]:
    one = volume("pv", csi=CSI)
    del one["spec"]["hostPath"]
    return one


async def furnish(admin: Client) -> None:
    await admin.create(NODES, {"metadata": {"name": "n1"}})
    await admin.create(PERSISTENTVOLUMES, csi_volume())
    await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))


def test_one_node_at_a_time():
    one = csi_volume()
    assert unique_name(one) == "kubernetes.io/csi/disk.example.com^v1"
    there = new_attachment(one, "a")
    assert elsewhere(one, "b", [there]) == "a" and elsewhere(one, "a", [there]) == ""
    one["spec"]["accessModes"] = ["ReadWriteMany"]
    assert elsewhere(one, "b", [there]) == ""


def test_silence():
    down = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert silent_for({"status": {"conditions": [down]}}, 1767225700.0) == 100
    assert silent_for({"status": {"conditions": [{**down, "status": "True"}]}}, 1767225700.0) == 0
    assert silent_for(None, 0) > 1e9


async def test_attaches_shows_and_detaches(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        names = "persistentvolume-binder-controller,persistentvolume-attach-detach-controller"
        async with house.controllers(only=names):
            await furnish(admin)
            await admin.create(PODS, user("p"), "default")

            async def attachments() -> list[dict[str, Any]]:
                return (await admin.list(VOLUMEATTACHMENTS))["items"]

            (made,) = await until(attachments, 10)
            assert made["metadata"]["name"] == attachment_name("v1", "disk.example.com", "n1")
            await admin.update_status(VOLUMEATTACHMENTS, {**made, "status": {"attached": True}})

            async def shown(*wanted: str) -> bool:
                status = (await admin.get(NODES, "n1")).get("status") or {}
                return [v["name"] for v in status.get("volumesAttached") or ()] == list(wanted)

            await until(lambda: shown("kubernetes.io/csi/disk.example.com^v1"), 10)
            await admin.create(NODES, {"metadata": {"name": "n2"}})
            await admin.create(PODS, user("q", nodeName="n2"), "default")
            refused = 'Multi-Attach error for volume "pv" Volume is already used by pod(s) p'

            async def told() -> bool:
                events = (await admin.list(EVENTS, "default"))["items"]
                return any((e["involvedObject"]["name"], e["message"]) == ("q", refused) for e in events)

            await until(told, 10)
            await admin.delete(PODS, "q", "default", grace_period_seconds=0)
            await admin.delete(PODS, "p", "default", grace_period_seconds=0)

            async def detached() -> bool:
                return not await attachments()

            await until(detached, 10)
            await until(lambda: shown(), 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_a_volume_that_was_detached_unseen_is_not_shown(tmp_path: Path):
    """The attachment went, then the controller died: its successor takes the volume out of the node's status."""
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        stale = {"status": {"volumesAttached": [{"name": "kubernetes.io/csi/disk.example.com^v1", "devicePath": ""}]}}
        await admin.patch(NODES, "n1", stale, subresource="status")
        async with house.controllers(only="persistentvolume-attach-detach-controller"):

            async def cleared() -> bool:
                return not ((await admin.get(NODES, "n1")).get("status") or {}).get("volumesAttached")

            await until(cleared, 10)


def test_what_a_node_uses_is_told_without_the_volumes_object():
    one = new_attachment(csi_volume(), "n1")
    node = {"metadata": {"name": "n1"}, "status": {"volumesInUse": ["kubernetes.io/csi/disk.example.com^v1"]}}
    assert in_use(node, [one]) == {one["metadata"]["name"]}
    assert not in_use(node, [new_attachment(csi_volume(), "n2")]) and not in_use({"metadata": {"name": "n1"}}, [one])
    node["status"]["volumesInUse"] = ["kubernetes.io/csi/disk.example.com^other", "example.com/odd"]
    assert not in_use(node, [one])


def test_an_attachment_that_can_never_be():
    before, now = csi_volume(), csi_volume()
    now["metadata"]["name"] = "again"
    one = new_attachment(before, "n1")
    assert not superseded(one, before, before) and not superseded(one, now, before)
    ending = {**before, "metadata": {**before["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert superseded(one, now, ending) and superseded(one, now, None)
    assert not superseded({**one, "status": {"attached": True}}, now, ending), "the same storage is there already"
    going = {**one, "metadata": {**one["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert not superseded(going, now, ending)
    assert elsewhere(now, "n2", [one]) == "n1", "one storage, whatever stands for it"


async def test_storage_that_another_volume_stands_for_is_attached_anew(tmp_path: Path):
    """A PersistentVolume is replaced by one of another name for the same storage before it has been attached."""
    async with live(tmp_path) as house:
        admin = house.admin
        names = "persistentvolume-binder-controller,persistentvolume-attach-detach-controller"
        async with house.controllers(only=names):
            await admin.create(NODES, {"metadata": {"name": "n1"}})
            name = attachment_name("v1", "disk.example.com", "n1")

            async def uses(volume: str) -> dict[str, Any] | None:
                found = (await admin.list(VOLUMEATTACHMENTS))["items"]
                wanted = [one for one in found if one["spec"]["source"]["persistentVolumeName"] == volume]
                assert all(one["metadata"]["name"] == name for one in found)
                return wanted[0] if wanted else None

            for number in (1, 2):
                one = csi_volume()
                one["metadata"] |= {"name": f"pv{number}", "finalizers": ["example.com/held"]}
                one["spec"]["accessModes"] = ["ReadWriteMany"]
                await admin.create(PERSISTENTVOLUMES, one)
                asked = claim(f"c{number}", modes=("ReadWriteMany",), storageClassName="", volumeName=f"pv{number}")
                await admin.create(PERSISTENTVOLUMECLAIMS, plain(asked))
                await admin.create(PODS, user(f"p{number}", f"c{number}"), "default")
                if number == 1:
                    await until(lambda: uses("pv1"), 10)
            await admin.delete(PODS, "p1", "default", grace_period_seconds=0)
            await admin.delete(PERSISTENTVOLUMES, "pv1")
            made = await until(lambda: uses("pv2"), 10)
            await admin.update_status(VOLUMEATTACHMENTS, {**made, "status": {"attached": True}})

            async def shown() -> bool:
                status = (await admin.get(NODES, "n1")).get("status") or {}
                return [v["name"] for v in status.get("volumesAttached") or ()] == [
                    "kubernetes.io/csi/disk.example.com^v1"
                ]

            await until(shown, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_what_is_mounted_stays_attached_until_the_node_lets_go_or_is_given_up(tmp_path: Path):
    """Also when the volume's object was forced away."""
    async with live(tmp_path) as house:
        admin = house.admin
        unique = "kubernetes.io/csi/disk.example.com^v1"
        for node in ("n1", "n2"):
            await admin.create(NODES, {"metadata": {"name": node}})
            status = {"volumesInUse": [unique], "conditions": [{"type": "Ready", "status": "True"}]}
            await admin.patch(NODES, node, {"status": status}, subresource="status")
            await admin.create(VOLUMEATTACHMENTS, new_attachment(csi_volume(), node))
        foreign = new_attachment(csi_volume(), "n1")
        foreign["metadata"]["name"] = "by-hand"
        await admin.create(VOLUMEATTACHMENTS, foreign)
        async with house.controllers(only="persistentvolume-attach-detach-controller"):

            async def left() -> set[str]:
                found = (await admin.list(VOLUMEATTACHMENTS))["items"]
                return {f"{one['metadata']['name'][:4]} {one['spec']['nodeName']}" for one in found}

            await admin.patch(NODES, "n2", {"status": {"volumesInUse": None}}, subresource="status")

            async def are(*wanted: str) -> bool:
                return await left() == set(wanted)

            await until(lambda: are("csi- n1", "by-h n1"), 10)
            taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
            await admin.patch(NODES, "n1", {"spec": {"taints": [taint]}})
            await until(lambda: are("by-h n1"), 10)


async def test_a_node_is_told_before_a_volume_is_detached(tmp_path: Path):
    """Here because its driver says, late, that it attaches nothing."""
    async with live(tmp_path) as house:
        admin = house.admin
        await furnish(admin)
        names = "persistentvolume-binder-controller,persistentvolume-attach-detach-controller"
        async with house.controllers(only=names):
            await admin.create(PODS, user("p"), "default")

            async def attachments() -> list[dict[str, Any]]:
                return (await admin.list(VOLUMEATTACHMENTS))["items"]

            async def shown() -> bool:
                return bool(((await admin.get(NODES, "n1")).get("status") or {}).get("volumesAttached"))

            (made,) = await until(attachments, 10)
            await admin.update_status(VOLUMEATTACHMENTS, {**made, "status": {"attached": True}})
            await until(shown, 10)
            house.tokens.log.clear()
            driver = {"metadata": {"name": "disk.example.com"}, "spec": {"attachRequired": False}}
            await admin.create(CSIDRIVERS, driver)

            async def detached() -> bool:
                return not await attachments()

            await until(detached, 10)
            assert not await shown()
            writes = [method for method, path, _ in house.tokens.log if "nodes/n1" in path or "volumeatt" in path]
            assert [one for one in writes if one != "GET"] == ["PATCH", "DELETE"]


async def test_a_node_that_comes_back_gets_what_its_pods_wait_for(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        await furnish(admin)
        async with house.controllers(only="persistentvolume-binder-controller"):
            await admin.create(PODS, user("p"), "default")

            async def bound() -> bool:
                found = await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default")
                return found["status"]["phase"] == "Bound"

            await until(bound, 10)
        await admin.delete(NODES, "n1")
        async with house.controllers(only="persistentvolume-attach-detach-controller") as controllers:
            one = next(c for c in controllers if c.name == "persistentvolume-attach-detach-controller")
            await until(lambda: all(i.synced for i in one.informers) and one.queue.idle, 10)
            assert not (await admin.list(VOLUMEATTACHMENTS))["items"]
            await admin.create(NODES, {"metadata": {"name": "n1"}})

            async def attached() -> bool:
                return bool((await admin.list(VOLUMEATTACHMENTS))["items"])

            await until(attached, 10)


async def test_who_holds_a_volume_is_told_as_far_as_one_may_know(tmp_path: Path):
    """Two PersistentVolumes of two namespaces stand for one storage, which only one node may have."""
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(NAMESPACES, {"metadata": {"name": "else"}})
        for number, namespace in ((1, "else"), (2, "default")):
            await admin.create(NODES, {"metadata": {"name": f"n{number}"}})
            one = csi_volume()
            one["metadata"]["name"] = f"pv{number}"
            await admin.create(PERSISTENTVOLUMES, one)
            asked = plain(claim(storageClassName="", volumeName=f"pv{number}"))
            asked["metadata"]["namespace"] = namespace
            await admin.create(PERSISTENTVOLUMECLAIMS, asked)
        refused = 'Multi-Attach error for volume "pv2" Volume is already used by'
        names = "persistentvolume-binder-controller,persistentvolume-attach-detach-controller"
        async with house.controllers(only=names):

            async def said() -> set[str]:
                events = (await admin.list(EVENTS, "default"))["items"]
                return {e["message"].removeprefix(refused) for e in events if e["reason"] == "FailedAttachVolume"}

            async def furnished() -> bool:
                return bool((await admin.list(SERVICEACCOUNTS, "else"))["items"])

            await until(furnished, 10)
            await admin.create(PODS, user("p"), "else")

            async def attached() -> bool:
                return bool((await admin.list(VOLUMEATTACHMENTS))["items"])

            await until(attached, 10)
            await admin.create(PODS, user("q", nodeName="n2"), "default")

            async def told(words: str) -> bool:
                return words in await said()

            await until(lambda: told(" 1 pod(s) in different namespaces"), 10)
            await admin.create(PODS, user("mine"), "default")
            await admin.create(PODS, user("r", nodeName="n2"), "default")
            await until(lambda: told(" pod(s) mine and 1 pod(s) in different namespaces"), 10)
