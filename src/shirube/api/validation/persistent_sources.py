"""Validation of what a persistent volume is made of, where that differs from a volume of a pod.

A persistent volume belongs to no namespace, so every secret it needs is named together with one; `local` exists only
here. Follows core's ``ValidatePersistentVolumeSpec``, also for the inline specs of VolumeAttachments.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.validation import volume_sources as shared
from shirube.api.validation.claim_spec import validate_access_modes
from shirube.api.validation.field import Cause, forbidden, invalid, required
from shirube.api.validation.paths import validate_no_backsteps
from shirube.api.validation.volume_sources import Check, Obj, validate_driver_name

_SECOND_SOURCE = "may not specify more than 1 volume type"
_INITIATOR_TOO_LONG = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
    "specified."
)
_CSI_SECRETS = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip


def _glusterfs(out: list[Cause], source: Obj, path: str) -> None:
    shared.glusterfs(out, source, path)
    namespace = source.get("endpointsNamespace")
    if namespace is None:
        return
    at = f"{path}.endpointsNamespace"
    if not namespace:
        out.append(invalid(at, namespace, "if the endpointnamespace is set, it must be a valid namespace name"))
    else:
        out.extend(invalid(at, namespace, m) for m in names.is_dns1123_label(namespace))


def _secret(out: list[Cause], source: Obj, path: str) -> None:
    if (reference := source.get("secretRef")) is not None:
        for field in ("name", "namespace"):
            if not reference.get(field):
                out.append(required(f"{path}.secretRef.{field}"))


def _cinder(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("volumeID"):
        out.append(required(f"{path}.volumeID"))
    _secret(out, source, path)


def _storage_os(out: list[Cause], source: Obj, path: str) -> None:
    shared.storage_os(out, {**source, "secretRef": None}, path)
    _secret(out, source, path)


def _azure_file(out: list[Cause], source: Obj, path: str) -> None:
    shared.azure_file(out, source, path)
    if source.get("secretNamespace") == "":
        out.append(required(f"{path}.secretNamespace"))


def _iscsi(out: list[Cause], source: Obj, path: str) -> None:
    shared.validate_iscsi(out, source, path, "must be valid format")
    reference = source.get("secretRef")
    if reference is not None and not reference.get("name"):
        out.append(required(f"{path}.secretRef.name"))


def _local(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("path"):
        out.append(required(f"{path}.path"))
    else:
        validate_no_backsteps(out, source["path"], f"{path}.path")


def _csi(out: list[Cause], source: Obj, path: str) -> None:
    validate_driver_name(out, source.get("driver", ""), f"{path}.driver")
    if not source.get("volumeHandle"):
        out.append(required(f"{path}.volumeHandle"))
    for field in _CSI_SECRETS:
        if (reference := source.get(field)) is None:
            continue
        at, name, namespace = f"{path}.{field}", reference.get("name", ""), reference.get("namespace", "")
        if not name:
            out.append(required(f"{at}.name"))
        else:
            out.extend(invalid(f"{at}.name", name, m) for m in names.is_dns1123_subdomain(name))
        if not namespace:
            out.append(required(f"{at}.namespace"))
        else:
            out.extend(invalid(f"{at}.namespace", namespace, m) for m in names.is_dns1123_label(namespace))


# in upstream's order: the first source found counts, every further one is forbidden
SOURCES: dict[str, Check] = {
    "hostPath": shared.host_path,
    "gcePersistentDisk": shared.gce_persistent_disk,
    "awsElasticBlockStore": shared.aws_elastic_block_store,
    "glusterfs": _glusterfs,
    "flocker": shared.flocker,
    "nfs": shared.nfs,
    "rbd": shared.rbd,
    "quobyte": shared.quobyte,
    "cephfs": shared.cephfs,
    "iscsi": _iscsi,
    "cinder": _cinder,
    "fc": shared.fc,
    "flexVolume": shared.flex_volume,
    "azureFile": _azure_file,
    "vsphereVolume": shared.vsphere_volume,
    "photonPersistentDisk": shared.photon_persistent_disk,
    "portworxVolume": shared.portworx_volume,
    "azureDisk": shared.azure_disk,
    "scaleIO": shared.scale_io,
    "local": _local,
    "storageos": _storage_os,
    "csi": _csi,
}


def sources_of(spec: Obj) -> list[str]:
    """The sources that a spec names, in upstream's order."""
    return [field for field in SOURCES if spec.get(field) is not None]


def validate_persistent_source(out: list[Cause], spec: Obj, path: str, name: str) -> None:
    """Exactly one source, and that one whole. `name` is the volume's."""
    found = sources_of(spec)
    if not found:
        out.append(required(path, "must specify a volume type"))
        return
    for field in found[1:]:
        out.append(forbidden(f"{path}.{'cephFS' if field == 'cephfs' else field}", _SECOND_SOURCE))
    field = found[0]
    SOURCES[field](out, spec[field], f"{path}.{'persistentDisk' if field == 'gcePersistentDisk' else field}")
    if field == "local" and not (spec.get("nodeAffinity") or {}).get("required"):
        out.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    if field == "iscsi" and spec["iscsi"].get("initiatorName") is not None:
        portal = spec["iscsi"].get("targetPortal", "")
        if len(f"{name}:{portal}") > 64:
            out.append(invalid(f"{path}.iscsi.targetportal", portal, _INITIATOR_TOO_LONG))


def validate_inline_spec(out: list[Cause], spec: Obj, path: str) -> None:
    """A volume inside a VolumeAttachment, of a pod that was moved from an old plugin to CSI."""
    inline = "in the context of inline volumes"
    for field in ("claimRef", "capacity", "nodeAffinity", "storageClassName"):
        if spec.get(field):
            out.append(forbidden(f"{path}.{field}", f"may not be specified {inline}"))
    if spec.get("csi") is None:
        out.append(required(f"{path}.csi", f"has to be specified {inline}"))
    validate_access_modes(out, spec.get("accessModes") or [], f"{path}.accessModes", "")
    if spec.get("persistentVolumeReclaimPolicy", "Retain") != "Retain":
        out.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {inline}"))
    validate_persistent_source(out, spec, path, "")
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        out.append(forbidden(f"{path}.volumeMode", f"may not specify volumeMode other than Filesystem {inline}"))
