from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.controllers.live import live
from tests.controllers.test_volumes import claim, plain, volume
from tests.waiting import until

from shirube.api.gvr import EVENTS, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, VOLUMEATTACHMENTS
from shirube.controllers.attach_detach import attachment_name, elsewhere, new_attachment, silent_for, unique_name

CSI = {"driver": "disk.example.com", "volumeHandle": "v1"}


def csi_volume() -> dict[str, Any]:
    one = volume("pv", csi=CSI)
    del one["spec"]["hostPath"]
    return one


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
            await admin.create(NODES, {"metadata": {"name": "n1"}})
            await admin.create(PERSISTENTVOLUMES, csi_volume())
            await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
            volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
            spec = {"containers": [{"name": "c", "image": "x"}], "volumes": volumes, "nodeName": "n1"}
            await admin.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")

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
            other = {"metadata": {"name": "q"}, "spec": {**spec, "nodeName": "n2"}}
            await admin.create(PODS, other, "default")
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
