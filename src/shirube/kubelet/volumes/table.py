"""The volume types and how each is made: one row a type.

A plugin's `set_up(host, pod, volume)` makes the volume (or makes sure of it: it runs again after a restart and
at each refresh) and says where it is on the node. What is not in the table is a clear FailedMount.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from shirube.api import quantity
from shirube.kubelet import huge_pages, qos
from shirube.kubelet import pod as pods
from shirube.kubelet.trust_bundles import TrustBundleError
from shirube.kubelet.volumes import (
    atomic_writer,
    claims,
    host_paths,
    images,
    kernel_mounts,
    network_file_system,
    payload,
)
from shirube.kubelet.volumes.volume import Host, Made, Request, Volume, VolumeError

# Smaller volumes are written in line: a thread costs more than the write.
_INLINE_BYTES = 64 * 1024


async def _files(host: Host, request: Request) -> Made:
    """configMap, secret, downwardAPI, projected."""
    pod, volume = request.pod, request.volume
    kind = next(k for k in payload.KINDS if volume.get(k) is not None)
    try:
        anchors = [await host.trust.anchors(source) for source in payload.trust_sources(volume)]
    except TrustBundleError as error:
        raise VolumeError(str(error)) from error
    objects = host.objects.get_all(pods.namespace(pod), payload.references(volume), request.max_age)
    tokens = asyncio.gather(*(host.tokens.token(pod, source) for source in payload.token_sources(volume)))
    fetched = payload.Fetched(await objects, await tokens, host.node(), request.pod_ips, anchors)
    try:
        files = payload.files(pod, volume, fetched)
    except payload.PayloadError as error:
        raise VolumeError(str(error)) from error
    plugin = {"downwardAPI": "downward-api"}.get(kind, kind.lower())
    directory = host.paths.volume(pods.uid(pod), f"kubernetes.io/{plugin}", volume["name"])
    _make_directory(directory, request.fs_group)
    now = host.clock.now()
    if sum(len(file.data) for file in files.values()) > _INLINE_BYTES:
        await asyncio.to_thread(atomic_writer.write, directory, files, now, request.fs_group)
    else:
        atomic_writer.write(directory, files, now, request.fs_group)
    return Made(directory)


def _make_directory(directory: Path, group: int | None) -> None:
    if not directory.is_dir():
        directory.mkdir(parents=True)
        _open_to_all(directory, group)


def _open_to_all(directory: Path, group: int | None) -> None:
    """Whatever user a container runs as may write; what is made inside belongs to the pod's group."""
    mode = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
    if group is not None:
        os.chown(directory, -1, group)
        mode |= stat.S_ISGID
    os.chmod(directory, mode)


async def _empty_dir(host: Host, request: Request) -> Made:
    source, uid = request.volume["emptyDir"], pods.uid(request.pod)
    directory = host.paths.volume(uid, "kubernetes.io/empty-dir", request.volume["name"])
    medium = source.get("medium") or ""
    if medium.startswith("HugePages"):
        return _huge_pages(request, directory, medium)
    if medium not in ("", "Memory"):
        raise VolumeError(f"unknown storage medium {medium!r}")
    if medium == "Memory" and not (directory.is_dir() and kernel_mounts.is_mounted(directory)):
        directory.mkdir(parents=True, exist_ok=True)
        size = _memory_size(request.pod, source)
        kernel_mounts.mount("tmpfs", str(directory), "tmpfs", data=f"size={size}" if size else "")
        _open_to_all(directory, request.fs_group)
    _make_directory(directory, request.fs_group)
    return Made(directory)


def _huge_pages(request: Request, directory: Path, medium: str) -> Made:
    """An emptyDir of huge pages: a hugetlbfs of the page size that the medium or else the pod's requests name."""
    try:
        size = huge_pages.page_size(medium, request.pod)
    except ValueError as error:
        raise VolumeError(str(error)) from error
    if not (directory.is_dir() and kernel_mounts.is_mounted(directory)):
        directory.mkdir(parents=True, exist_ok=True)
        limit = request.volume["emptyDir"].get("sizeLimit")
        options = [f"pagesize={size}", *([f"size={quantity.value(limit)}"] if limit else [])]
        kernel_mounts.mount("nodev", str(directory), "hugetlbfs", data=",".join(options))
        _open_to_all(directory, request.fs_group)
    return Made(directory)


def _memory_size(pod: pods.Pod, source: Mapping[str, Any]) -> int:
    """The smaller of the volume's size limit and the pod's memory limit; 0 for the kernel's default."""
    limits = [qos.pod_total(pod, "limits", "memory") or 0]
    if source.get("sizeLimit"):
        limits.append(quantity.value(source["sizeLimit"]))
    return min((limit for limit in limits if limit), default=0)


VOLUME_TYPES: dict[str, Callable[[Host, Request], Awaitable[Made]]] = {
    "emptyDir": _empty_dir,
    "hostPath": host_paths.set_up,
    "configMap": _files,
    "secret": _files,
    "downwardAPI": _files,
    "projected": _files,
    "persistentVolumeClaim": claims.set_up,
    "ephemeral": claims.set_up,
    "nfs": network_file_system.set_up,
    "image": images.set_up,
}

# Whose content follows the API while the pod runs.
LIVE_TYPES = frozenset(payload.KINDS)


def volume_type(volume: Volume) -> str:
    """The type of a volume: the one field beside its name."""
    return next((key for key in volume if key != "name" and volume[key] is not None), "emptyDir")
