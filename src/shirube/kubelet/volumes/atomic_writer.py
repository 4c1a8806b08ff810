"""Files of a volume that change all at once, as readers see them.

The files live in a timestamped directory; `..data` is a symbolic link to it, and every top-level name is a
link through `..data`. An update writes a new directory and renames a new link over `..data`: a reader sees the
old files or the new ones, never a mixture. Nothing is written when nothing changed. A crash at any point
leaves the old state and at worst a directory that the next update removes.
Follows https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

DATA = "..data"
_NEW_DATA = "..data_tmp"
# Whatever user a container runs as may look inside; the files have modes of their own.
_DIRECTORY_MODE = 0o755


class File(NamedTuple):
    data: bytes
    mode: int
    owner: int | None = None  # user ID, when not root


class UnsafePath(ValueError):
    """A file name that would leave the volume."""


def write(directory: Path, files: Mapping[str, File], now: float, group: int | None = None) -> bool:
    """Make `directory` hold exactly `files` (by relative path). Returns whether anything changed.

    With `group` (an fsGroup) files belong to it and it may read them.
    """
    for path in files:
        check_path(path)
    current = _current(directory)
    if current is not None and _holds(current, files):
        return False
    stamp = datetime.fromtimestamp(now, UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
    fresh = Path(tempfile.mkdtemp(prefix=stamp, dir=directory))
    os.chmod(fresh, _DIRECTORY_MODE)
    for path, file in files.items():
        _write_file(fresh, path, file, group)
    link = directory / _NEW_DATA
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(fresh.name)
    os.rename(link, directory / DATA)
    _link_names(directory, {path.split("/", 1)[0] for path in files})
    for old in directory.iterdir():
        if old.name.startswith("..2") and old.name != fresh.name and old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
    return True


def check_path(path: str) -> None:
    """Raises UnsafePath unless `path` is relative and stays inside."""
    parts = path.split("/")
    if not path or path.startswith(("/", "..")) or ".." in parts:
        raise UnsafePath(f"invalid path {path!r}: must be relative, without '..'")


def _current(directory: Path) -> Path | None:
    try:
        return directory / os.readlink(directory / DATA)
    except OSError:
        return None


def _holds(current: Path, files: Mapping[str, File]) -> bool:
    found = {str(p.relative_to(current)) for p in current.rglob("*") if not p.is_dir()}
    if found != set(files):
        return False
    for path, file in files.items():
        target = current / path
        try:
            status = target.stat()
            if status.st_size != len(file.data) or target.read_bytes() != file.data:
                return False
        except OSError:
            return False
        if stat.S_IMODE(status.st_mode) & ~0o470 != file.mode & ~0o470:
            return False
    return True


def _write_file(top: Path, path: str, file: File, group: int | None) -> None:
    target = top / path
    for parent in reversed(target.relative_to(top).parents[:-1]):
        with contextlib.suppress(FileExistsError):
            (top / parent).mkdir()
            os.chmod(top / parent, _DIRECTORY_MODE)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _write_all(fd, file.data)
        mode = file.mode
        if group is not None:
            mode |= 0o440
        if file.owner is not None or group is not None:
            os.fchown(fd, -1 if file.owner is None else file.owner, -1 if group is None else group)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and entry.name not in names and not entry.name.startswith(".."):
            entry.unlink()
