"""persistentVolumeClaim and generic ephemeral volumes: claim → PersistentVolume → what that is on this node.

The claim must be Bound, the volume must name it back, and its node affinity must allow this node (the scheduler
sees to that; a pod that was bound by hand is caught here). The PersistentVolume's own source is one row of
`SOURCES`; what is not there is a clear FailedMount. A volume that is bind-mounted here is unmounted before the
pod's directory goes, so that nothing in it is ever deleted.
Follows https://kubernetes.io/docs/concepts/storage/persistent-volumes/.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from shirube.kubelet import node_selector
from shirube.kubelet import pod as pods
from shirube.kubelet.volumes import host_paths, kernel_mounts, network_file_system, ownership
from shirube.kubelet.volumes.volume import ClaimNotReady, Host, Made, Request, VolumeError

PersistentVolume = Mapping[str, Any]
LOCAL_PATH = "shirube.dev/local-path"  # the provisioner


def claim_name(pod: pods.Pod, volume: Mapping[str, Any]) -> str:
    """The claim that a volume uses; "" when it uses none."""
    if (source := volume.get("persistentVolumeClaim")) is not None:
        return str(source["claimName"])
    return f"{pods.name(pod)}-{volume['name']}" if volume.get("ephemeral") is not None else ""


async def set_up(host: Host, request: Request) -> Made:
    pod, volume = request.pod, request.volume
    name = claim_name(pod, volume)
    claim = await _bound_claim(host, request, name)
    if claim["spec"].get("accessModes") == ["ReadWriteOncePod"] and host.claim_in_use(pod, name):
        raise _not_ready(
            request, f"volume uses the ReadWriteOncePod access mode and is already in use by another pod (PVC {name})"
        )
    found = await _volume_of(host, request, claim)
    read_only = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
    return await _make(host, request, found, read_only)


async def _bound_claim(host: Host, request: Request, name: str) -> Mapping[str, Any]:
    pod, namespace = request.pod, pods.namespace(request.pod)
    try:
        claim = await host.client.get(PERSISTENTVOLUMECLAIMS, name, namespace)
    except ApiError as error:
        why = f"failed to fetch PVC from API server: {error.message}"
        raise _not_ready(request, f"error processing PVC {namespace}/{name}: {why}") from error
    if request.volume.get("ephemeral") is not None and not _is_owned(claim, pod):
        why = f"PVC {namespace}/{name} was not created for pod {namespace}/{pods.name(pod)} (pod is not owner)"
        raise _not_ready(request, f"error processing PVC {namespace}/{name}: {why}")
    if claim["metadata"].get("deletionTimestamp"):
        why = "can't start pod because PVC is being deleted"
        raise _not_ready(request, f"error processing PVC {namespace}/{name}: {why}")
    if (claim.get("status") or {}).get("phase") != "Bound" or not claim["spec"].get("volumeName"):
        raise _not_ready(request, f"error processing PVC {namespace}/{name}: PVC is not bound")
    return claim


def _is_owned(claim: Mapping[str, Any], pod: pods.Pod) -> bool:
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == pods.uid(pod) for owner in owners)


def _not_ready(request: Request, why: str) -> ClaimNotReady:
    name = request.volume["name"]
    return ClaimNotReady(
        f"Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], "
        f"failed to process volumes=[{name}]: {why}"
    )


async def _volume_of(host: Host, request: Request, claim: Mapping[str, Any]) -> PersistentVolume:
    name = claim["spec"]["volumeName"]
    where = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
    try:
        found: PersistentVolume = await host.client.get(PERSISTENTVOLUMES, name)
    except ApiError as error:
        why = f'error processing PVC {where}: failed to fetch PV "{name}" from API server: {error.message}'
        raise _not_ready(request, why) from error
    owner = found["spec"].get("claimRef") or {}
    if owner.get("uid") != claim["metadata"]["uid"]:
        why = f'error processing PVC {where}: PV "{name}" is bound to another claim ({owner.get("name") or "none"})'
        raise _not_ready(request, why)
    return found


async def _make(host: Host, request: Request, volume: PersistentVolume, read_only: bool) -> Made:
    name, spec = volume["metadata"]["name"], volume["spec"]
    required = (spec.get("nodeAffinity") or {}).get("required")
    if not node_selector.matches(required, host.node_object()):
        raise ClaimNotReady(
            f'MountVolume.NodeAffinity check failed for volume "{name}" : no matching NodeSelectorTerms'
        )
    kind = next((kind for kind in SOURCES if spec.get(kind) is not None), "")
    try:
        if not kind:
            given = ", ".join(sorted(key for key in spec if isinstance(spec[key], Mapping) and key not in _NO_SOURCES))
            raise VolumeError(f"{given or 'a volume without a source'} is not supported by this node")
        return await SOURCES[kind](host, request, volume, read_only)
    except ClaimNotReady:
        raise
    except (VolumeError, OSError) as error:
        raise ClaimNotReady(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error


_NO_SOURCES = ("capacity", "claimRef", "nodeAffinity")


def is_block(volume: PersistentVolume) -> bool:
    return bool(volume["spec"].get("volumeMode") == "Block")


# -- sources


async def _host_path(host: Host, request: Request, volume: PersistentVolume, read_only: bool) -> Made:
    source, annotations = volume["spec"]["hostPath"], volume["metadata"].get("annotations") or {}
    if annotations.get("pv.kubernetes.io/provisioned-by") == LOCAL_PATH:
        return Made(host_paths.provisioned(Path(source["path"])), read_only)
    return Made(host_paths.checked(source), read_only)


async def _local(host: Host, request: Request, volume: PersistentVolume, read_only: bool) -> Made:
    name, source = volume["metadata"]["name"], _checked_local(volume)
    if is_block(volume):
        return Made(source, read_only, device=True)
    directory = host.paths.volume(pods.uid(request.pod), "kubernetes.io/local-volume", name)
    if not kernel_mounts.is_mounted(directory):
        directory.mkdir(parents=True, exist_ok=True)
        kernel_mounts.bind(str(source), str(directory))
    if request.fs_group is not None and not read_only and _is_first(host, directory):
        policy = request.fs_group_change_policy
        await asyncio.to_thread(ownership.give_to_group, directory, request.fs_group, policy)
    return Made(directory, read_only)


def _checked_local(volume: PersistentVolume) -> Path:
    source = Path(volume["spec"]["local"]["path"])
    if not source.exists():
        raise VolumeError(f'path "{source}" does not exist')
    if is_block(volume):
        if not stat.S_ISBLK(source.stat().st_mode):
            raise VolumeError(f'path "{source}" is not a block device')
    elif not source.is_dir():
        raise VolumeError(
            f'path "{source}" is not a directory: this node makes no file systems on devices, '
            "mount it and name the directory, or use volumeMode: Block"
        )
    return source


def _is_first(host: Host, directory: Path) -> bool:
    """Whether no other pod of this node has the volume: its owner is set by the first alone."""
    relative = directory.relative_to(host.paths.pods)
    others = host.paths.pods.glob(os.path.join("*", *relative.parts[1:]))
    return all(other == directory for other in others)


SOURCES: dict[str, Callable[[Host, Request, PersistentVolume, bool], Awaitable[Made]]] = {
    "hostPath": _host_path,
    "local": _local,
    "nfs": network_file_system.set_up_persistent,
}
