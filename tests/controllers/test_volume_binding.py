"""Claims and volumes that do not go together at once, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import Live, live
from tests.controllers.test_volumes import BINDER, PROTECTION, best, claim, gone, phase, plain, volume
from tests.waiting import until

from shirube.api.gvr import EVENTS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from shirube.apiserver.admission import default_class
from shirube.controllers import volume_matching as matching
from shirube.controllers.volume_provisioning import LOOK_AGAIN

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


# -- the binder at work ------------------------------------------------------------------------------------------------


async def a_bound_pair(house: Live) -> None:
    """Volume `pv` and claim `c`."""
    await house.admin.create(PERSISTENTVOLUMES, volume("pv"))
    await house.admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
    await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)


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


async def test_a_claim_that_has_lost_its_volume_takes_it_when_it_comes_back(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        await a_bound_pair(house)
        await admin.patch(PERSISTENTVOLUMES, "pv", {"metadata": {"finalizers": None}})
        await admin.delete(PERSISTENTVOLUMES, "pv")
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Lost"), 10)
        await admin.create(PERSISTENTVOLUMES, volume("pv", "2Gi"))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", BOUND), 10)
        await until(lambda: phase(house, PERSISTENTVOLUMES, "pv", BOUND), 10)
        assert (await get(house, PERSISTENTVOLUMECLAIMS, "c"))["status"]["capacity"] == {"storage": "2Gi"}


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


async def test_only_claims_that_say_nothing_of_a_class_get_the_default_one(house: Live):
    admin = house.admin
    old = plain(claim("old"))
    old["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "silver"}
    nothing, empty, named = claim("nothing"), claim("empty", storageClassName=""), claim("named", volumeName="pv")
    for one in (old, plain(nothing), plain(empty), plain(named), plain(claim("own", storageClassName="silver"))):
        await admin.create(PERSISTENTVOLUMECLAIMS, one)
    async with house.controllers(only=BINDER):
        default = storage_class("gold")
        default["metadata"]["annotations"] = {matching.DEFAULT_CLASS: "true"}
        await admin.create(STORAGECLASSES, default)

        async def classes() -> dict[str, str | None]:
            found = (await admin.list(PERSISTENTVOLUMECLAIMS, "default"))["items"]
            return {one["metadata"]["name"]: one["spec"].get("storageClassName") for one in found}

        wanted = {"nothing": "gold", "empty": "", "named": None, "own": "silver", "old": None}

        async def given() -> bool:
            return await classes() == wanted

        await until(given, 10)


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
        await a_bound_pair(house)
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


async def test_a_new_volume_wakes_only_whom_it_would_do_for(house: Live, monkeypatch: pytest.MonkeyPatch):
    """Many claims may wait while many volumes come."""
    admin = house.admin
    await admin.create(STORAGECLASSES, storage_class("later", volumeBindingMode="WaitForFirstConsumer"))
    asked = {"big": claim("big", "9Gi"), "other": claim("other", storageClassName="x"), "fits": claim("fits")}
    asked |= {"named": claim("named", "9Gi", volumeName="pv"), "later": claim("later", storageClassName="later")}
    for one in asked.values():
        one["spec"].setdefault("storageClassName", "")
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(one))
    async with house.controllers(only=BINDER) as controllers:
        binder = next(one for one in controllers if one.name == BINDER)
        await until(lambda: all(i.synced for i in binder.informers) and binder.queue.idle, 10)
        woken, add = set(), binder.queue.add

        def spy(key: str) -> None:
            woken.add(key)
            add(key)

        monkeypatch.setattr(binder.queue, "add", spy)
        for name, spec in (("pv", {}), ("later", {"storageClassName": "later"})):
            await admin.create(PERSISTENTVOLUMES, volume(name, **spec))
        await until(lambda: phase(house, PERSISTENTVOLUMES, "later", AVAILABLE), 10)
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "fits", BOUND), 10)
        assert {key for key in woken if key.startswith("claim:")} == {"claim:default/fits", "claim:default/named"}
