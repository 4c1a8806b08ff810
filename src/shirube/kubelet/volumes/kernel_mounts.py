"""mount(2), umount2(2) and openat2(2): what Python has no function for. Each takes well under a millisecond."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from pathlib import Path

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 0x1, 0x20, 0x1000, 0x4000
_MS_PRIVATE, _MS_SLAVE = 1 << 18, 1 << 19
_MNT_DETACH = 2
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 428, 429, 437, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _ATTR_RDONLY = 0x1, 0x4, 0x1
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(result, f"cannot mount {source} at {target}")


def bind(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND | MS_REC)


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def bind_read_only(source: str, target: str) -> None:
    """Bind `source` with everything mounted below it, none of which can be written there.

    The copy is locked before it is attached: flags set later would not reach other mount namespaces, such as the
    runtime's. Raises OSError (ENOSYS before Linux 5.12).
    """
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(_AT_FDCWD), os.fsencode(source), ctypes.c_uint(flags)
    )
    tree = _check(result, f"cannot copy the mount {source}")
    try:
        attributes = _Attributes(_ATTR_RDONLY, 0, _MS_PRIVATE, 0)
        result = _libc.syscall(
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            ctypes.c_int(tree),
            b"",
            ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE),
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )
        _check(result, f"cannot make {source} read-only")
        result = _libc.syscall(
            ctypes.c_long(_SYS_MOVE_MOUNT),
            ctypes.c_int(tree),
            b"",
            ctypes.c_int(_AT_FDCWD),
            os.fsencode(target),
            ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
        )
        _check(result, f"cannot mount {source} at {target}")
    finally:
        os.close(tree)


@functools.cache
def can_lock_recursively() -> bool:
    """Whether the kernel has mount_setattr(2)."""
    result = _libc.syscall(ctypes.c_long(_SYS_MOUNT_SETATTR), -1, None, 0, None, ctypes.c_size_t(0))
    return bool(result >= 0 or ctypes.get_errno() != errno.ENOSYS)


def unmount(target: str) -> None:
    """Detach whatever is mounted there: it goes away when nobody uses it any more."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"cannot unmount {target}")


def unmount_all(top: Path) -> None:
    """Detach everything at and below `top`. Raises OSError.

    A copy of a shared mount passes on what happens to it: unless it is cut off first, unmounting what is below a
    copy would unmount it at the original, too.
    """
    points = mounts_below(top)
    for point in reversed(points):
        mount("none", point, flags=_MS_SLAVE)
    for point in points:
        unmount(point)


def mounts_below(top: Path) -> list[str]:
    """Mount points at or below `top`, the deepest first."""
    prefix = str(top)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            point = line.split(" ", 5)[4]
            if "\\" in point:
                point = point.encode().decode("unicode_escape")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def is_mounted(path: Path) -> bool:
    return bool(mounts_below(path))


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory_fd: int, path: str, flags: int) -> int:
    """Open `path` below a directory; a symbolic link that would lead out of it is refused (EXDEV)."""
    how = _How(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory_fd),
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return _check(result, f"cannot open {path}")
