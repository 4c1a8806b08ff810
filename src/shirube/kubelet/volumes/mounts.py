"""A container's volumeMounts as CRI mounts, with subPath made safe.

A container may own a volume and race us with symbolic links. A subPath is therefore opened beneath the volume
(openat2 refuses what leads out) and what was opened is bind-mounted at a place of the agent's own; the
runtime mounts from there, never by a path that the container can change.
Follows https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from shirube.kubelet import pod as pods
from shirube.kubelet.environment import ConfigError
from shirube.kubelet.expansion import expand
from shirube.kubelet.paths import Paths
from shirube.kubelet.volumes import kernel_mounts
from shirube.kubelet.volumes.volume import Made

_PROPAGATION = {
    "HostToContainer": "PROPAGATION_HOST_TO_CONTAINER",
    "Bidirectional": "PROPAGATION_BIDIRECTIONAL",
}


def volume_mounts(
    pod: pods.Pod,
    container: pods.Container,
    volumes: Mapping[str, Made],
    environment: Mapping[str, str],
    paths: Paths,
) -> list[dict[str, Any]]:
    """CRI `Mount`s. Raises ConfigError."""
    found = []
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        made = volumes.get(mount["name"])
        if made is None or made.device:
            raise ConfigError(f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"')
        source = made.path
        sub_path = _sub_path(mount, environment)
        if sub_path:
            at = paths.pod(pods.uid(pod)) / "volume-subpaths" / mount["name"] / container["name"] / str(index)
            source = _prepare_sub_path(source, sub_path, at, mount["name"])
        if mount.get("readOnly") and mount.get("recursiveReadOnly") in ("Enabled", "IfPossible"):
            at = paths.pod(pods.uid(pod)) / "volume-subpaths" / mount["name"] / container["name"] / f"{index}-ro"
            source = _read_only_recursively(source, at, mount)
        path = mount["mountPath"]
        found.append(
            {
                "container_path": path if path.startswith("/") else "/" + path,
                "host_path": str(source),
                "readonly": made.read_only or bool(mount.get("readOnly")),
                "propagation": _PROPAGATION.get(mount.get("mountPropagation") or "", "PROPAGATION_PRIVATE"),
            }
        )
    return found


def volume_devices(container: pods.Container, volumes: Mapping[str, Made]) -> list[dict[str, Any]]:
    """CRI `Device`s of the container's volumeDevices. Raises ConfigError."""
    found = []
    for device in container.get("volumeDevices") or ():
        made = volumes.get(device["name"])
        if made is None or not made.device:
            raise ConfigError(f'cannot find block volume "{device["name"]}" for container "{container["name"]}"')
        permissions = "r" if made.read_only else "mrw"
        found.append({"container_path": device["devicePath"], "host_path": str(made.path), "permissions": permissions})
    return found


def _sub_path(mount: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    if expression := mount.get("subPathExpr"):
        missing: list[str] = []

        def lookup(name: str) -> str | None:
            if name not in environment:
                missing.append(name)
            return environment.get(name)

        path = expand(expression, lookup)
        if missing:
            raise ConfigError(f'missing value for "{missing[0]}"')
    else:
        path = mount.get("subPath") or ""
    if path.startswith("/"):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
    return os.path.normpath(path) if path else ""


def _read_only_recursively(source: Path, at: Path, mount: Mapping[str, Any]) -> Path:
    """A bind mount of the agent's own in which nothing can be written, which the runtime then mounts.

    The kernel keeps the flags of every mount below when it copies the tree, so no runtime need know of it.
    """
    if not kernel_mounts.can_lock_recursively():
        if mount["recursiveReadOnly"] == "IfPossible":
            return source
        raise ConfigError(
            f'volume mount "{mount["name"]}": the kernel cannot mount recursively read-only (Linux 5.12 can); '
            "use recursiveReadOnly: IfPossible"
        )
    try:
        at.parent.mkdir(parents=True, exist_ok=True)
        if kernel_mounts.is_mounted(at):
            kernel_mounts.unmount_all(at)
        if source.is_dir():
            at.mkdir(exist_ok=True)
        else:
            at.touch()
        kernel_mounts.bind_read_only(str(source), str(at))
    except OSError as error:
        raise ConfigError(f'cannot mount "{mount["name"]}" recursively read-only: {error.strerror}') from error
    return at


def _prepare_sub_path(volume: Path, sub_path: str, at: Path, name: str) -> Path:
    try:
        fd = _open_or_make(volume, sub_path)
        try:
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            at.parent.mkdir(parents=True, exist_ok=True)
            if kernel_mounts.is_mounted(at):
                kernel_mounts.unmount_all(at)
            if is_directory:
                at.mkdir(exist_ok=True)
            else:
                at.touch()
            kernel_mounts.bind(f"/proc/self/fd/{fd}", str(at))
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(f'failed to prepare subPath for volumeMount "{name}": {error.strerror or error}') from error
    return at


def _open_or_make(volume: Path, sub_path: str) -> int:
    """A descriptor of what is at `sub_path` beneath the volume; directories that are missing are made."""
    top = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            return kernel_mounts.open_beneath(top, sub_path, os.O_PATH)
        except FileNotFoundError:
            _make_beneath(top, sub_path)
        return kernel_mounts.open_beneath(top, sub_path, os.O_PATH)
    finally:
        os.close(top)


def _make_beneath(top: int, sub_path: str) -> None:
    mode = stat.S_IMODE(os.fstat(top).st_mode)
    group = os.fstat(top).st_gid if mode & stat.S_ISGID else -1
    parts = sub_path.split("/")
    for depth in range(1, len(parts) + 1):
        with suppress(FileNotFoundError):  # then it is made below
            os.close(kernel_mounts.open_beneath(top, "/".join(parts[:depth]), os.O_PATH))
            continue
        parent_path = "/".join(parts[: depth - 1]) or "."
        parent = kernel_mounts.open_beneath(top, parent_path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.mkdir(parts[depth - 1], 0o755, dir_fd=parent)
            made = os.open(parts[depth - 1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            try:
                if group != -1:
                    os.fchown(made, -1, group)
                os.fchmod(made, mode)
            finally:
                os.close(made)
        finally:
            os.close(parent)
