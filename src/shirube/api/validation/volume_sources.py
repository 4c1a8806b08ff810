"""Validation of the volume sources that pods and persistent volumes share: disks, file shares, paths.

One function a source: ``check(out, source, path)``. Where a persistent volume asks for more than a pod does (the
namespace of a secret, for instance) there is a second one, in `persistent_sources`. Most of these volumes have long
moved to CSI drivers, and their objects are still judged as they always were.
Follows core's ``validateVolumeSource``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, invalid, not_supported, required, too_long
from shirube.api.validation.paths import validate_local_path, validate_no_backsteps

Obj = Mapping[str, Any]
Check = Callable[[list[Cause], Obj, str], None]

_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9-.]+)(:[^,;*&$|\s]+)"),
    "eui": re.compile(r"eui\.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa\.[A-Za-z0-9]{32}"),
}
_BAD_PARTITION = names.between(0, 255)
_HOST_PORTS = "must be a host:port pair or multiple pairs separated by commas"
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*")
_CACHING_MODES = ["None", "ReadOnly", "ReadWrite"]
_DISK_KINDS = ["Dedicated", "Managed", "Shared"]
_MANAGED_URI = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB_URI = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def _needs(*fields: str) -> Check:
    def check(out: list[Cause], source: Obj, path: str) -> None:
        for field in fields:
            if not source.get(field):
                out.append(required(f"{path}.{field}"))

    return check


glusterfs = _needs("endpoints", "path")
rbd = _needs("monitors", "image")
cephfs = _needs("monitors")
azure_file = _needs("secretName", "shareName")
vsphere_volume = _needs("volumePath")
photon_persistent_disk = _needs("pdID")
portworx_volume = _needs("volumeID")
scale_io = _needs("gateway", "system", "volumeName")


def host_path(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("path"):
        out.append(required(f"{path}.path"))
        return
    validate_no_backsteps(out, source["path"], f"{path}.path")
    kind = source.get("type", "")
    if kind not in _HOST_PATH_TYPES:
        out.append(not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))


def git_repo(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("repository"):
        out.append(required(f"{path}.repository"))
    validate_local_path(out, source.get("directory", ""), f"{path}.directory")


def _partition(out: list[Cause], source: Obj, path: str) -> None:
    number = source.get("partition", 0)
    if not 0 <= number <= 255:
        out.append(invalid(f"{path}.partition", number, _BAD_PARTITION))


def gce_persistent_disk(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("pdName"):
        out.append(required(f"{path}.pdName"))
    _partition(out, source, path)


def aws_elastic_block_store(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("volumeID"):
        out.append(required(f"{path}.volumeID"))
    _partition(out, source, path)


def nfs(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("server"):
        out.append(required(f"{path}.server"))
    if not source.get("path"):
        out.append(required(f"{path}.path"))
    if not source.get("path", "").startswith("/"):
        out.append(invalid(f"{path}.path", source.get("path", ""), "must be an absolute path"))


def validate_initiator(out: list[Cause], name: str, path: str, unknown: str) -> None:
    """An iSCSI name: iqn, eui or naa; `unknown` is what is said of any other."""
    pattern = _INITIATORS.get(name[:3])
    if pattern is None:
        out.append(invalid(path, name, unknown))
    elif not pattern.fullmatch(name):
        out.append(invalid(path, name, "must be valid format"))


def iscsi(out: list[Cause], source: Obj, path: str) -> None:
    validate_iscsi(out, source, path, "must be valid format starting with iqn, eui, or naa")


def validate_iscsi(out: list[Cause], source: Obj, path: str, unknown: str) -> None:
    """The part that pods and persistent volumes share."""
    if not source.get("targetPortal"):
        out.append(required(f"{path}.targetPortal"))
    if not source.get("iqn"):
        out.append(required(f"{path}.iqn"))
    else:
        validate_initiator(out, source["iqn"], f"{path}.iqn", unknown)
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        out.append(invalid(f"{path}.lun", lun, names.between(0, 255)))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        out.append(required(f"{path}.secretRef"))
    if (initiator := source.get("initiatorName")) is not None:
        validate_initiator(out, initiator, f"{path}.initiatorname", unknown)


def flocker(out: list[Cause], source: Obj, path: str) -> None:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    if not name and not uuid:
        out.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        out.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        out.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))


def cinder(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("volumeID"):
        out.append(required(f"{path}.volumeID"))
    _local_secret(out, source, path)


def _local_secret(out: list[Cause], source: Obj, path: str) -> None:
    reference = source.get("secretRef")
    if reference is not None and not reference.get("name"):
        out.append(required(f"{path}.secretRef.name"))


def quobyte(out: list[Cause], source: Obj, path: str) -> None:
    registry = source.get("registry", "")
    if not registry:
        out.append(required(f"{path}.registry", _HOST_PORTS))
    elif len(source.get("tenant", "")) >= 65:
        out.append(required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters"))
    else:
        for pair in registry.split(","):
            if not _HOST_PORT.fullmatch(pair):
                out.append(invalid(f"{path}.registry", registry, _HOST_PORTS))
    if not source.get("volume"):
        out.append(required(f"{path}.volume"))


def fc(out: list[Cause], source: Obj, path: str) -> None:
    wide, ids, lun = source.get("targetWWNs"), source.get("wwids"), source.get("lun")
    if not wide and not ids:
        out.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if wide and ids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        out.append(invalid(f"{path}.targetWWNs", wide, detail))
    if wide:
        if lun is None:
            out.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        elif not 0 <= lun <= 255:
            out.append(invalid(f"{path}.lun", lun, names.between(0, 255)))


def flex_volume(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("driver"):
        out.append(required(f"{path}.driver"))
    for option in source.get("options") or ():
        owner = "." + option.partition("/")[0].lower()
        if owner.endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            out.append(invalid(f"{path}.options[{option}]", option, detail))


def azure_disk(out: list[Cause], source: Obj, path: str) -> None:
    if not source.get("diskName"):
        out.append(required(f"{path}.diskName"))
    uri, caching, kind = source.get("diskURI", ""), source.get("cachingMode"), source.get("kind")
    if not uri:
        out.append(required(f"{path}.diskURI"))
    if caching is not None and caching not in _CACHING_MODES:
        out.append(not_supported(f"{path}.cachingMode", caching, _CACHING_MODES))
    if kind is not None:
        if kind not in _DISK_KINDS:
            out.append(not_supported(f"{path}.kind", kind, _DISK_KINDS))
        if kind == "Managed" and not uri.startswith("/subscriptions/"):
            out.append(not_supported(f"{path}.diskURI", uri, [_MANAGED_URI]))
        if kind != "Managed" and not uri.startswith("https://"):
            out.append(not_supported(f"{path}.diskURI", uri, [_BLOB_URI]))


def storage_os(out: list[Cause], source: Obj, path: str) -> None:
    name = source.get("volumeName", "")
    if not name:
        out.append(required(f"{path}.volumeName"))
    else:
        out.extend(invalid(f"{path}.volumeName", name, m) for m in names.is_dns1123_label(name))
    if namespace := source.get("volumeNamespace"):
        out.extend(invalid(f"{path}.volumeNamespace", namespace, m) for m in names.is_dns1123_label(namespace))
    _local_secret(out, source, path)


def validate_driver_name(out: list[Cause], name: str, path: str) -> None:
    """The name of a CSI driver: a domain-like name of at most 63 characters, in any case."""
    if not name:
        out.append(required(path))
    if len(name) > 63:
        out.append(too_long(path, 63))
    out.extend(invalid(path, name, m) for m in names.is_dns1123_subdomain(name.lower()))
