from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import absent
from tests.controllers.live import Live, live
from tests.waiting import until

from shirube.api import nfs_directories as directories
from shirube.api.gvr import EVENTS, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from shirube.controllers import nfs_provisioner
from shirube.controllers.nfs_parameters import (
    PROVISIONER,
    ParameterError,
    directory_for,
    parameters_of,
    request_for,
    volume_for,
)
from shirube.controllers.volume_provisioning import FINALIZER

TABLE = (
    "nfs-provisioner,persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,"
    "persistentvolume-protection-controller,persistentvolume-expander-controller"
)
GOOD = {"server": "nfs.example.com", "share": "/export"}


def storage_class(**parameters: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "nfs"},
        "provisioner": PROVISIONER,
        "parameters": {**GOOD, **parameters},
        "reclaimPolicy": "Delete",
        "mountOptions": ["nfsvers=4.1"],
        "allowVolumeExpansion": True,
        "volumeBindingMode": "Immediate",
    }


def claim(name: str = "data", **spec: Any) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "nfs",
        **spec,
    }
    return {"metadata": {"name": name, "namespace": "default", "uid": "u", "resourceVersion": "1"}, "spec": spec}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"server": ""}, "parameter server is missing"),
        ({"server": "-o exec"}, "must be a host name or an address"),
        ({"server": "a,b"}, "must be a host name or an address"),
        ({"share": ""}, "parameter share is missing"),
        ({"share": "export"}, "must be an absolute path"),
        ({"share": "/export/../etc"}, 'must not contain "." or ".."'),
        ({"share": "/export\n"}, "must be an absolute path"),
        ({"onDelete": "keep"}, "it must be delete, retain or archive"),
        ({"mountPermissions": "rwx"}, "it must be octal"),
        ({"archiveOnDelete": "true"}, 'unknown parameter "archiveOnDelete"'),
        ({"SERVER": "other"}, "is given twice"),
        ({"subDir": "../${pvc.metadata.name}"}, 'without empty parts, "." and ".."'),
        ({"subDir": "/${pvc.metadata.name}"}, "must be a relative path"),
        ({"subDir": "${pvc.metadata.namespace}/"}, "must be a relative path"),
        ({"subDir": "a/./b"}, "must be a relative path"),
        ({"subDir": "archived-${pvc.metadata.name}"}, "are kept for what was removed"),
        ({"subDir": ".deleted-${pvc.metadata.name}"}, "are kept for what was removed"),
        ({"subDir": "${pvc.metadata.labels.x}"}, "${pvc.metadata.labels.x} is not known"),
        ({"subDir": "a\n${pvc.metadata.name}"}, "printable"),
        ({"subDir": "x" * 201}, "longer than 200 bytes"),
        ({"subDir": "/".join(["x" * 100] * 11)}, "at most 1024 bytes"),
    ],
)
def test_what_a_class_must_not_say(parameters, said):
    with pytest.raises(ParameterError) as caught:
        volume_for(claim(), storage_class(**parameters))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"volumeMode": "Block"}, "a directory cannot be a block device"),
        ({"selector": {}}, None),
        ({"selector": {"matchLabels": {"a": "b"}}}, "Selector is not supported"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}, "data sources are not supported"),
        ({"volumeAttributesClassName": "gold"}, "VolumeAttributesClasses are not supported"),
    ],
)
def test_what_a_claim_must_not_ask(spec, said):
    if said is None:
        assert volume_for(claim(**spec), storage_class())["spec"]["nfs"]
        return
    with pytest.raises(ParameterError, match=said):
        volume_for(claim(**spec), storage_class())


def test_the_volume_of_a_claim():
    made = volume_for(claim(), storage_class(subDir="${pvc.metadata.namespace}/${pvc.metadata.name}"))
    assert made["spec"]["nfs"] == {"server": "nfs.example.com", "path": "/export/default/data"}
    assert made["spec"]["accessModes"] == ["ReadWriteMany"] and made["spec"]["mountOptions"] == ["nfsvers=4.1"]
    assert made["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == PROVISIONER
    asked = request_for(made)
    assert asked == directories.Request("delete", "nfs.example.com", "/export", "default/data", ("nfsvers=4.1",))
    node = {"metadata": {"name": "n", "resourceVersion": "7"}}
    patch = directories.patch_of(node, {"pvc-u": replace(asked, error="no")})
    node["metadata"]["annotations"] = patch["metadata"]["annotations"]
    assert directories.requests_of(node) == {"pvc-u": replace(asked, error="no")}
    assert directories.patch_of(node, {})["metadata"]["annotations"] == {directories.REQUESTS: None}


def test_a_volume_that_was_tampered_with_names_no_directory():
    made = volume_for(claim(), storage_class())
    for path in ("/export", "/export/", "/etc/passwd", "/export/../etc", "/exported/x"):
        with pytest.raises(ParameterError):
            request_for({**made, "spec": {**made["spec"], "nfs": {"server": "s", "path": path}}})


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", fullmatch=True)
SPACES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True).filter(lambda n: "archived-" not in n)
VOLUME = "pvc-00000000-0000-4000-8000-000000000001"


@given(SPACES, NAMES)
def test_any_claim_gets_a_safe_directory_of_its_own(namespace, name):
    one = {"metadata": {"name": name, "namespace": namespace}}
    found = directory_for("", one, VOLUME)
    assert directories.checked_directory(found) == found and VOLUME in found and "/" not in found
    assert len(directories.archive_name(found, VOLUME).encode()) <= 255


@given(st.text("./a-${}pvc.metadata.name\n", max_size=60))
def test_no_pattern_leads_out_of_the_share(pattern):
    try:
        found = directory_for(pattern, claim(), VOLUME)
    except ParameterError:
        return
    assert str(Path("/export", found).resolve()).startswith("/export/") and ".." not in found.split("/")


def test_directories_that_touch_are_told_apart():
    def made(name: str, sub_dir: str, on_delete: str = "delete", **parameters: str) -> dict[str, Any]:
        one = claim()
        one["metadata"]["uid"] = name
        return volume_for(one, storage_class(subDir=sub_dir, onDelete=on_delete, **parameters))

    wanted = made("new", "team/data")
    clash: Callable[..., str] = lambda *others: nfs_provisioner.in_the_way(wanted, others)  # noqa: E731
    assert clash(made("other", "team/data2"), made("new", "team/data"), made("x", "team", server="elsewhere")) == ""
    assert clash(made("same", "team/data")) == "pvc-same"
    assert clash(made("above", "team", "retain")) == "pvc-above"
    assert clash(made("below", "team/data/deep")) == "pvc-below"
    both = made("new", "team/data", "retain")
    assert nfs_provisioner.in_the_way(both, [made("same", "team/data", "retain")]) == "", "it is shared on purpose"
    by_hand = {"metadata": {"name": "hand"}, "spec": {"nfs": {"server": "nfs.example.com", "path": "/export"}}}
    assert clash(by_hand) == "" and nfs_provisioner.inside(wanted, [by_hand, wanted]) == ""
    by_hand["spec"]["nfs"]["path"] = "/export/team/data/deep"
    assert nfs_provisioner.inside(wanted, [by_hand]) == "hand"


def node(name: str, ready: str = "True", asked: int = 0, **spec: Any) -> dict[str, Any]:
    one = directories.Request("delete", "s", "/e", "d")
    metadata = {"name": name, "resourceVersion": "1", "annotations": {}}
    made = {"metadata": metadata, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
    patch = directories.patch_of(made, {f"pvc-{n}": one for n in range(asked)})
    metadata["annotations"] = {k: v for k, v in patch["metadata"]["annotations"].items() if v}
    return made


def test_who_is_asked():
    shunned = {"taints": [{"key": "a", "effect": "NoSchedule"}]}
    nodes = [node("a", "Unknown"), node("b", asked=2), node("c", asked=1), node("d", **shunned), node("e", asked=8)]
    chosen = nfs_provisioner.chosen_node(nodes)
    assert chosen is not None and chosen["metadata"]["name"] == "c"
    another = nfs_provisioner.chosen_node(nodes, but="c")
    assert another is not None and another["metadata"]["name"] == "b"
    alone = nfs_provisioner.chosen_node([nodes[2]], but="c")
    assert alone is not None, "better the same again than nobody"
    assert nfs_provisioner.chosen_node([nodes[0], nodes[4]]) is None


# -- against the API server


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


@asynccontextmanager
async def bound(house: Live, **parameters: str) -> AsyncIterator[dict[str, Any]]:
    """The volume of a claim, on a cluster of one node."""
    async with house.controllers(only=TABLE):
        await ready_node(house, "n1")
        await house.admin.create(STORAGECLASSES, storage_class(**parameters))
        await make_claim(house)
        yield await volume_of(house)


async def ready_node(house: Live, name: str) -> None:
    await house.admin.create(NODES, {"metadata": {"name": name}})
    await set_ready(house, name, "True")


async def set_ready(house: Live, name: str, status: str) -> None:
    """Since long ago."""
    conditions = [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    await house.admin.patch(NODES, name, {"status": {"conditions": conditions}}, subresource="status")


async def make_claim(house: Live, name: str = "data", **spec: Any) -> dict[str, Any]:
    made = claim(name, **spec)
    del made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    return await house.admin.create(PERSISTENTVOLUMECLAIMS, made)


async def volume_of(house: Live, name: str = "data") -> dict[str, Any]:
    async def bound() -> Any:
        found = await house.admin.get(PERSISTENTVOLUMECLAIMS, name, "default")
        return (found.get("status") or {}).get("phase") == "Bound" and found["spec"]["volumeName"]

    return await house.admin.get(PERSISTENTVOLUMES, await until(bound, 10))


async def gone(house: Live, name: str) -> bool:
    return await absent(house.admin, PERSISTENTVOLUMES, name)


async def told(house: Live, reason: str, text: str) -> bool:
    events = (await house.admin.list(EVENTS, "default"))["items"]
    return any(e["reason"] == reason and text in e["message"] for e in events)


async def asked_of(house: Live, name: str) -> dict[str, directories.Request]:
    return directories.requests_of(await house.admin.get(NODES, name))


async def answer(house: Live, name: str, **result: Any) -> None:
    """As the node's agent does it."""

    async def asked() -> bool:
        found = await asked_of(house, name)
        return bool(found) and not any(one.answered for one in found.values())

    await until(asked, 10)
    one = await house.admin.get(NODES, name)
    done = {key: replace(request, **result) for key, request in directories.requests_of(one).items()}
    await house.admin.patch(NODES, name, directories.patch_of(one, done))


async def test_from_claim_to_volume_and_back(house: Live):
    admin = house.admin
    async with bound(house) as made:
        name = made["metadata"]["name"]
        assert made["spec"]["nfs"]["path"] == f"/export/default-data-{name}" and made["spec"]["capacity"]
        await until(lambda: told(house, "ProvisioningSucceeded", f"Successfully provisioned volume {name}"), 10)
        larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        await admin.patch(PERSISTENTVOLUMECLAIMS, "data", larger, "default")

        async def grown() -> bool:
            found = await admin.get(PERSISTENTVOLUMECLAIMS, "data", "default")
            return found["status"]["capacity"] == {"storage": "2Gi"}

        await until(grown, 10)
        await admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await answer(house, "n1", done=True)
        await until(lambda: gone(house, name), 10)

        async def tidy() -> bool:
            return not await asked_of(house, "n1")

        await until(tidy, 10)
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_what_is_retained_asks_nobody_and_bad_parameters_are_told(house: Live):
    admin = house.admin
    async with bound(house, onDelete="retain") as made:
        name = made["metadata"]["name"]
        await admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await until(lambda: gone(house, name), 10)
        assert not await asked_of(house, "n1")
        bad = {**storage_class(subDir="../x"), "metadata": {"name": "bad"}}
        await admin.create(STORAGECLASSES, bad)
        await make_claim(house, "lost", storageClassName="bad")
        said = 'failed to provision volume with StorageClass "bad": parameter subDir is "../x"'
        await until(lambda: told(house, "ProvisioningFailed", said), 10)
        assert not (await admin.list(PERSISTENTVOLUMES))["items"]
        # A class cannot be changed, but replaced: the claim gets its volume then.
        await admin.delete(STORAGECLASSES, "bad")
        await admin.create(STORAGECLASSES, {**storage_class(), "metadata": {"name": "bad"}})
        await volume_of(house, "lost")


async def test_a_name_used_again_waits_until_the_old_directory_is_gone(house: Live, monkeypatch):
    admin = house.admin
    async with bound(house, subDir="${pvc.metadata.name}", onDelete="archive") as made:
        old = made["metadata"]["name"]
        await admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")

        async def released() -> bool:
            return bool(await asked_of(house, "n1"))

        await until(released, 10)
        await make_claim(house)
        await until(lambda: told(house, "ProvisioningFailed", f"in that of volume {old}; waiting"), 10)
        await answer(house, "n1", done=True)
        new = await volume_of(house)
        assert new["metadata"]["name"] != old and new["spec"]["nfs"]["path"] == "/export/data"


async def test_after_an_error_another_node_is_asked(house: Live, monkeypatch):
    monkeypatch.setattr(nfs_provisioner, "_FIRST_RETRY", 0.05)
    admin = house.admin
    async with bound(house) as made:
        await ready_node(house, "n2")
        name = made["metadata"]["name"]
        await admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await answer(house, "n1", error="mount failed: no route to host")
        await until(lambda: told(house, "VolumeFailedDelete", "node n1: mount failed: no route to host"), 10)
        await answer(house, "n2", done=True)
        await until(lambda: gone(house, name), 10)


async def test_a_volume_deleted_before_its_claim_takes_its_directory_along(house: Live):
    admin = house.admin
    async with bound(house) as made:
        name = made["metadata"]["name"]
        assert FINALIZER in made["metadata"]["finalizers"]
        await admin.delete(PERSISTENTVOLUMES, name)
        assert not await asked_of(house, "n1"), "the claim still uses it"
        await admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await answer(house, "n1", done=True)
        await until(lambda: gone(house, name), 10)


async def test_a_silent_node_is_asked_no_more(house: Live):
    async with bound(house) as made:
        name = made["metadata"]["name"]
        await house.admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await until(lambda: asked_of(house, "n1"), 10)
        await ready_node(house, "n2")
        assert not await asked_of(house, "n2"), "one is enough while it is there"
        await set_ready(house, "n1", "Unknown")
        await answer(house, "n2", done=True)
        await until(lambda: gone(house, name), 10)
        assert not await asked_of(house, "n1")


async def test_no_directory_goes_while_another_volume_lies_in_it(house: Live):
    admin = house.admin
    async with bound(house) as made:
        name, source = made["metadata"]["name"], made["spec"]["nfs"]
        by_hand = {key: made["spec"][key] for key in ("capacity", "accessModes")}
        by_hand["nfs"] = {**source, "path": source["path"] + "/part"}
        await admin.create(PERSISTENTVOLUMES, {"metadata": {"name": "hand"}, "spec": by_hand})
        await admin.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await until(lambda: told(house, "VolumeFailedDelete", "volume hand has the same or one in it"), 10)
        assert not await asked_of(house, "n1")
        await admin.delete(PERSISTENTVOLUMES, "hand")
        await answer(house, "n1", done=True)
        await until(lambda: gone(house, name), 10)


def test_parameters_in_the_case_of_other_provisioners():
    found = parameters_of(storage_class(subdir="x", ONDELETE="Retain", mountPermissions="755"))
    assert (found.sub_dir, found.on_delete, found.permissions) == ("x", "retain", 0o755)
