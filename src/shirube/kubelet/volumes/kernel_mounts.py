"""mount(2), umount2(2) and openat2(2): what Python has no function for. Each takes well under a millisecond."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 0x1, 0x20, 0x1000, 0x4000
_MNT_DETACH = 2
_SYS_OPENAT2 = 437
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


def unmount(target: str) -> None:
    """Detach whatever is mounted there: it goes away when nobody uses it any more."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"cannot unmount {target}")


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
