"""Where directories are made, what becomes of volumes that nobody wants any more, and what protection holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import Live, live
from tests.controllers.test_volume_binding import BOUND, PENDING, get, storage_class, told
from tests.controllers.test_volumes import BINDER, PROTECTION, claim, gone, phase, plain, user, volume
from tests.waiting import until

from shirube.api.gvr import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from shirube.controllers import volume_matching as matching
from shirube.controllers.local_path_provisioner import PROVISIONER, TO_REMOVE, allowed_by


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


def test_allowed_topologies():
    def term(**labels: list[str]) -> dict[str, Any]:
        return {"matchLabelExpressions": [{"key": key, "values": values} for key, values in labels.items()]}

    node = {"metadata": {"name": "n", "labels": {"zone": "a", "disk": "ssd"}}}
    assert allowed_by({}, node) and allowed_by({"allowedTopologies": [term(zone=["b", "a"])]}, node)
    assert not allowed_by({"allowedTopologies": [term(zone=["b"])]}, node)
    assert not allowed_by({"allowedTopologies": [term(zone=["a"], disk=["hdd"])]}, node)
    assert allowed_by({"allowedTopologies": [term(zone=["b"]), term(disk=["ssd"])]}, node), "one term is enough"
    assert not allowed_by({"allowedTopologies": [term(rack=["1"])]}, node)


# -- directories of nodes ----------------------------------------------------------------------------------------------

LOCAL = f"{BINDER},{PROTECTION},local-path-provisioner"


async def test_a_node_that_is_gone_is_not_waited_for(house: Live):
    admin = house.admin
    async with house.controllers(only=LOCAL, local_path_directory="/data"):
        mode = "WaitForFirstConsumer"
        await admin.create(STORAGECLASSES, storage_class("local", PROVISIONER, volumeBindingMode=mode))
        chosen = plain(claim(storageClassName="local"))
        chosen["metadata"]["annotations"] = {matching.SELECTED_NODE: "gone"}
        await admin.create(PERSISTENTVOLUMECLAIMS, chosen)

        async def unmarked() -> bool:
            return matching.SELECTED_NODE not in matching.annotations_of(await get(house, PERSISTENTVOLUMECLAIMS, "c"))

        await until(unmarked, 10)
        why = 'failed to provision volume with StorageClass "local": node "gone" is gone, another one has to be chosen'
        await until(lambda: told(house, "ProvisioningFailed", why), 10)
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        mark = {"metadata": {"annotations": {matching.SELECTED_NODE: "n1"}}}
        await admin.patch(PERSISTENTVOLUMECLAIMS, "c", mark, "default")
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_a_class_that_is_made_again_serves_those_who_waited(house: Live):
    admin = house.admin
    await admin.create(NODES, {"metadata": {"name": "n1"}})
    await admin.create(STORAGECLASSES, storage_class("local", PROVISIONER))
    async with house.controllers(only=LOCAL, local_path_directory="/data"):
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="local")))
        why = 'failed to provision volume with StorageClass "local": no node is ready to hold it'
        await until(lambda: told(house, "ProvisioningFailed", why), 10)
        await admin.delete(STORAGECLASSES, "local")
        why = 'storageclass.storage.k8s.io "local" not found'
        await until(lambda: told(house, "ProvisioningFailed", why), 10)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await admin.patch(NODES, "n1", ready, subresource="status")
        await admin.patch(NODES, "n1", {"spec": {"taints": None}})
        await admin.create(STORAGECLASSES, storage_class("local", PROVISIONER))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)


async def test_a_volume_deleted_before_it_is_bound_is_made_again(house: Live):
    admin = house.admin
    await admin.create(NODES, {"metadata": {"name": "n1"}})
    await admin.create(STORAGECLASSES, storage_class("local", PROVISIONER))
    names = "local-path-provisioner,persistentvolume-protection-controller"
    async with house.controllers(only=names, local_path_directory="/data"):
        asked = plain(claim(storageClassName="local"))
        asked["metadata"]["annotations"] = {matching.PROVISIONER: PROVISIONER, matching.SELECTED_NODE: "n1"}
        await admin.create(PERSISTENTVOLUMECLAIMS, asked)

        async def made(but: str = "") -> list[dict[str, Any]]:
            return [v for v in (await admin.list(PERSISTENTVOLUMES))["items"] if v["metadata"]["uid"] != but]

        (first,) = await until(made, 10)
        await admin.delete(PERSISTENTVOLUMES, first["metadata"]["name"])
        (again,) = await until(lambda: made(but=first["metadata"]["uid"]), 10)
        assert again["metadata"]["name"] == first["metadata"]["name"]


async def test_a_volume_that_comes_after_its_claim_was_deleted_goes_again(house: Live):
    """Provisioned too late, by another provisioner: it is released, and its own provisioner's to remove."""
    admin = house.admin
    async with house.controllers(only=BINDER):
        made = await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="far")))
        await admin.patch(PERSISTENTVOLUMECLAIMS, "c", {"metadata": {"finalizers": None}}, "default")
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        late = volume(
            "late",
            storageClassName="far",
            persistentVolumeReclaimPolicy="Delete",
            claimRef={"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]},
        )
        late["metadata"]["annotations"] = {matching.PROVISIONED_BY: "x.io/y"}
        await admin.create(PERSISTENTVOLUMES, late)
        await until(lambda: phase(house, PERSISTENTVOLUMES, "late", "Released"), 10)


async def test_a_volume_that_its_claim_never_saw_is_released_with_it(house: Live):
    """The claim was being deleted when its volume came: it is not bound any more."""
    admin = house.admin
    ending = plain(claim(storageClassName="far"))
    ending["metadata"]["finalizers"] = ["example.com/held"]
    made = await admin.create(PERSISTENTVOLUMECLAIMS, ending)
    await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
    async with house.controllers(only=BINDER) as controllers:
        binder = next(one for one in controllers if one.name == BINDER)
        reference = {"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]}
        late = volume("late", claimRef=reference)
        await admin.create(PERSISTENTVOLUMES, late)
        await until(lambda: "late" in binder._volumes.store and binder.queue.idle, 10)
        assert await phase(house, PERSISTENTVOLUMES, "late", PENDING)
        await admin.patch(PERSISTENTVOLUMECLAIMS, "c", {"metadata": {"finalizers": None}}, "default")
        await until(lambda: phase(house, PERSISTENTVOLUMES, "late", "Released"), 10)


async def test_volumes_made_at_once_are_spread_over_the_nodes_that_the_class_allows(house: Live):
    admin = house.admin
    for name in ("n1", "n2", "n3"):
        labels = {"kubernetes.io/hostname": name, "zone": "b" if name == "n1" else "a"}
        await admin.create(NODES, {"metadata": {"name": name, "labels": labels}})
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await admin.patch(NODES, name, ready, subresource="status")
        await admin.patch(NODES, name, {"spec": {"taints": None}})
    zone = {"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}
    await admin.create(STORAGECLASSES, storage_class("local", PROVISIONER, allowedTopologies=[zone]))
    async with house.controllers(only=LOCAL, local_path_directory="/data"):
        for name in ("c", "d"):
            await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(name, storageClassName="local")))
            await until(lambda n=name: phase(house, PERSISTENTVOLUMECLAIMS, n, BOUND), 10)
        made = (await admin.list(PERSISTENTVOLUMES))["items"]
        terms = [v["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0] for v in made]
        assert sorted(t["matchExpressions"][0]["values"][0] for t in terms) == ["n2", "n3"]


# -- protection --------------------------------------------------------------------------------------------------------


async def test_a_claim_stays_until_the_last_of_its_pods_is_gone(house: Live):
    """One of them has finished; one has never been scheduled and does not count."""
    admin = house.admin
    await admin.create(NODES, {"metadata": {"name": "n1"}})
    async with house.controllers(only=f"{BINDER},{PROTECTION}"):
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        for name in ("runs", "finished"):
            await admin.create(PODS, user(name), "default")
        unscheduled = user("waits")
        del unscheduled["spec"]["nodeName"]
        await admin.create(PODS, unscheduled, "default")
        await admin.patch(PODS, "finished", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        await admin.delete(PODS, "runs", "default", grace_period_seconds=0)
        # Another claim, made later and gone at once, shows that the controller has seen all that.
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim("later", storageClassName="")))
        await admin.delete(PERSISTENTVOLUMECLAIMS, "later", "default")
        await until(lambda: gone(house, PERSISTENTVOLUMECLAIMS, "later"), 10)
        assert not await gone(house, PERSISTENTVOLUMECLAIMS, "c"), "a finished pod may be looked into"
        await admin.delete(PODS, "finished", "default", grace_period_seconds=0)
        await until(lambda: gone(house, PERSISTENTVOLUMECLAIMS, "c"), 10)


async def test_what_is_not_in_use_goes_at_once_and_what_came_without_protection_gets_it(house: Live):
    admin = house.admin
    for gvr, one in ((PERSISTENTVOLUMES, volume("pv")), (PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))):
        await admin.create(gvr, one)
        name, namespace = one["metadata"]["name"], "default" if gvr is PERSISTENTVOLUMECLAIMS else None
        await admin.patch(gvr, name, {"metadata": {"finalizers": None}}, namespace)
    async with house.controllers(only=PROTECTION):
        for gvr, name in ((PERSISTENTVOLUMES, "pv"), (PERSISTENTVOLUMECLAIMS, "c")):

            async def held(gvr: Any = gvr, name: str = name) -> bool:
                return bool((await get(house, gvr, name))["metadata"].get("finalizers"))

            await until(held, 10)
            await admin.delete(gvr, name, "default" if gvr is PERSISTENTVOLUMECLAIMS else None)
            await until(lambda g=gvr, n=name: gone(house, g, n), 10)


async def test_many_directories_of_one_node_go_without_a_conflict(house: Live):
    admin = house.admin
    await admin.create(NODES, {"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}})
    mode = "WaitForFirstConsumer"
    await admin.create(
        STORAGECLASSES, storage_class("local", PROVISIONER, volumeBindingMode=mode, reclaimPolicy="Delete")
    )
    names = [f"c{number}" for number in range(12)]
    async with house.controllers(only=LOCAL, local_path_directory="/data"):
        for name in names:
            one = plain(claim(name, storageClassName="local"))
            one["metadata"]["annotations"] = {matching.SELECTED_NODE: "n1"}
            await admin.create(PERSISTENTVOLUMECLAIMS, one)
            await until(lambda n=name: phase(house, PERSISTENTVOLUMECLAIMS, n, BOUND), 10)
        for name in names:
            await admin.delete(PERSISTENTVOLUMECLAIMS, name, "default")

        async def empty() -> bool:
            return not (await admin.list(PERSISTENTVOLUMES))["items"]

        await until(empty, 10)
        asked = (await admin.get(NODES, "n1"))["metadata"]["annotations"][TO_REMOVE].split()
        assert sorted(one.rpartition("_")[2] for one in asked) == sorted(names)
    assert not [e for e in house.tokens.log if e[1] == "/api/v1/nodes/n1" and e[2] == 409]
