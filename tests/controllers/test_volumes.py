from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import absent
from tests.controllers.live import Live, live
from tests.waiting import until

from shirube.api.gvr import (
    EVENTS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    STORAGECLASSES,
    VOLUMEATTRIBUTESCLASSES,
)
from shirube.controllers import volume_matching as matching
from shirube.controllers.ephemeral_volume import wanted_claims
from shirube.controllers.local_path_provisioner import PROVISIONER, TO_REMOVE, volume_for
from shirube.controllers.volume_protection import uses
from shirube.kubelet.local_paths import _NAME

BINDER = "persistentvolume-binder-controller"
PROTECTION = "persistentvolumeclaim-protection-controller,persistentvolume-protection-controller"


def claim(
    name: str = "c", size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any
) -> dict[str, Any]:
    spec = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name, "namespace": "default", "uid": "u-" + name}, "spec": spec}


def volume(name: str, size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any) -> dict[str, Any]:
    spec = {"accessModes": list(modes), "capacity": {"storage": size}, "hostPath": {"path": "/x"}, **spec}
    return {"metadata": {"name": name, "labels": {"disk": name}}, "spec": spec}


def user(name: str, claim_name: str = "c", **spec: Any) -> dict[str, Any]:
    """A pod on node n1 that uses a claim."""
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}]
    containers = [{"name": "c", "image": "x"}]
    return {
        "metadata": {"name": name},
        "spec": {"containers": containers, "volumes": volumes, "nodeName": "n1", **spec},
    }


def best(volumes: list[dict[str, Any]], one: dict[str, Any], **options: Any) -> str | None:
    found = matching.best(volumes, one, **{"only_reserved": False, **options})
    return found["metadata"]["name"] if found else None


def test_the_smallest_that_fits_is_taken():
    volumes = [volume("big", "10Gi"), volume("small", "500Mi"), volume("fit", "2Gi")]
    assert best(volumes, claim()) == "fit"
    assert best(volumes, claim(size="20Gi")) is None
    assert best(volumes, claim(storageClassName="fast")) is None
    assert best(volumes, claim(modes=("ReadWriteMany",))) is None
    assert best(volumes, claim(modes=("ReadWriteOncePod",))) is None
    assert best(volumes, claim(selector={"matchLabels": {"disk": "big"}})) == "big"
    assert best(volumes, claim(volumeMode="Block")) is None
    shared = volume("shared", "1Gi", ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"))
    assert best([*volumes, shared], claim()) == "fit", "what more claims could use is kept for them"
    assert best([*volumes, shared], claim(modes=("ReadWriteMany",))) == "shared"
    reserved = volume("mine", "9Gi", claimRef={"namespace": "default", "name": "c"})
    assert best([*volumes, reserved], claim()) == "mine"
    assert (
        best([*volumes, reserved], claim(storageClassName="fast", selector={"matchLabels": {"no": "such"}})) == "mine"
    )
    assert best([*volumes, reserved], claim(size="10Gi")) == "big", "the one that names it is too small"
    assert best([*volumes, reserved], claim("other")) == "fit"
    ending = {**reserved, "metadata": {**reserved["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert best([*volumes, ending], claim()) == "fit"
    assert best(volumes, claim(), only_reserved=True) is None
    assert best([reserved], claim(), only_reserved=True) == "mine"


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from(["", "fast"]))), st.integers(1, 9))
def test_what_is_chosen_satisfies_the_claim(drawn, size):
    volumes = []
    for number, (gigabytes, taken, name) in enumerate(drawn):
        spec = {"claimRef": {"namespace": "x", "name": "y", "uid": "z"}} if taken else {}
        volumes.append(volume(str(number), f"{gigabytes}Gi", storageClassName=name, **spec))
    found = best(volumes, claim(size=f"{size}Gi"))
    fitting = [(g, str(n)) for n, (g, taken, name) in enumerate(drawn) if g >= size and not taken and not name]
    assert found == (min(fitting)[1] if fitting else None)


def test_claims_of_pods():
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    pod = {"metadata": {"name": "p", "namespace": "default", "uid": "1"}, "spec": {"volumes": [{"name": "v"}]}}
    assert wanted_claims(pod) == []
    pod["spec"]["volumes"] = [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]
    (made,) = wanted_claims(pod)
    assert made["metadata"]["name"] == "p-v" and made["metadata"]["ownerReferences"][0]["kind"] == "Pod"


def test_any_name_makes_the_name_of_a_directory():
    one = claim("c" * 253)
    one["metadata"] |= {"uid": "0" * 36, "namespace": "n" * 63, "resourceVersion": "1"}
    node = {"metadata": {"name": "n1"}}
    path = volume_for(one, {"metadata": {"name": "local"}}, node, "/data")["spec"]["hostPath"]["path"]
    assert len(Path(path).name) <= 250 and _NAME.fullmatch(Path(path).name), "short enough, and the agent may remove it"


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


def plain(obj: dict[str, Any]) -> dict[str, Any]:
    obj["metadata"].pop("uid", None)
    return obj


async def phase(house: Live, gvr: Any, name: str, wanted: str) -> bool:
    found = await house.admin.get(gvr, name, "default" if gvr is PERSISTENTVOLUMECLAIMS else None)
    return (found.get("status") or {}).get("phase") == wanted


async def gone(house: Live, gvr: Any, name: str) -> bool:
    return await absent(house.admin, gvr, name, "default" if gvr is PERSISTENTVOLUMECLAIMS else None)


async def test_binds_releases_and_protects(house: Live):
    admin = house.admin
    async with house.controllers(only=f"{BINDER},{PROTECTION}"):
        await admin.create(PERSISTENTVOLUMES, volume("pv", persistentVolumeReclaimPolicy="Retain"))
        await until(lambda: phase(house, PERSISTENTVOLUMES, "pv", "Available"), 10)
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim("late", storageClassName="")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        bound = await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default")
        assert bound["status"]["capacity"] == {"storage": "1Gi"} and bound["spec"]["volumeName"] == "pv"
        assert await phase(house, PERSISTENTVOLUMECLAIMS, "late", "Pending")
        await admin.delete(PERSISTENTVOLUMES, "pv")
        assert not await gone(house, PERSISTENTVOLUMES, "pv"), "it is in use"
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        await until(lambda: gone(house, PERSISTENTVOLUMECLAIMS, "c"), 10)
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_a_volume_says_since_when_it_has_been_in_its_phase(house: Live):
    """What an administrator made long ago is told to be bound since it was bound."""
    admin = house.admin
    made = await admin.create(PERSISTENTVOLUMES, volume("v"))
    assert made["status"] == {"phase": "Pending", "lastPhaseTransitionTime": made["metadata"]["creationTimestamp"]}
    old = "2026-01-01T00:00:00Z"
    await admin.patch(PERSISTENTVOLUMES, "v", {"status": {"lastPhaseTransitionTime": old}}, subresource="status")
    async with house.controllers(only=BINDER):
        await until(lambda: phase(house, PERSISTENTVOLUMES, "v", "Available"), 10)
    found = await admin.get(PERSISTENTVOLUMES, "v")
    assert found["status"]["lastPhaseTransitionTime"] >= made["metadata"]["creationTimestamp"]


async def test_a_claim_in_use_stays_until_its_pod_is_gone(house: Live):
    admin = house.admin
    async with house.controllers(only=f"{BINDER},{PROTECTION}"):
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await admin.create(PODS, user("p"), "default")
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        assert not await gone(house, PERSISTENTVOLUMECLAIMS, "c")
        await admin.delete(PODS, "p", "default", grace_period_seconds=0)
        await until(lambda: gone(house, PERSISTENTVOLUMECLAIMS, "c"), 10)


async def test_local_paths_come_where_the_pod_goes_and_go_with_their_claim(house: Live):
    admin = house.admin
    async with house.controllers(
        only=f"{BINDER},{PROTECTION},local-path-provisioner,persistentvolume-expander-controller",
        local_path_directory="/data",
    ):
        await admin.create(NODES, {"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}})
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim()))
        storage_class = {
            "metadata": {"name": "local", "annotations": {matching.DEFAULT_CLASS: "true"}},
            "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
            "allowVolumeExpansion": True,
        }
        await admin.create(STORAGECLASSES, storage_class)

        async def classed() -> bool:
            found = await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default")
            events = {e["reason"] for e in (await admin.list(EVENTS, "default"))["items"]}
            return found["spec"].get("storageClassName") == "local" and "WaitForFirstConsumer" in events

        await until(classed, 10)
        chosen = {"metadata": {"annotations": {matching.SELECTED_NODE: "n1"}}}
        await admin.patch(PERSISTENTVOLUMECLAIMS, "c", chosen, "default")
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        (made,) = (await admin.list(PERSISTENTVOLUMES))["items"]
        assert made["spec"]["hostPath"]["path"].startswith("/data/pvc-")
        assert made["spec"]["hostPath"]["path"].endswith("_default_c")
        larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        await admin.patch(PERSISTENTVOLUMECLAIMS, "c", larger, "default")

        async def grown() -> bool:
            found = await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default")
            return found["status"]["capacity"] == {"storage": "2Gi"}

        await until(grown, 10)
        # The volume first: its directory is given up when the claim goes, too.
        await admin.delete(PERSISTENTVOLUMES, made["metadata"]["name"])
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        await until(lambda: gone(house, PERSISTENTVOLUMES, made["metadata"]["name"]), 10)
        told = (await admin.get(NODES, "n1"))["metadata"]["annotations"][TO_REMOVE]
        assert told == made["spec"]["hostPath"]["path"].removeprefix("/data/")
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_attribute_classes_stay_while_they_are_used(house: Live):
    admin = house.admin
    async with house.controllers(only="volumeattributesclass-protection-controller"):
        one = {"metadata": {"name": "gold"}, "driverName": "disk.example.com", "parameters": {"iops": "5"}}
        await admin.create(VOLUMEATTRIBUTESCLASSES, one)
        user = volume("pv", volumeAttributesClassName="gold", csi={"driver": "disk.example.com", "volumeHandle": "v"})
        del user["spec"]["hostPath"]
        await admin.create(PERSISTENTVOLUMES, user)
        await admin.delete(VOLUMEATTRIBUTESCLASSES, "gold")
        assert not await gone(house, VOLUMEATTRIBUTESCLASSES, "gold")
        await admin.patch(PERSISTENTVOLUMES, "pv", {"metadata": {"finalizers": None}})
        await admin.delete(PERSISTENTVOLUMES, "pv")
        await until(lambda: gone(house, VOLUMEATTRIBUTESCLASSES, "gold"), 10)
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


def test_who_uses_a_claim():
    def pod(name: str, source: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "default", "uid": name, **metadata}
        return {"metadata": metadata, "spec": {"nodeName": "n", "volumes": [{"name": "v", **source}]}}

    shut_down = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
    by_name = {"persistentVolumeClaim": {"claimName": "c"}}
    assert uses(pod("p", by_name), claim()) and uses(pod("p", by_name, **shut_down), claim())
    assert uses({**pod("p", by_name), "status": {"phase": "Succeeded"}}, claim()), "it may be looked into"
    assert not uses(pod("p", by_name, namespace="other"), claim())
    waiting = pod("p", by_name)
    del waiting["spec"]["nodeName"]
    assert not uses(waiting, claim())
    own = claim("p-v")
    own["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "p", "uid": "p", "controller": True}]
    assert uses(pod("p", {"ephemeral": {"volumeClaimTemplate": {}}}), own)
    assert not uses(pod("p", {"ephemeral": {"volumeClaimTemplate": {}}}, **shut_down), own), (
        "the pod may wait for the claim"
    )
    assert not uses(pod("p", {"ephemeral": {"volumeClaimTemplate": {}}}, uid="other"), own)


async def test_a_claim_without_a_class_takes_what_is_there_before_the_default(house: Live):
    admin = house.admin
    await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim()))
    await admin.create(PERSISTENTVOLUMES, volume("pv"))
    default = {"metadata": {"name": "std", "annotations": {matching.DEFAULT_CLASS: "true"}}, "provisioner": "x.io/y"}
    await admin.create(STORAGECLASSES, default)
    async with house.controllers(only=BINDER):
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        bound = await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default")
        assert bound["spec"]["volumeName"] == "pv" and not bound["spec"].get("storageClassName")


async def test_reserved_from_both_sides(house: Live):
    """The class is judged only where one side alone has chosen."""
    admin = house.admin
    async with house.controllers(only=BINDER):
        await admin.create(PERSISTENTVOLUMES, volume("pv", claimRef={"namespace": "default", "name": "c"}))
        await admin.create(PERSISTENTVOLUMES, volume("free"))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="fast", volumeName="pv")))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim("wrong", storageClassName="fast", volumeName="free")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        wanted = 'Cannot bind to requested volume "free": storageClassName does not match'

        async def told() -> bool:
            return any(e["message"] == wanted for e in (await admin.list(EVENTS, "default"))["items"])

        await until(told, 10)


async def test_a_volume_whose_claim_found_another_stays_reserved_or_is_free(house: Live):
    admin = house.admin
    made = await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="", volumeName="right")))
    reference = {"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]}
    await admin.create(PERSISTENTVOLUMES, volume("right"))
    await admin.create(PERSISTENTVOLUMES, volume("reserved", claimRef=reference))
    by_us = volume("by-us", claimRef=reference)
    by_us["metadata"]["annotations"] = {matching.BOUND_BY_CONTROLLER: "yes"}
    await admin.create(PERSISTENTVOLUMES, by_us)
    async with house.controllers(only=BINDER):
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        for name in ("reserved", "by-us"):
            await until(lambda n=name: phase(house, PERSISTENTVOLUMES, n, "Available"), 10)
        kept = (await admin.get(PERSISTENTVOLUMES, "reserved"))["spec"]["claimRef"]
        assert kept["name"] == "c" and not kept.get("uid")
        assert not (await admin.get(PERSISTENTVOLUMES, "by-us"))["spec"].get("claimRef")


async def test_a_lost_claim_has_no_capacity(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        await admin.create(PERSISTENTVOLUMES, volume("pv"))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        found = await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default")
        condition = {"type": "FileSystemResizePending", "status": "True"}
        status = {**found["status"], "conditions": [condition]}
        await admin.update_status(PERSISTENTVOLUMECLAIMS, {**found, "status": status})
        await admin.patch(PERSISTENTVOLUMES, "pv", {"metadata": {"finalizers": None}})
        await admin.delete(PERSISTENTVOLUMES, "pv")
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Lost"), 10)
        lost = (await admin.get(PERSISTENTVOLUMECLAIMS, "c", "default"))["status"]
        assert (
            "capacity" not in lost and "accessModes" not in lost and lost["conditions"][0]["type"] == condition["type"]
        )


async def test_an_ephemeral_claim_of_somebody_else_is_told_at_the_pod(house: Live):
    admin = house.admin
    await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim("p-v")))
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    volumes = [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]
    async with house.controllers(only="ephemeral-volume-controller"):
        spec = {"containers": [{"name": "c", "image": "x"}], "volumes": volumes}
        await admin.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")
        wanted = "ephemeral volume v: PVC default/p-v was not created for pod default/p (pod is not owner)"

        async def told() -> bool:
            events = (await admin.list(EVENTS, "default"))["items"]
            return any((e["reason"], e["message"]) == ("FailedBinding", wanted) for e in events)

        await until(told, 10)
        # Once that is gone the pod gets its own.
        await admin.patch(PERSISTENTVOLUMECLAIMS, "p-v", {"metadata": {"finalizers": None}}, "default")
        await admin.delete(PERSISTENTVOLUMECLAIMS, "p-v", "default")

        async def owned() -> bool:
            found = (await admin.list(PERSISTENTVOLUMECLAIMS, "default"))["items"]
            return [o["name"] for c in found for o in c["metadata"].get("ownerReferences") or ()] == ["p"]

        await until(owned, 2)


async def test_a_claim_waits_for_the_volume_that_it_names(house: Live):
    admin = house.admin
    async with house.controllers(only=BINDER):
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="", volumeName="pv")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Pending"), 10)
        await admin.create(PERSISTENTVOLUMES, volume("pv"))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)


async def test_a_retained_volume_is_free_again_when_an_administrator_says_so(house: Live):
    admin = house.admin
    async with house.controllers(only=f"{BINDER},{PROTECTION}"):
        await admin.create(PERSISTENTVOLUMES, volume("pv", persistentVolumeReclaimPolicy="Retain"))
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "c", "Bound"), 10)
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim("next", storageClassName="", volumeName="pv")))
        await admin.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        await until(lambda: phase(house, PERSISTENTVOLUMES, "pv", "Released"), 10)
        assert await phase(house, PERSISTENTVOLUMECLAIMS, "next", "Pending")
        await admin.patch(PERSISTENTVOLUMES, "pv", {"spec": {"claimRef": None}})
        await until(lambda: phase(house, PERSISTENTVOLUMECLAIMS, "next", "Bound"), 10)


async def test_an_attribute_class_is_refused_where_nothing_could_apply_it(house: Live):
    admin = house.admin
    async with house.controllers(only=f"{BINDER},local-path-provisioner"):
        await admin.create(
            VOLUMEATTRIBUTESCLASSES, {"metadata": {"name": "gold"}, "driverName": "x.io", "parameters": {"a": "b"}}
        )
        await admin.create(STORAGECLASSES, {"metadata": {"name": "local"}, "provisioner": PROVISIONER})
        await admin.create(
            PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="local", volumeAttributesClassName="gold"))
        )
        wanted = 'failed to provision volume with StorageClass "local": VolumeAttributesClasses are not supported'

        async def told() -> bool:
            events = (await admin.list(EVENTS, "default"))["items"]
            return any((e["reason"], e["message"]) == ("ProvisioningFailed", wanted) for e in events)

        await until(told, 10)


async def test_a_claim_names_all_pods_that_it_waits_for(house: Live):
    admin = house.admin
    later = {"metadata": {"name": "later"}, "provisioner": "x.io/y", "volumeBindingMode": "WaitForFirstConsumer"}
    await admin.create(STORAGECLASSES, later)
    template = {"spec": claim(storageClassName="later")["spec"]}
    shared = {"persistentVolumeClaim": {"claimName": "c"}}
    async with house.controllers(only=f"{BINDER},ephemeral-volume-controller"):
        for name, source in (("a", shared), ("b", shared), ("own", {"ephemeral": {"volumeClaimTemplate": template}})):
            spec = {"containers": [{"name": "c", "image": "x"}], "volumes": [{"name": "v", **source}]}
            await admin.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")
        await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="later")))

        async def told() -> bool:
            events = (await admin.list(EVENTS, "default"))["items"]
            said = {e["message"] for e in events if e["reason"] == "WaitForPodScheduled"}
            return said >= {"waiting for pods a,b to be scheduled", "waiting for pod own to be scheduled"}

        await until(told, 10)
