"""Claims and volumes that do not go together at once, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import Live, live
from tests.controllers.test_volumes import BINDER, PROTECTION, best, claim, gone, phase, plain, volume
from tests.waiting import until

from shirube.api.gvr import EVENTS, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from shirube.apiserver.admission import default_class
from shirube.controllers import volume_matching as matching
from shirube.controllers.local_path_provisioner import PROVISIONER, allowed_by
from shirube.controllers.persistent_volume_binder import LOOK_AGAIN

PENDING, BOUND, AVAILABLE = "Pending", "Bound", "Available"
ENDING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


async def told(house: Live, reason: str, message: str) -> bool:
    events = (await house.admin.list(EVENTS, "default"))["items"]
    return any((e["reason"], e["message"]) == (reason, message) for e in events)


async def get(house: Live, gvr: Any, name: str) -> dict[str, Any]:
    return await house.admin.get(gvr, name, "default" if gvr is PERSISTENTVOLUMECLAIMS else None)


def storage_class(name: str, provisioner: str = "x.io/y", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "provisioner": provisioner, **more}


# -- which volume ------------------------------------------------------------------------------------------------------


def test_access_modes_are_asked_for_as_a_set():
    once, many, any_way = ("ReadWriteOnce",), ("ReadWriteOnce", "ReadOnlyMany"), ("ReadOnlyMany", "ReadWriteOnce")
    volumes = [volume("rwo", modes=once), volume("rox", modes=many)]
    volumes.append(volume("rwx", modes=(*many, "ReadWriteMany")))
    assert best(volumes, claim(modes=any_way)) == "rox", "the order does not matter"
    assert best(volumes, claim(modes=("ReadWriteMany", "ReadOnlyMany"))) == "rwx"
    assert best(volumes, claim(modes=("ReadOnlyMany",))) == "rox", "a part is enough"
    taken = {"namespace": "default", "name": "other", "uid": "x"}
    volumes[0]["spec"]["claimRef"] = taken
    assert best(volumes, claim()) == "rox", "the next with one mode more"
    volumes[1]["spec"]["claimRef"] = taken
    assert best(volumes, claim()) == "rwx"


@pytest.mark.parametrize(
    ("size", "wanted", "fits"),
    [
        ("1Gi", "1Gi", True),
        ("1Gi", "1025Mi", False),
        ("1G", "1Gi", False),
        ("1073741824", "1Gi", True),
        ("1073741823", "1Gi", False),
        ("1e9", "1G", True),
        ("1", "500m", True),
        ("8E", "9E", False),
    ],
)
def test_sizes_are_compared_as_quantities(size, wanted, fits):
    assert best([volume("v", size)], claim(size=wanted)) == ("v" if fits else None)


def test_a_selector_of_expressions():
    volumes = [volume(name) for name in "abc"]
    volumes[2]["metadata"]["labels"]["tier"] = "cold"

    def of(key: str, operator: str, *values: str) -> dict[str, Any]:
        return claim(selector={"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]})

    assert best(volumes, of("disk", "In", "c", "b")) == "b"
    assert best(volumes, of("disk", "NotIn", "a", "b")) == "c"
    assert best(volumes, of("tier", "Exists")) == "c"
    assert best(volumes, of("tier", "DoesNotExist")) == "a"
    assert best(volumes, of("disk", "In", "z")) is None
    assert best(volumes, claim(selector={})) == "a", "an empty one asks for nothing"


@pytest.mark.parametrize("state", ["Released", "Failed", "Bound"])
def test_a_volume_that_was_used_is_not_taken(state):
    assert best([{**volume("v"), "status": {"phase": state}}], claim()) is None


def test_no_class_and_the_class_of_no_name_are_the_same_to_volumes():
    none, empty, gold = volume("none"), volume("empty", storageClassName=""), volume("gold", storageClassName="gold")
    old = volume("old")
    old["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "gold"}
    for asked in (claim(), claim(storageClassName="")):
        assert best([gold, none], asked) == "none" and best([gold, empty], asked) == "empty"
    assert best([none, empty], claim(storageClassName="gold")) is None
    assert best([none, old], claim(storageClassName="gold")) == "old"


def test_of_one_name_another_uid_is_another_claim():
    other = volume("v", claimRef={"namespace": "default", "name": "c", "uid": "somebody-before"})
    assert best([other], claim()) is None and best([other], claim(), only_reserved=True) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"capacity": {"storage": "1Mi"}}, "requested PV is too small"),
        ({"storageClassName": "gold"}, "storageClassName does not match"),
        ({"volumeMode": "Block"}, "incompatible volumeMode"),
        ({"accessModes": ["ReadOnlyMany"]}, "incompatible accessMode"),
        ({"volumeAttributesClassName": "gold"}, "volumeAttributesClassName does not match"),
        ({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}}, ""),
    ],
)
def test_what_a_named_volume_must_be(changed, why):
    assert matching.mismatch(volume("v", **changed), claim(selector={"matchLabels": {"no": "such"}})) == why


def test_a_named_volume_must_not_be_ending():
    one = volume("v")
    one["metadata"] |= ENDING
    assert matching.mismatch(one, claim()) == 'the volume is marked for deletion "v"'


def test_the_default_class_is_the_newest_and_the_first_by_name():
    def marked(name: str, made: str, mark: str = matching.DEFAULT_CLASS, value: str = "true") -> dict[str, Any]:
        return {"metadata": {"name": name, "creationTimestamp": made, "annotations": {mark: value}}}

    old, beta = "2026-01-01T00:00:00Z", "storageclass.beta.kubernetes.io/is-default-class"
    new = "2026-01-02T00:00:00Z"
    for classes, wanted in (
        ([marked("silver", old), marked("gold", old)], "gold"),
        ([marked("gold", old), marked("silver", new)], "silver"),
        ([marked("gold", old), marked("silver", new, value="false")], "gold"),
        ([marked("gold", old, beta)], "gold"),
        ([marked("gold", old, value="false"), {"metadata": {"name": "plain"}}], None),
    ):
        found = matching.default_class(classes)
        assert (found and found["metadata"]["name"]) == wanted
        assert found == default_class.choose(classes, matching.DEFAULT_CLASS, beta), "as admission does"


def test_a_volume_that_has_yet_to_grow_on_its_node():
    one = volume("v", "2Gi")
    assert matching.capacity_when_bound(one) == {"storage": "2Gi"}
    one["metadata"]["annotations"] = {matching.PRE_RESIZE_CAPACITY: "1Gi"}
    assert matching.capacity_when_bound(one) == {"storage": "1Gi"}
    one["metadata"]["annotations"] = {matching.PRE_RESIZE_CAPACITY: "much"}
    assert matching.capacity_when_bound(one) == {"storage": "2Gi"}


def test_allowed_topologies():
    def term(**labels: list[str]) -> dict[str, Any]:
        return {"matchLabelExpressions": [{"key": key, "values": values} for key, values in labels.items()]}

    node = {"metadata": {"name": "n", "labels": {"zone": "a", "disk": "ssd"}}}
    assert allowed_by({}, node) and allowed_by({"allowedTopologies": [term(zone=["b", "a"])]}, node)
    assert not allowed_by({"allowedTopologies": [term(zone=["b"])]}, node)
    assert not allowed_by({"allowedTopologies": [term(zone=["a"], disk=["hdd"])]}, node)
    assert allowed_by({"allowedTopologies": [term(zone=["b"]), term(disk=["ssd"])]}, node), "one term is enough"
    assert not allowed_by({"allowedTopologies": [term(rack=["1"])]}, node)


# -- the binder at work ------------------------------------------------------------------------------------------------


async def test_a_claim_that_names_a_volume_on_its_way_out_waits(house: Live):
    admin = house.admin
    held = volume("pv")
    held["metadata"]["finalizers"] = ["example.com/held"]
    await admin.create(PERSISTENTVOLUMES, held)
    await admin.delete(PERSISTENTVOLUMES, "pv")
    async with house.controllers(only=BINDER):
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="", volumeName="pv")))
        why = 'Cannot bind to requested volume "pv": the volume is marked for deletion "pv"'
        await until(lambda: told(house, "VolumeMismatch", why), 10)
        assert await phase(house, PERSISTENTVOLUMECLAIMS, "c", PENDING)
        assert not (await get(house, PERSISTENTVOLUMES, "pv"))["spec"].get("claimRef")


async def test_two_claims_want_one_volume(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        for name in ("a", "b"):
            await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(name, storageClassName="", volumeName="pv")))
        await admin.create(PERSISTENTVOLUMES, volume("pv"))
        await until(lambda: told(house, "FailedBinding", 'volume "pv" already bound to a different claim.'), 10)
        phases = [(await get(house, PERSISTENTVOLUMECLAIMS, name))["status"]["phase"] for name in ("a", "b")]
        assert sorted(phases) == [BOUND, PENDING]


async def test_of_many_claims_the_one_that_is_named_gets_the_volume(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        for number in range(20):
            await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(f"c{number}", storageClassName="")))
        await admin.create(PERSISTENTVOLUMES, volume("pv", claimRef={"namespace": "default", "name": "c13"}))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c13", BOUND), 10)
        claims = (await admin.list(PERSISTENTVOLUMECLAIMS, "default"))["items"]
        assert [c["metadata"]["name"] for c in claims if c["spec"].get("volumeName")] == ["c13"]


async def test_as_many_volumes_as_claims_are_all_bound_and_a_restart_writes_nothing(house: Live):
    admin = house.admin
    for number in range(15):
        await admin.create(PERSISTENTVOLUMES, volume(f"v{number}", f"{1 + number % 3}Gi"))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(f"c{number}", storageClassName="")))

    async def bound() -> bool:
        claims = (await admin.list(PERSISTENTVOLUMECLAIMS, "default"))["items"]
        return len({c["spec"]["volumeName"] for c in claims if (c.get("status") or {}).get("phase") == BOUND}) == 15

    async def versions() -> list[str]:
        lists = [await admin.list(PERSISTENTVOLUMES), await admin.list(PERSISTENTVOLUMECLAIMS, "default")]
        return [one["metadata"]["resourceVersion"] for found in lists for one in found["items"]]

    async with house.controllers(only=BINDER):
        await until(bound, 10)
    before = await versions()
    async with house.controllers(only=BINDER) as controllers:
        binder = next(one for one in controllers if one.name == BINDER)
        await until(lambda: all(one.synced for one in binder.informers) and binder.queue.idle, 10)
        assert await versions() == before


async def test_a_free_volume_of_a_class_that_waits_is_the_schedulers_to_give(house: Live):
    """Also when the node is chosen: then a volume is being made there."""
    admin = house.admin
    await admin.create(STORAGECLASSES, storage_class("later", volumeBindingMode="WaitForFirstConsumer"))
    await admin.create(PERSISTENTVOLUMES, volume("free", storageClassName="later"))
    await admin.create(PERSISTENTVOLUMES, {**volume("kept", storageClassName="later")})
    async with house.controllers(only=BINDER):
        chosen = plain(claim(storageClassName="later"))
        chosen["metadata"]["annotations"] = {matching.SELECTED_NODE: "n1"}
        await admin.create(PERSISTENTVOLUMECLAIMS, chosen)

        async def asked() -> bool:
            found = await get(house, PERSISTENTVOLUMECLAIMS, "c")
            return matching.annotations_of(found).get(matching.PROVISIONER) == "x.io/y"

        await until(asked, 10)
        assert not (await get(house, PERSISTENTVOLUMECLAIMS, "c"))["spec"].get("volumeName")
        await admin.patch(PERSISTENTVOLUMES, "kept", {"spec": {"claimRef": {"namespace": "default", "name": "c"}}})
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)
        assert (await get(house, PERSISTENTVOLUMECLAIMS, "c"))["spec"]["volumeName"] == "kept"


async def test_a_reserved_volume_of_the_wrong_mode_is_told_on_both_sides(house: Live):
    admin = house.admin
    made = await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="", volumeMode="Block")))
    reference = {"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]}
    await admin.create(PERSISTENTVOLUMES, volume("pv", claimRef=reference))
    async with house.controllers(only=BINDER):
        end = "due to incompatible volumeMode."
        one = f'Cannot bind PersistentVolume "pv" to requested PersistentVolumeClaim {end}'
        other = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "c" {end}'
        await until(lambda: told(house, "VolumeMismatch", one), 10)
        await until(lambda: told(house, "VolumeMismatch", other), 10)
        assert await phase(house, PERSISTENTVOLUMECLAIMS, "c", PENDING)


async def test_a_provisioner_that_was_built_in_is_not_waited_for(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        await admin.create(STORAGECLASSES, storage_class("tree", "kubernetes.io/glusterfs"))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="tree")))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim("lost", storageClassName="gone")))
        why = "no volume plugin matched name: kubernetes.io/glusterfs"
        await until(lambda: told(house, "ProvisioningFailed", why), 10)
        why = 'storageclass.storage.k8s.io "gone" not found'
        await until(lambda: told(house, "ProvisioningFailed", why), 10)
        await admin.create(STORAGECLASSES, storage_class("gone"))

        async def asked() -> bool:
            found = await get(house, PERSISTENTVOLUMECLAIMS, "lost")
            return matching.annotations_of(found).get(matching.PROVISIONER) == "x.io/y"

        await until(asked, 10)


async def test_a_claim_that_waits_is_told_so_again(house: Live, monkeypatch: pytest.MonkeyPatch):
    admin = house.admin
    async with house.controllers(only=BINDER) as controllers:
        binder = next(one for one in controllers if one.name == BINDER)
        later, add_after = set(), binder.queue.add_after

        def spy(key: str, seconds: float) -> None:
            later.add((key, seconds))
            add_after(key, seconds)

        monkeypatch.setattr(binder.queue, "add_after", spy)
        await admin.create(STORAGECLASSES, storage_class("far"))
        for name, spec in (("far", {"storageClassName": "far"}), ("none", {}), ("named", {"volumeName": "no"})):
            await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(name, **{"storageClassName": "", **spec})))
            await until(lambda n=name: (f"claim:default/{n}", LOOK_AGAIN) in later, 10)


async def test_the_class_of_attributes_is_the_resizers_once_a_claim_is_bound(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        source = {"csi": {"driver": "disk.example.com", "volumeHandle": "v"}}
        one = volume("pv", volumeAttributesClassName="gold", **source)
        del one["spec"]["hostPath"]
        await admin.create(PERSISTENTVOLUMES, one)
        asked = plain(claim(storageClassName="", volumeAttributesClassName="gold"))
        await admin.create(PERSISTENTVOLUMECLAIMS, asked)
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)

        async def current() -> str | None:
            return (await get(house, PERSISTENTVOLUMECLAIMS, "c"))["status"].get("currentVolumeAttributesClassName")

        assert await current() == "gold"
        found = await get(house, PERSISTENTVOLUMECLAIMS, "c")
        status = {**found["status"], "currentVolumeAttributesClassName": "silver"}
        await admin.update_status(PERSISTENTVOLUMECLAIMS, {**found, "status": status})
        # Seen again after this: modes of the volume are the binder's to copy.
        modes = ["ReadWriteOnce", "ReadOnlyMany"]
        await admin.patch(PERSISTENTVOLUMES, "pv", {"spec": {"accessModes": modes}})

        async def copied() -> bool:
            return (await get(house, PERSISTENTVOLUMECLAIMS, "c"))["status"]["accessModes"] == modes

        await until(copied, 10)
        assert await current() == "silver"


async def test_a_bound_claim_whose_volume_was_given_to_another(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        await admin.create(PERSISTENTVOLUMES, volume("pv"))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)
        # Edited by hand: first free, which is mended, then somebody else's.
        await admin.patch(PERSISTENTVOLUMES, "pv", {"spec": {"claimRef": None}})

        async def mended() -> bool:
            found = await get(house, PERSISTENTVOLUMES, "pv")
            return (found["spec"].get("claimRef") or {}).get("name") == "c" and found["status"]["phase"] == BOUND

        await until(mended, 10)
        other = {"namespace": "default", "name": "other", "uid": "x"}
        await admin.patch(PERSISTENTVOLUMES, "pv", {"spec": {"claimRef": other}})
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Lost"), 10)
        why = "Two claims are bound to the same volume, this one is bound incorrectly"
        await until(lambda: told(house, "ClaimMisbound", why), 10)
        assert await phase(house, PERSISTENTVOLUMES, "pv", "Released"), "there is no such claim"


@pytest.mark.parametrize(
    ("policy", "end", "reason"),
    [
        ("Retain", "Released", ""),
        ("Delete", "Failed", "VolumeFailedDelete"),
        ("Recycle", "Failed", "VolumeFailedRecycle"),
    ],
)
async def test_what_becomes_of_a_volume_made_by_hand(house: Live, policy, end, reason):
    admin = house.admin
    async with house.controllers(only=f"{BINDER},{PROTECTION}"):
        await admin.create(PERSISTENTVOLUMES, volume("pv", persistentVolumeReclaimPolicy=policy))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        await until(lambda: phase(house, PERSISTENTVOLUMES, "pv", end), 10)
        # A new claim of that name is another claim.
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", PENDING), 10)
        found = await get(house, PERSISTENTVOLUMES, "pv")
        assert found["status"]["phase"] == end and bool(found["status"].get("message")) == bool(reason)
        events = {e["reason"] for e in (await admin.list(EVENTS, "default"))["items"]}
        assert not reason or reason in events
        await admin.delete(PERSISTENTVOLUMES, "pv")
        await until(lambda: gone(house, PERSISTENTVOLUMES, "pv"), 10)


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


def _pod(name: str, **spec: Any) -> dict[str, Any]:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"containers": [{"name": "c", "image": "x"}], "volumes": volumes, "nodeName": "n1", **spec}
    return {"metadata": {"name": name}, "spec": spec}


async def test_a_claim_stays_until_the_last_of_its_pods_is_gone(house: Live):
    """One of them has finished; one has never been scheduled and does not count."""
    admin = house.admin
    await admin.create(NODES, {"metadata": {"name": "n1"}})
    async with house.controllers(only=f"{BINDER},{PROTECTION}"):
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        for name in ("runs", "finished"):
            await admin.create(PODS, _pod(name), "default")
        unscheduled = _pod("waits")
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
