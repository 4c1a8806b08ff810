"""Validation of the volumes of a pod.

One function a source, in one table; a volume has exactly one source. Sources that only a few clusters know
(cloud disks that moved to CSI long ago) are checked for the fields without which they mean nothing.
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
from shirube.api.validation.object_meta import validate_annotations, validate_labels
from shirube.api.validation.paths import validate_no_backsteps, validate_projected_path
from shirube.api.validation.resource_requirements import parse_any

Obj = Mapping[str, Any]
Check = Callable[[list[Cause], Obj, str], None]

_BAD_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
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


def _host_path(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("path"):
        out.append(required(f"{path}.path"))
        return
    validate_no_backsteps(out, source["path"], f"{path}.path")
    kind = source.get("type", "")
    if kind not in _HOST_PATH_TYPES:
        out.append(not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))


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


def _service_account_token(out: list[Cause], source: Obj, path: str) -> None:
    seconds = source.get("expirationSeconds", 3600)
    if seconds < 600:
        detail = "may not specify a duration less than 10 minutes"
        out.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    if seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        out.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    if not source.get("path"):
        out.append(required(f"{path}.path"))


def _cluster_trust_bundle(out: list[Cause], source: Obj, path: str) -> None:
    name, signer = source.get("name"), source.get("signerName")
    if name is not None and signer is not None:
        out.append(invalid(path, dict(source), "only one of name and signerName may be used"))
    elif name is None and signer is None:
        out.append(required(path, "either name or signerName must be specified"))
    if not source.get("path"):
        out.append(required(f"{path}.path"))


def _pod_certificate(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("signerName"):
        out.append(required(f"{path}.signerName"))
    kinds = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"]
    if source.get("keyType") not in kinds:
        out.append(not_supported(f"{path}.keyType", source.get("keyType", ""), kinds))
    if not any(source.get(f) for f in ("credentialBundlePath", "keyPath", "certificateChainPath")):
        out.append(required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))


def _projected_items(source: Obj) -> list[str]:
    paths = [i.get("path", "") for i in source.get("items") or ()]
    return paths if paths or not source.get("path") else [source["path"]]


def _projected(out: list[Cause], source: Obj, path: str) -> None:
    _mode(out, source.get("defaultMode"), f"{path}.defaultMode")
    written: set[str] = set()
    for i, projection in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        found = False
        for field, check in _PROJECTIONS.items():
            if (part := projection.get(field)) is None:
                continue
            if found:
                out.append(forbidden(f"{at}.{field}", _SECOND_SOURCE))
                continue
            found = True
            check(out, part, f"{at}.{field}")
            for target in _projected_items(part):
                if target in written:
                    out.append(invalid(at, part.get("name", target), f'conflicting duplicate paths "{target}"'))
                written.add(target)
        if not found:
            out.append(required(at, "one of the projections is required"))


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
    metadata = template.get("metadata") or {}
    out.extend(validate_annotations(metadata.get("annotations") or {}, f"{at}.metadata.annotations"))
    out.extend(validate_labels(metadata.get("labels") or {}, f"{at}.metadata.labels"))
    for field in metadata:
        if field not in ("annotations", "labels", "creationTimestamp"):
            out.append(forbidden(f"{at}.metadata.{field}", "cannot be set for an Ephemeral Volume"))
    validate_claim_spec(out, template.get("spec") or {}, f"{at}.spec")


def _nfs(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("server"):
        out.append(required(f"{path}.server"))
    if not source.get("path"):
        out.append(required(f"{path}.path"))
    elif not source["path"].startswith("/"):
        out.append(invalid(f"{path}.path", source["path"], "must be an absolute path"))


def validate_driver_name(out: list[Cause], name: str, path: str) -> None:
    """The name of a CSI driver: a domain-like name of at most 63 characters, in any case."""
    if not name:
        out.append(required(path))
        return
    if len(name) > 63:
        out.append(Cause("FieldValueTooLong", "Too long: may not be more than 63 bytes", path))
    out.extend(invalid(path, name, m) for m in names.is_dns1123_subdomain(name.lower()))


def _csi(out: list[Cause], source: Obj, path: str) -> None:
    validate_driver_name(out, source.get("driver", ""), f"{path}.driver")
    reference = source.get("nodePublishSecretRef")
    if reference is not None and not reference.get("name"):
        out.append(required(f"{path}.nodePublishSecretRef.name"))


def _image(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("reference"):
        out.append(required(f"{path}.reference"))
    policies = ["Always", "IfNotPresent", "Never"]
    if (policy := source.get("pullPolicy")) not in policies:
        out.append(not_supported(f"{path}.pullPolicy", policy or "", policies))


def _needs(*fields: str) -> Check:
    def check(out: list[Cause], source: Obj, path: str) -> None:
        for field in fields:
            if not source.get(field):
                out.append(required(f"{path}.{field}"))

    return check


def _iscsi(out: list[Cause], source: Obj, path: str) -> None:
    _needs("targetPortal", "iqn")(out, source, path)
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        out.append(invalid(f"{path}.lun", lun, names.between(0, 255)))


def _fc(out: list[Cause], source: Obj, path: str) -> None:
    names_given, ids = source.get("targetWWNs"), source.get("wwids")
    if not names_given and not ids:
        out.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if names_given and ids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        out.append(invalid(f"{path}.targetWWNs", names_given, detail))


# in upstream's order: the first source found counts, every further one is forbidden
SOURCES: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _needs("repository"),
    "gcePersistentDisk": _needs("pdName"),
    "awsElasticBlockStore": _needs("volumeID"),
    "secret": _secret,
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _needs("datasetName"),
    "persistentVolumeClaim": _claim,
    "rbd": _needs("monitors", "image"),
    "cinder": _needs("volumeID"),
    "cephfs": _needs("monitors"),
    "quobyte": _needs("registry", "volume"),
    "downwardAPI": _downward_api,
    "fc": _fc,
    "flexVolume": _needs("driver"),
    "configMap": _config_map,
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _needs("diskName", "diskURI"),
    "storageos": _needs(),
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}


def _validate_volume(out: list[Cause], volume: Obj, path: str, pod_name: str) -> None:
    found = [field for field in volume if field in SOURCES]
    if len(found) > 1:
        found.sort(key=list(SOURCES).index)
        out.extend(forbidden(f"{path}.{field}", _SECOND_SOURCE) for field in found[1:])
    if not found:
        out.append(required(path, "must specify a volume type"))
        return
    SOURCES[found[0]](out, volume[found[0]], f"{path}.{found[0]}")
    if found[0] == "ephemeral" and pod_name:
        claim = f"{pod_name}-{volume.get('name', '')}"
        for message in names.is_dns1123_subdomain(claim):
            out.append(invalid(f"{path}.name", volume.get("name", ""), f'PVC name "{claim}": {message}'))


def validate_volumes(out: list[Cause], volumes: list[dict[str, Any]], path: str, pod_name: str = "") -> dict[str, Obj]:
    """Check the volumes and give them back by name, for the mounts to be checked against."""
    known: dict[str, Obj] = {}
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
        if name:
            known[name] = volume
    return known
