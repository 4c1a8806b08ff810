"""Validation of the volumes of a pod.

One function a source, in one table; a volume has exactly one source. Those that persistent volumes have too are in
`volume_sources`.
Follows core's ``ValidateVolumes`` and ``validateVolumeSource``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.claim_spec import validate_claim_spec
from shirube.api.validation.environment import (
    VOLUME_FIELDS,
    validate_field_ref,
    validate_resource_field_ref,
)
from shirube.api.validation.field import Cause, duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.object_meta import validate_template_metadata
from shirube.api.validation.paths import validate_projected_path
from shirube.api.validation.resource_requirements import parse_any
from shirube.api.validation.signer import validate_signer_name
from shirube.api.validation.volume_sources import (
    aws_elastic_block_store,
    azure_disk,
    azure_file,
    cephfs,
    cinder,
    fc,
    flex_volume,
    flocker,
    gce_persistent_disk,
    git_repo,
    glusterfs,
    host_path,
    iscsi,
    nfs,
    photon_persistent_disk,
    portworx_volume,
    quobyte,
    rbd,
    scale_io,
    storage_os,
    validate_driver_name,
    vsphere_volume,
)

__all__ = ["SOURCES", "SURPLUS_AS", "validate_driver_name", "validate_source", "validate_volumes"]

Obj = Mapping[str, Any]
Check = Callable[[list[Cause], Obj, str], None]

_BAD_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_SECOND_SOURCE = "may not specify more than 1 volume type"


def _mode(out: list[Cause], mode: int | None, path: str) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        out.append(invalid(path, mode, _BAD_MODE))


def _items(out: list[Cause], items: list[Obj], path: str) -> None:
    for i, item in enumerate(items):
        at = f"{path}[{i}]"
        if not item.get("key"):
            out.append(required(f"{at}.key"))
        if not item.get("path"):
            out.append(required(f"{at}.path"))
        validate_projected_path(out, item.get("path", ""), f"{at}.path")
        _mode(out, item.get("mode"), f"{at}.mode")


def _empty_dir(out: list[Cause], source: Obj, path: str) -> None:
    limit = source.get("sizeLimit")
    amount = parse_any(limit) if limit is not None else None
    if amount is not None and amount.nanos < 0:
        out.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _secret(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("secretName"):
        out.append(required(f"{path}.secretName"))
    _mode(out, source.get("defaultMode"), f"{path}.defaultMode")
    _items(out, source.get("items") or [], f"{path}.items")


def _config_map(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("name"):
        out.append(required(f"{path}.name"))
    _mode(out, source.get("defaultMode"), f"{path}.defaultMode")
    _items(out, source.get("items") or [], f"{path}.items")


def _downward_items(out: list[Cause], items: list[Obj], path: str) -> None:
    for item in items:
        if not item.get("path"):
            out.append(required(f"{path}.path"))
        validate_projected_path(out, item.get("path", ""), f"{path}.path")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None:
            validate_field_ref(out, field, f"{path}.fieldRef", VOLUME_FIELDS)
            if resource is not None:
                detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
                out.append(invalid(path, "resource", detail))
        elif resource is not None:
            validate_resource_field_ref(out, resource, f"{path}.resourceFieldRef", volume=True)
        else:
            out.append(required(path, "one of fieldRef and resourceFieldRef is required"))
        _mode(out, item.get("mode"), f"{path}.mode")


def _downward_api(out: list[Cause], source: Obj, path: str) -> None:
    _mode(out, source.get("defaultMode"), f"{path}.defaultMode")
    _downward_items(out, source.get("items") or [], path)


def _token_seconds(out: list[Cause], seconds: int, path: str) -> None:
    if seconds < 600:
        out.append(invalid(path, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 1 << 32:
        out.append(invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))


def _service_account_token(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("path"):
        out.append(required(f"{path}.path"))
    else:
        validate_projected_path(out, source["path"], f"{path}.path")


def _cluster_trust_bundle(out: list[Cause], source: Obj, path: str) -> None:
    name, signer = source.get("name"), source.get("signerName")
    if name is not None and signer is not None:
        out.append(invalid(path, dict(source), "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            out.append(required(f"{path}.name", "must be a valid object name"))
        plain = name.rpartition(":")[2]
        for message in names.is_dns1123_subdomain(plain):
            out.append(invalid(f"{path}.name", name, f"not a valid clustertrustbundlename: {message}"))
        if source.get("labelSelector") is not None:
            detail = "labelSelector must be unset if name is specified"
            out.append(invalid(f"{path}.labelSelector", source["labelSelector"], detail))
    elif signer is not None:
        if not signer:
            out.append(required(f"{path}.signerName", "must be a valid signer name"))
        validate_signer_name(out, signer, f"{path}.signerName")
        out.extend(validate_label_selector(source.get("labelSelector"), f"{path}.labelSelector"))
    else:
        out.append(required(path, "either name or signerName must be specified"))
    if not source.get("path"):
        out.append(required(f"{path}.path"))
    validate_projected_path(out, source.get("path", ""), f"{path}.path")


def _pod_certificate(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("signerName"):
        out.append(required(f"{path}.signerName"))
    kinds = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"]
    if source.get("keyType") not in kinds:
        out.append(not_supported(f"{path}.keyType", source.get("keyType", ""), kinds))
    if not any(source.get(f) for f in ("credentialBundlePath", "keyPath", "certificateChainPath")):
        out.append(required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))


def _projected_files(kind: str, source: Obj) -> list[tuple[str, str]]:
    """(file, what upstream names when two projections write it)."""
    if kind in ("secret", "configMap"):
        return [(i["path"], source.get("name", "")) for i in source.get("items") or () if i.get("path")]
    if kind == "downwardAPI":
        return [(i["path"], i["path"]) for i in source.get("items") or () if i.get("path")]
    if kind == "clusterTrustBundle":
        return [(source.get("path", ""), source.get("path", ""))]
    if kind == "podCertificate":
        fields = ("credentialBundlePath", "keyPath", "certificateChainPath")
        return [(source[f], source[f]) for f in fields if source.get(f)]
    return []


def _projected(out: list[Cause], source: Obj, path: str) -> None:
    _mode(out, source.get("defaultMode"), f"{path}.defaultMode")
    written: set[str] = set()
    for i, projection in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        found = 0
        for field, check in _PROJECTIONS.items():
            if (part := projection.get(field)) is None:
                continue
            found += 1
            # upstream names two of them otherwise than the API does
            check(out, part, path if field == "serviceAccountToken" else f"{at}.{_PROJECTED_AS.get(field, field)}")
            if field == "serviceAccountToken":
                _token_seconds(out, part.get("expirationSeconds", 3600), f"{at}.{field}.expirationSeconds")
            for target, shown in _projected_files(field, part):
                if target in written:
                    out.append(invalid(path, shown, "conflicting duplicate paths"))
                written.add(target)
        if found > 1:
            out.append(forbidden(at, _SECOND_SOURCE))


_PROJECTED_AS = {"clusterTrustBundle": "clusterTrustBundlePEM"}


def _projected_secret(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("name"):
        out.append(required(f"{path}.name"))
    _items(out, source.get("items") or [], f"{path}.items")


def _projected_downward(out: list[Cause], source: Obj, path: str) -> None:
    _downward_items(out, source.get("items") or [], path)


_PROJECTIONS: dict[str, Check] = {
    "secret": _projected_secret,
    "configMap": _projected_secret,
    "downwardAPI": _projected_downward,
    "serviceAccountToken": _service_account_token,
    "clusterTrustBundle": _cluster_trust_bundle,
    "podCertificate": _pod_certificate,
}


def _claim(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("claimName"):
        out.append(required(f"{path}.claimName"))


def _ephemeral(out: list[Cause], source: Obj, path: str) -> None:
    template = source.get("volumeClaimTemplate")
    at = f"{path}.volumeClaimTemplate"
    if template is None:
        out.append(required(at))
        return
    validate_template_metadata(out, template.get("metadata") or {}, f"{at}.metadata")
    validate_claim_spec(out, template.get("spec") or {}, f"{at}.spec")


def _csi(out: list[Cause], source: Obj, path: str) -> None:
    validate_driver_name(out, source.get("driver", ""), f"{path}.driver")
    reference = source.get("nodePublishSecretRef")
    if reference is not None:
        if not reference.get("name"):
            out.append(required(f"{path}.nodePublishSecretRef.name"))
        else:
            name = reference["name"]
            out.extend(invalid(f"{path}.name", name, m) for m in names.is_dns1123_subdomain(name))


def _image(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("reference"):
        out.append(required(f"{path}.reference"))
    policies = ["Always", "IfNotPresent", "Never"]
    if (policy := source.get("pullPolicy")) not in policies:
        out.append(not_supported(f"{path}.pullPolicy", policy or "", policies))


# in upstream's order: the first source found counts, every further one is forbidden
SOURCES: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "gitRepo": git_repo,
    "gcePersistentDisk": gce_persistent_disk,
    "awsElasticBlockStore": aws_elastic_block_store,
    "secret": _secret,
    "nfs": nfs,
    "iscsi": iscsi,
    "glusterfs": glusterfs,
    "flocker": flocker,
    "persistentVolumeClaim": _claim,
    "rbd": rbd,
    "cinder": cinder,
    "cephfs": cephfs,
    "quobyte": quobyte,
    "downwardAPI": _downward_api,
    "fc": fc,
    "flexVolume": flex_volume,
    "configMap": _config_map,
    "azureFile": azure_file,
    "vsphereVolume": vsphere_volume,
    "photonPersistentDisk": photon_persistent_disk,
    "portworxVolume": portworx_volume,
    "azureDisk": azure_disk,
    "storageos": storage_os,
    "projected": _projected,
    "scaleIO": scale_io,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
# where upstream reports a source under another name than the field's: when it is wrong, and when it is one too many
_CHECKED_AS = {"gcePersistentDisk": "persistentDisk"}
SURPLUS_AS = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_INITIATOR_TOO_LONG = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
    "specified."
)


def validate_source(out: list[Cause], field: str, source: Obj, path: str) -> None:
    """One source, which stands in `field` of the volume at `path`."""
    SOURCES[field](out, source, f"{path}.{_CHECKED_AS.get(field, field)}")


def _validate_volume(out: list[Cause], volume: Obj, path: str, pod_name: str) -> None:
    found = [field for field in volume if field in SOURCES]
    if len(found) > 1:
        found.sort(key=list(SOURCES).index)
        out.extend(forbidden(f"{path}.{SURPLUS_AS.get(field, field)}", _SECOND_SOURCE) for field in found[1:])
    if not found:
        out.append(required(path, "must specify a volume type"))
        return
    validate_source(out, found[0], volume[found[0]], path)
    if (target := volume.get("iscsi")) is not None and target.get("initiatorName") is not None:
        name = volume.get("name", "")
        if len(f"{name}:{target.get('targetPortal', '')}") > 64:
            out.append(invalid(f"{path}.name", name, _INITIATOR_TOO_LONG))
    if found[0] == "ephemeral" and pod_name:
        claim = f"{pod_name}-{volume.get('name', '')}"
        for message in names.is_dns1123_subdomain(claim):
            out.append(invalid(f"{path}.name", volume.get("name", ""), f'PVC name "{claim}": {message}'))


def validate_volumes(out: list[Cause], volumes: list[dict[str, Any]], path: str, pod_name: str = "") -> dict[str, Obj]:
    """Check the volumes and give them back by name, for the mounts to be checked against."""
    known: dict[str, Obj] = {}
    made = {f"{pod_name}-{v.get('name', '')}" for v in volumes if "ephemeral" in v} if pod_name else ()
    for i, volume in enumerate(volumes):
        at = f"{path}[{i}]"
        name = volume.get("name", "")
        if not name:
            out.append(required(f"{at}.name"))
        elif messages := names.is_dns1123_label(name):
            out.extend(invalid(f"{at}.name", name, m) for m in messages)
        if name in known:
            out.append(duplicate(f"{at}.name", name))
        _validate_volume(out, volume, at, pod_name)
        if made and (claim := (volume.get("persistentVolumeClaim") or {}).get("claimName", "")) in made:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            out.append(invalid(f"{at}.persistentVolumeClaim.claimName", claim, detail))
        if name:
            known[name] = volume
    return known
