"""NFS volumes: mounted by mount(8) and its helper mount.nfs; where there is no client, a clear FailedMount.

Of a volume that our provisioner made (`shirube.dev/nfs`) the agent that mounts it first makes the directory: the
volume's annotations say what of its path is the share. `on_export` does that, and archives and removes directories
for `nfs_directories.py`, in a process of its own.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shirube.api import nfs_directories as directories
from shirube.kubelet import pod as pods
from shirube.kubelet.volumes import kernel_mounts, nfs_directory
from shirube.kubelet.volumes.volume import Host, Made, Request, VolumeError

_MOUNT_SECONDS, _OUTPUT_BYTES = 120.0, 4096
_PRIVATELY = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")


async def set_up(host: Host, request: Request) -> Made:
    source = request.volume["nfs"]
    return await mount(host, request, request.volume["name"], source, bool(source.get("readOnly")))


async def set_up_persistent(host: Host, request: Request, volume: Mapping[str, Any], read_only: bool) -> Made:
    """Of a PersistentVolume. Raises VolumeError."""
    spec, annotations = volume["spec"], volume["metadata"].get("annotations") or {}
    options, name = tuple(spec.get("mountOptions") or ()), volume["metadata"]["name"]
    directory = host.paths.volume(pods.uid(request.pod), "kubernetes.io/nfs", name)
    if (share := annotations.get(directories.SHARE)) and not kernel_mounts.is_mounted(directory):
        await _make_directory(host, spec["nfs"], share, annotations.get(directories.PERMISSIONS) or "0", options)
    return await mount(host, request, name, spec["nfs"], read_only, options)


async def mount(
    host: Host,
    request: Request,
    name: str,
    source: Mapping[str, Any],
    read_only: bool,
    options: tuple[str, ...] = (),
) -> Made:
    """Mount `server:path` for the pod. Raises VolumeError."""
    read_only = read_only or bool(source.get("readOnly"))
    directory = host.paths.volume(pods.uid(request.pod), "kubernetes.io/nfs", name)
    if kernel_mounts.is_mounted(directory):
        return Made(directory, read_only)
    if why := nfs_directory.hindrance():
        raise VolumeError(f"cannot mount {source['server']}:{source['path']}: {why}")
    directory.mkdir(parents=True, exist_ok=True)
    given = (*options, *(["ro"] if read_only else []))
    try:
        command = nfs_directory.mount_command(source["server"], source["path"], str(directory), given)
    except nfs_directory.ExportError as error:
        raise VolumeError(str(error)) from error
    try:
        status, said = await _run(command, b"", _MOUNT_SECONDS)
    except TimeoutError:
        raise VolumeError(f"mount failed: {' '.join(command)}: no answer in {_MOUNT_SECONDS:.0f} s") from None
    if status:
        why = nfs_directory.explained(f"exit status {status}: {' '.join(command)}: {said}")
        raise VolumeError(f"mount failed: {why}")
    return Made(directory, read_only)


async def _make_directory(
    host: Host, source: Mapping[str, Any], share: str, permissions: str, options: tuple[str, ...]
) -> None:
    above = share.rstrip("/") + "/"
    try:
        if not share.startswith("/") or not str(source["path"]).startswith(above):
            raise directories.DirectoryError(f'{source["path"]} is not below the share "{share}"')
        directory = directories.checked_directory(source["path"].removeprefix(above))
    except directories.DirectoryError as error:
        raise VolumeError(f"cannot make the volume's directory: {error}") from error
    asked = {"action": nfs_directory.MAKE, "directory": directory, "permissions": permissions}
    await on_export(host.paths.root, str(source["server"]), share, options, asked)


async def on_export(
    root: Path, server: str, share: str, options: tuple[str, ...], asked: Mapping[str, str], seconds: float = 60.0
) -> None:
    """Mount the share privately and do there what is asked (`nfs_directory.work`). Raises VolumeError."""
    at = root / "nfs-export"
    at.mkdir(parents=True, exist_ok=True)
    body = {**asked, "server": server, "share": share, "options": options, "at": str(at)}
    command = [*_PRIVATELY, sys.executable, "-m", nfs_directory.__name__]
    try:
        status, said = await _run(command, json.dumps(body).encode(), seconds)
    except TimeoutError:
        raise VolumeError(f"no answer from {server}:{share} in {seconds:.0f} s") from None
    if status:
        raise VolumeError(said or f"cannot {asked['action']} a directory of {server}:{share}: exit status {status}")


async def _run(command: list[str], given: bytes, seconds: float) -> tuple[int, str]:
    """Exit status and output. Raises TimeoutError when it takes longer.

    Through files in memory, not through pipes: a mount helper may leave a process behind that serves the mount and
    keeps what it has inherited, so the end of a pipe would never come.
    """
    with _in_memory("given") as entrance, _in_memory("said") as out:
        entrance.write(given)
        entrance.seek(0)
        process = await asyncio.create_subprocess_exec(*command, stdin=entrance, stdout=out, stderr=out)
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        out.seek(0)
        return process.returncode or 0, out.read(_OUTPUT_BYTES).decode(errors="replace").strip()


def _in_memory(name: str) -> io.FileIO:
    return io.FileIO(os.memfd_create(name), "r+")
