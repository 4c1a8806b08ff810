"""hostPath volumes: a path of the node, checked against the type that the pod expects."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from shirube.kubelet.volumes.volume import Host, Made, Request, VolumeError

_KINDS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


async def set_up(host: Host, request: Request) -> Made:
    return Made(checked(request.volume["hostPath"]))


def provisioned(path: Path) -> Path:
    """A directory for a volume of the local-path provisioner. Whatever user a container runs as may write there, but no
    user of the machine gets at it, because the directory of all of them is closed. Raises VolumeError."""
    try:
        if not path.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.new")
            fresh.mkdir(exist_ok=True)
            fresh.chmod(0o777)
            fresh.rename(path)  # whole or not at all
    except OSError as error:
        raise VolumeError(f"cannot make the volume's directory {path}: {error.strerror}") from error
    return path


def checked(source: Mapping[str, Any]) -> Path:
    """The path of a `hostPath` source, made if its type says so. Raises VolumeError."""
    path, kind = Path(source["path"]), source.get("type") or ""
    try:
        if kind == "DirectoryOrCreate":
            path.mkdir(parents=True, exist_ok=True)
            kind = "Directory"
        elif kind == "FileOrCreate":
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            kind = "File"
        if kind:
            check, what = _KINDS[kind]
            if not path.exists() or not check(path.stat().st_mode):
                raise VolumeError(f"hostPath type check failed: {path} is not {what}")
        elif not path.exists():
            # The runtime would make it; made here its mode does not depend on the runtime.
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VolumeError(f"cannot prepare host path {path}: {error.strerror}") from error
    return path
