"""NFS volumes: mounted by mount.nfs where the kernel has the client; elsewhere a clear FailedMount."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shirube.kubelet import pod as pods
from shirube.kubelet.volumes import kernel_mounts
from shirube.kubelet.volumes.volume import Host, Made, Request, VolumeError

_MOUNT_SECONDS = 120.0


async def set_up(host: Host, request: Request) -> Made:
    source = request.volume["nfs"]
    return await mount(host, request, request.volume["name"], source, bool(source.get("readOnly")))


async def mount(
    host: Host,
    request: Request,
    name: str,
    source: Mapping[str, Any],
    read_only: bool,
    options: tuple[str, ...] = (),
) -> Made:
    """Mount `server:path` for the pod. Raises VolumeError."""
    if not _kernel_has_client():
        raise VolumeError(
            f"cannot mount {source['server']}:{source['path']}: the kernel of this node has no NFS client "
            "(load the module `nfs`, or use a node that has it)"
        )
    read_only = read_only or bool(source.get("readOnly"))
    directory = host.paths.volume(pods.uid(request.pod), "kubernetes.io/nfs", name)
    if kernel_mounts.is_mounted(directory):
        return Made(directory, read_only)
    directory.mkdir(parents=True, exist_ok=True)
    given = ",".join([*options, *(["ro"] if read_only else [])]) or "defaults"
    command = ["mount", "-t", "nfs", "-o", given, f"{source['server']}:{source['path']}", str(directory)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_MOUNT_SECONDS):
            out, _ = await process.communicate()
    except TimeoutError:
        raise VolumeError(f"mount failed: {' '.join(command)}: no answer in {_MOUNT_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise VolumeError(f"mount failed: exit status {process.returncode}: {' '.join(command)}: {out.decode()}")
    return Made(directory, read_only)


def _kernel_has_client() -> bool:
    names = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return bool(names & {"nfs", "nfs4"})
