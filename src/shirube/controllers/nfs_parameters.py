"""What a StorageClass of `shirube.dev/nfs` says, and which volume a claim gets of it. Pure.

Parameters are named as csi-driver-nfs names them (case does not matter): `server`, `share`, `subDir`, `onDelete`,
`mountPermissions`. What is unknown or unsafe is refused: a class that is misspelt must not keep what it should
delete, nor delete what it should keep.
https://github.com/kubernetes-csi/csi-driver-nfs/blob/master/docs/driver-parameters.md
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from shirube.api import nfs_directories as directories
from shirube.client.rest import Object
from shirube.controllers import volume_matching as matching
from shirube.controllers import volume_provisioning as provisioning

PROVISIONER = "shirube.dev/nfs"
_KNOWN = {"server": "", "share": "", "subdir": "", "ondelete": directories.DELETE, "mountpermissions": "0777"}
_NAMES = "server, share, subDir, onDelete and mountPermissions"
_ON_DELETE = (directories.DELETE, directories.RETAIN, directories.ARCHIVE)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME_BYTES = 90  # of the claim's name in the default directory: with namespace and volume it fits into one name


class ParameterError(ValueError):
    """What is wrong with a class or a claim, for the claim's event."""


@dataclass(frozen=True, slots=True)
class Parameters:
    server: str
    share: str
    sub_dir: str
    on_delete: str
    permissions: int


def parameters_of(storage_class: Object) -> Parameters:
    """Raises ParameterError."""
    given: dict[str, str] = {}
    for key, value in (storage_class.get("parameters") or {}).items():
        if key.lower() not in _KNOWN:
            raise ParameterError(f'unknown parameter "{key}": {_NAMES} are known')
        if key.lower() in given:
            raise ParameterError(f'parameter "{key}" is given twice')
        given[key.lower()] = str(value)
    found = {**_KNOWN, **given}
    on_delete = found["ondelete"].lower() or directories.DELETE
    if on_delete not in _ON_DELETE:
        raise ParameterError(f'parameter onDelete is "{found["ondelete"]}": it must be delete, retain or archive')
    if re.fullmatch("0?[0-7]{1,4}", found["mountpermissions"]) is None:
        raise ParameterError(
            f'parameter mountPermissions is "{found["mountpermissions"]}": it must be octal, like 0777'
        )
    return Parameters(
        server=_server(found["server"]),
        share=_share(found["share"]),
        sub_dir=found["subdir"],
        on_delete=on_delete,
        permissions=int(found["mountpermissions"], 8),
    )


def _server(given: str) -> str:
    if not given:
        raise ParameterError("parameter server is missing: it must name the NFS server")
    try:
        ipaddress.ip_address(given)
    except ValueError:
        if _HOST.fullmatch(given) is None:
            raise ParameterError(f'parameter server is "{given}": it must be a host name or an address') from None
    return given


def _share(given: str) -> str:
    if not given:
        raise ParameterError("parameter share is missing: it must name the exported directory")
    if not given.startswith("/") or not given.isprintable() or len(given.encode()) > 1024:
        raise ParameterError(f'parameter share is "{given}": it must be an absolute path')
    parts = [part for part in given.split("/") if part]
    if "." in parts or ".." in parts:
        raise ParameterError(f'parameter share is "{given}": it must not contain "." or ".."')
    return "/" + "/".join(parts)


def directory_for(pattern: str, claim: Object, volume: str) -> str:
    """The claim's directory below the share. Raises ParameterError."""
    metadata = claim["metadata"]
    if not pattern:
        # Cut, so that every length that a name may have gives a directory; the volume's name makes it the only one.
        pattern = f"{metadata['namespace']}-{metadata['name'][:_NAME_BYTES].rstrip('.-')}-{volume}"
    values = {
        "pvc.metadata.name": metadata["name"],
        "pvc.metadata.namespace": metadata["namespace"],
        "pv.metadata.name": volume,
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            names = ", ".join("${" + name + "}" for name in values)
            raise ParameterError(f'parameter subDir is "{pattern}": {found[0]} is not known; {names} are')
        return str(values[found[1]])

    try:
        return directories.checked_directory(_VARIABLE.sub(value, pattern))
    except directories.DirectoryError as error:
        raise ParameterError(f'parameter subDir is "{pattern}": {error}') from error


def volume_for(claim: Object, storage_class: Object) -> Object:
    """The PersistentVolume of a claim. Raises ParameterError."""
    if why := provisioning.refused(claim):
        raise ParameterError(why)
    asked = parameters_of(storage_class)
    directory = directory_for(asked.sub_dir, claim, provisioning.volume_name(claim))
    source = {"server": asked.server, "path": f"{asked.share.rstrip('/')}/{directory}"}
    volume = provisioning.volume_of(claim, storage_class, PROVISIONER, nfs=source)
    volume["metadata"]["annotations"] |= {
        directories.SHARE: asked.share,
        directories.ON_DELETE: asked.on_delete,
        directories.PERMISSIONS: f"{asked.permissions:04o}",
    }
    return volume


def request_for(volume: Object) -> directories.Request:
    """What a node is asked when the volume's directory is no longer wanted. Raises ParameterError."""
    annotations, source = matching.annotations_of(volume), volume["spec"].get("nfs") or {}
    share, path = annotations.get(directories.SHARE) or "", str(source.get("path") or "")
    above = share.rstrip("/") + "/"
    if not share or not path.startswith(above):
        raise ParameterError(f'the volume\'s path "{path}" is not below its share "{share}"')
    try:
        directory = directories.checked_directory(path.removeprefix(above))
    except directories.DirectoryError as error:
        raise ParameterError(str(error)) from error
    options = tuple(volume["spec"].get("mountOptions") or ())
    action = annotations.get(directories.ON_DELETE) or directories.DELETE
    return directories.Request(action, str(source["server"]), share, directory, options)
