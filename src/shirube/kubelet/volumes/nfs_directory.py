"""Makes, archives or removes one directory of an NFS export: a program of its own, which mounts the share.

The agent runs it (`network_file_system.on_export`) in a mount and a process namespace that end with it: whenever it is
killed, no mount and no process is left, and a server that hangs holds up nobody else. It is asked by one JSON object on
its standard input, and exits with 0, or with 1 and what was wrong on its standard output.

Others may write to the export meanwhile. Directories are therefore opened one by one, each below the one before and
never through a symbolic link. What is to be deleted is first set aside under a name that only this volume can have (one
rename), and emptied there by a second run: half a directory is never seen under the old name, and one that is made
there meanwhile is safe. Each action done twice is done once.

It imports next to nothing, because it starts anew for each directory.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

MAKE, ARCHIVE, SET_ASIDE, EMPTY = "make", "archive", "set aside", "empty"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELPERS = ("/sbin/mount.nfs", "/usr/sbin/mount.nfs")


class ExportError(Exception):
    """What cannot be done on the export, for an event."""


def kernel_has_client() -> bool:
    with open("/proc/filesystems", encoding="ascii") as lines:
        return any(line.split()[-1] in ("nfs", "nfs4") for line in lines)


def hindrance() -> str:
    """Why no NFS volume can be mounted on this node; "" when it is worth trying."""
    if kernel_has_client() or any(map(os.path.exists, _HELPERS)):
        return ""
    return "the kernel of this node has no NFS client and there is no mount.nfs (install nfs-common, load module `nfs`)"


def explained(said: str) -> str:
    """What mount(8) said, and what this node lacks when that is why."""
    if not kernel_has_client():
        return f"{said} (the kernel of this node has no NFS client: load the module `nfs`, or use a node that has it)"
    if not any(map(os.path.exists, _HELPERS)):
        return f"{said} (this node has no mount.nfs: install nfs-common)"
    return said


def mount_command(server: str, path: str, at: str, options: Sequence[str]) -> list[str]:
    """Raises ExportError for a server that mount(8) would take for an option."""
    if server.startswith("-") or not server.isprintable():
        raise ExportError(f'cannot mount from "{server}": it must be a host name or an address')
    host = f"[{server}]" if ":" in server and not server.startswith("[") else server
    return ["mount", "-t", "nfs", "-o", ",".join(options) or "defaults", "--", f"{host}:{path}", at]


# -- on the mounted share


def make(share: int, directory: str, permissions: int) -> None:
    """The directory, with these permissions (0: the usual), and those above it. One that is there stays as it is."""
    before = os.umask(0)  # the permissions come with the directory: nobody can die in between
    parent, parts = os.dup(share), directory.split("/")
    try:
        for depth, part in enumerate(parts, 1):
            try:
                child = os.open(part, _DIRECTORY, dir_fd=parent)
            except FileNotFoundError:
                with suppress(FileExistsError):  # another node was faster
                    os.mkdir(part, permissions if permissions and depth == len(parts) else 0o755, dir_fd=parent)
                child = os.open(part, _DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = child
    finally:
        os.close(parent)
        os.umask(before)


def set_aside(share: int, directory: str, volume: str) -> None:
    try:
        _rename(share, directory, _aside(volume), into=share)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        empty(share, volume)  # left by somebody who died before it was empty
        _rename(share, directory, _aside(volume), into=share)


def empty(share: int, volume: str) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(_aside(volume), dir_fd=share)  # never follows a link


def _aside(volume: str) -> str:
    return f".deleted-{volume}"


def _rename(share: int, directory: str, name: str, into: int | None = None) -> None:
    """To a name beside it or in `into`. One that is not there was renamed before."""
    parent, parts = os.dup(share), directory.split("/")
    try:
        for part in parts[:-1]:
            child = os.open(part, _DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = child
        os.close(os.open(parts[-1], _DIRECTORY, dir_fd=parent))
        os.rename(parts[-1], name, src_dir_fd=parent, dst_dir_fd=parent if into is None else into)
    except FileNotFoundError:
        return
    finally:
        os.close(parent)


def work(asked: dict[str, Any], share: int) -> None:
    directory, volume = str(asked["directory"]), str(asked.get("volume"))
    match asked["action"]:
        case "make":
            make(share, directory, int(asked["permissions"], 8))
        case "archive":
            _rename(share, directory, os.path.basename(asked["target"]))
        case "set aside":
            set_aside(share, directory, volume)
        case "empty":
            empty(share, volume)
        case other:
            raise ExportError(f"there is no such action: {other}")


# -- the program


def _mounted(asked: dict[str, Any]) -> int:
    command = mount_command(asked["server"], asked["share"], asked["at"], asked["options"])
    # Into a file, not a pipe: what serves the mount may keep the pipe open.
    with os.fdopen(os.memfd_create("said"), "rb+") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
        out.seek(0)
        said = out.read(4096).decode(errors="replace").strip()
    if done.returncode:
        raise ExportError(explained(f"mount failed: exit status {done.returncode}: {' '.join(command)}: {said}"))
    return os.open(asked["at"], _DIRECTORY)


def main() -> int:
    asked = json.load(sys.stdin)
    what = f"cannot {asked['action']} directory {asked['directory']} of {asked['server']}:{asked['share']}"
    try:
        if why := hindrance():
            raise ExportError(why)
        share = _mounted(asked)
        try:
            work(asked, share)
        finally:
            os.close(share)
            subprocess.run(["umount", asked["at"]], capture_output=True, check=False)  # else it ends with the namespace
    except ExportError as error:
        sys.stdout.write(f"{what}: {error}")
        return 1
    except OSError as error:
        named = f" ({error.filename})" if isinstance(error.filename, str) else ""
        sys.stdout.write(f"{what}: {error.strerror or error}{named}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
