"""Gives a volume's files to the pod's group: `fsGroup` and its change policy.

Walks by descriptor and never follows a symbolic link: what a container left in the volume cannot lead out.
Follows https://kubernetes.io/docs/tasks/configure-pod-container/security-context/ and KEP-695.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ_WRITE = stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP
_SEARCH = stat.S_IXUSR | stat.S_IXGRP


def give_to_group(top: Path, group: int, policy: str) -> None:
    """Blocking: call it in a thread. With `OnRootMismatch` a volume whose top is right is left alone."""
    if policy == "OnRootMismatch" and _is_right(os.stat(top), group):
        return
    for _, _, files, fd in os.fwalk(top, topdown=False, follow_symlinks=False):
        for name in files:
            _give(name, fd, group)
        # The directory itself comes last: its own mode tells that all below is done.
        os.chown(fd, -1, group)
        os.chmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | _READ_WRITE | _SEARCH | stat.S_ISGID)


def _give(name: str, directory: int, group: int) -> None:
    found = os.lstat(name, dir_fd=directory)
    os.chown(name, -1, group, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        return
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(found.st_mode) | _READ_WRITE)
    finally:
        os.close(fd)


def _is_right(found: os.stat_result, group: int) -> bool:
    wanted = _READ_WRITE | _SEARCH | stat.S_ISGID
    return found.st_gid == group and found.st_mode & wanted == wanted
