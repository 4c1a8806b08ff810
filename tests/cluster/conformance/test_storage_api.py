"""The API objects of storage: every verb, statuses, and what may no longer be changed."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.cluster.conformance.api import MERGE, Api, Collection, Obj, refused
from tests.cluster.conformance.lifecycle import every_verb, is_discovered, status_verbs
from tests.cluster.conformance.objects import condition
from tests.waiting import eventually

S = "[sig-storage] "
STORAGE = "storage.k8s.io/v1"


def kept(api: Api, resource: str, kind: str, ns: str | None = None, **fields: Any) -> None:
    """Every verb on objects of the group storage.k8s.io; a change is a label."""

    def make(name: str) -> Obj:
        return {"apiVersion": STORAGE, "kind": kind, "metadata": {"name": name}, **fields}

    is_discovered(api, STORAGE, resource)
    every_verb(api.at(STORAGE, resource, ns), make, labelled, is_labelled)


def labelled(obj: Obj) -> None:
    obj["metadata"].setdefault("labels", {})["changed"] = "updated"


def is_labelled(obj: Obj) -> bool:
    return bool(obj["metadata"]["labels"].get("changed") == "updated")


@pytest.mark.conformance(f"{S}CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]")
def test_csi_driver(api):
    kept(api, "csidrivers", "CSIDriver", spec={"volumeLifecycleModes": ["Ephemeral"], "attachRequired": False})


@pytest.mark.conformance(f"{S}CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]")
def test_csi_node(api):
    kept(api, "csinodes", "CSINode", spec={"drivers": []})


@pytest.mark.conformance(f"{S}CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]")
def test_csi_storage_capacity(api, ns):
    kept(api, "csistoragecapacities", "CSIStorageCapacity", ns, storageClassName="e2e", capacity="1Gi")


@pytest.mark.conformance(
    f"{S}StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"
)
def test_storage_class(api):
    kept(api, "storageclasses", "StorageClass", provisioner="e2e-fake-provisioner")


@pytest.mark.conformance(
    f"{S}VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a "
    "VolumeAttributesClass [Conformance]"
)
def test_volume_attributes_class(api):
    kept(api, "volumeattributesclasses", "VolumeAttributesClass", driverName="e2e-fake", parameters={"iops": "1000"})


ATTACHMENT = {"attacher": "e2e.example.com", "nodeName": "e2e-no-such-node", "source": {"persistentVolumeName": "pv"}}


@pytest.mark.conformance(
    f"{S}VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]"
)
def test_volume_attachment(api):
    kept(api, "volumeattachments", "VolumeAttachment", spec=ATTACHMENT)


@pytest.mark.conformance(
    f"{S}VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"
)
def test_volume_attachment_status(api):
    attachments = api.at(STORAGE, "volumeattachments")
    made = {"apiVersion": STORAGE, "kind": "VolumeAttachment", "metadata": {"name": "with-status"}, "spec": ATTACHMENT}
    attachments.create(made)
    attachments.patch("with-status", {"metadata": {"labels": {"changed": "updated"}}}, MERGE)
    assert is_labelled(attachments.get("with-status"))
    assert attachments.get("with-status", "status")["status"]["attached"] is False
    after = status_verbs(attachments, "with-status", {"attached": True}, lambda s: s.update(attached=False))
    assert after["status"]["attached"] is False
    attachments.delete("with-status")
    eventually(lambda: attachments.find("with-status") is None, "it is gone")


def persistent_volume(name: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "conformance-none",
            "hostPath": {"path": "/tmp/conformance-pv"},
        },
    }


def claim(name: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "conformance-none",
            # Matches no volume: it stays Pending.
            "selector": {"matchLabels": {"conformance": "no-such-volume"}},
            "resources": {"requests": {"storage": "2Gi"}},
        },
    }


@pytest.mark.conformance(
    f"{S}PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]"
)
def test_volumes_and_claims(api, ns):
    every_verb(api.at("v1", "persistentvolumes"), persistent_volume, labelled, is_labelled)
    every_verb(api.at("v1", "persistentvolumeclaims", ns), claim, labelled, is_labelled)


@pytest.mark.conformance(f"{S}PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]")
def test_volume_and_claim_status(api, ns):
    volumes, claims = api.at("v1", "persistentvolumes"), api.at("v1", "persistentvolumeclaims", ns)
    made = persistent_volume("with-status")
    made["metadata"]["labels"] = {"conformance": "pv-status"}
    volumes.create(made)
    claims.create(claim("with-status"))
    assert [o["metadata"]["name"] for o in volumes.items("conformance=pv-status")] == ["with-status"]
    assert [o["metadata"]["name"] for o in claims.items()] == ["with-status"]
    assert claims.get("with-status", "status")["status"]["phase"] == "Pending"
    available = eventually(
        lambda: volumes.get("with-status", "status")["status"].get("phase") == "Available", "the volume is available"
    )
    assert available

    def said(kind: str, status: str, reason: str) -> Obj:
        return {"type": kind, "status": status, "reason": reason, "message": "by a test"}

    after = status_verbs(
        claims,
        "with-status",
        {"conditions": [said("StatusPatched", "True", "E2E")]},
        lambda s: s["conditions"].append(said("StatusUpdated", "True", "E2E")),
    )
    assert condition(after, "StatusUpdated")["reason"] == "E2E" and condition(after, "StatusPatched")
    after = status_verbs(
        volumes,
        "with-status",
        {"message": "StatusPatched", "reason": "E2E patchStatus"},
        lambda s: s.update(message="StatusUpdated", reason="E2E updateStatus"),
    )
    assert (after["status"]["message"], after["status"]["reason"]) == ("StatusUpdated", "E2E updateStatus")
    claims.delete("with-status")
    volumes.delete("with-status")
    eventually(lambda: volumes.find("with-status") is None, "the volume is gone")


def becomes_immutable(collection: Collection, kind: str, encode: Any) -> None:
    collection.create({"kind": kind, "metadata": {"name": "fixed"}, "data": {"data-1": encode("value-1")}})
    collection.edit("fixed", lambda o: o["data"].update({"data-1": encode("value-2")}))
    collection.edit("fixed", lambda o: o.update(immutable=True))
    with refused(422, "Invalid", "field is immutable when `immutable` is set"):
        collection.edit("fixed", lambda o: o["data"].update({"data-1": encode("value-3")}))
    with refused(422, "Invalid", "immutable", "field is immutable when `immutable` is set"):
        collection.edit("fixed", lambda o: o.update(immutable=False))
    after = collection.edit("fixed", labelled)
    assert is_labelled(after) and after["data"] == {"data-1": encode("value-2")}
    collection.delete("fixed")
    assert collection.find("fixed") is None


@pytest.mark.conformance(f"{S}ConfigMap should be immutable if `immutable` field is set [Conformance]")
def test_immutable_config_map(api, ns):
    becomes_immutable(api.at("v1", "configmaps", ns), "ConfigMap", str)


@pytest.mark.conformance(f"{S}Secrets should be immutable if `immutable` field is set [Conformance]")
def test_immutable_secret(api, ns):
    becomes_immutable(api.at("v1", "secrets", ns), "Secret", lambda text: base64.b64encode(text.encode()).decode())


@pytest.mark.conformance(f"{S}CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]")
def test_csi_source_in_a_pod(api, ns):
    def make(name: str) -> Obj:
        container = {"name": "main", "image": "localhost/hello:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        source = {"driver": "e2e.example.com", "volumeAttributes": {"share": "foo"}, "readOnly": True}
        # No node has this label: nobody tries to run it.
        spec = {"containers": [container], "volumes": [{"name": "v", "csi": source}]}
        spec |= {"nodeSelector": {"conformance": "nowhere"}, "terminationGracePeriodSeconds": 0}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    every_verb(api.pods(ns), make, labelled, is_labelled)
    kept_source = api.pods(ns).create(make("one"))["spec"]["volumes"][0]["csi"]
    assert kept_source == {"driver": "e2e.example.com", "volumeAttributes": {"share": "foo"}, "readOnly": True}
