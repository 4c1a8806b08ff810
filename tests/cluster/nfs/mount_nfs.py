#!/usr/bin/python3
"""A `mount.nfs` for kernels without an NFS client: libnfs, a client in user space, mounted by FUSE.

    mount.nfs SERVER:PATH DIRECTORY [-o OPTIONS]

NFSv4 on port 2049. It runs by Debian's own python3, for which python3-fusepy is packaged. Nothing is cached between two
requests, so that two such mounts see each other's files at once. The process serves the mount until it is unmounted.
"""

import ctypes
import os
import sys

import fusepy

_nfs = ctypes.CDLL("libnfs.so.13")
_pointer, _text, _u64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
_nfs.nfs_init_context.restype = _pointer
_nfs.nfs_get_error.restype = _text
_nfs.nfs_readdir.restype = _pointer
_PIECE = 2048  # bytes that this version of libnfs can write with one request


class Stat(ctypes.Structure):
    _fields_ = [
        (name, _u64)
        for name in (
            *("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"),
            *("atime", "mtime", "ctime", "atime_nsec", "mtime_nsec", "ctime_nsec", "used"),
        )
    ]


class Entry(ctypes.Structure):
    _fields_ = [("next", _pointer), ("name", _text)]


class Files(fusepy.Operations):
    def __init__(self, server, path):
        self._context = _pointer(_nfs.nfs_init_context())
        _nfs.nfs_set_version(self._context, 4)
        _nfs.nfs_umask(self._context, 0)  # the kernel has applied the caller's
        self._open = {}
        if _nfs.nfs_mount(self._context, server.encode(), path.encode()):
            raise OSError(self.error())

    def error(self):
        return (_nfs.nfs_get_error(self._context) or b"").decode(errors="replace")

    def _call(self, name, path, *arguments):
        code = getattr(_nfs, name)(self._context, path.encode(), *arguments)
        if code < 0:
            raise fusepy.FuseOSError(-code)
        return code

    def _with_file(self, name, handle, *arguments):
        code = getattr(_nfs, name)(self._context, self._open[handle], *arguments)
        if code < 0:
            raise fusepy.FuseOSError(-code)
        return code

    def getattr(self, path, fh=None):
        found = Stat()
        self._call("nfs_lstat64", path, ctypes.byref(found))
        names = ("mode", "nlink", "uid", "gid", "size", "blocks", "ino", "atime", "mtime", "ctime")
        return {f"st_{name}": getattr(found, name) for name in names}

    def readdir(self, path, fh):
        directory = _pointer()
        self._call("nfs_opendir", path, ctypes.byref(directory))
        names = []
        while entry := _nfs.nfs_readdir(self._context, directory):
            names.append(Entry.from_address(entry).name.decode())
        _nfs.nfs_closedir(self._context, directory)
        return {".", "..", *names}

    def mkdir(self, path, mode):
        self._call("nfs_mkdir2", path, mode)

    def rmdir(self, path):
        self._call("nfs_rmdir", path)

    def unlink(self, path):
        self._call("nfs_unlink", path)

    def rename(self, old, new):
        self._call("nfs_rename", old, new.encode())

    def symlink(self, target, source):
        self._call("nfs_symlink", source, target.encode())

    def readlink(self, path):
        buffer = ctypes.create_string_buffer(4096)
        self._call("nfs_readlink", path, buffer, len(buffer))
        return buffer.value.decode()

    def chmod(self, path, mode):
        self._call("nfs_chmod", path, mode & 0o7777)

    def chown(self, path, uid, gid):
        self._call("nfs_lchown", path, uid, gid)

    def truncate(self, path, length, fh=None):
        self._call("nfs_truncate", path, _u64(length))

    def utimens(self, path, times=None):
        pass  # the server's own times do

    def statfs(self, path):
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 20, "f_bfree": 1 << 19, "f_bavail": 1 << 19}

    def create(self, path, mode, fi=None):
        self._call("nfs_creat", path, mode, ctypes.byref(made := _pointer()))
        _nfs.nfs_close(self._context, made)
        self.chmod(path, mode)  # this version makes all files 0600
        return self.open(path, os.O_RDWR)

    def open(self, path, flags):
        self._call(
            "nfs_open", path, flags & (os.O_ACCMODE | os.O_TRUNC | os.O_APPEND), ctypes.byref(file := _pointer())
        )
        handle = max(self._open, default=0) + 1
        self._open[handle] = file
        return handle

    def read(self, path, size, offset, fh):
        buffer = ctypes.create_string_buffer(size)
        done = self._with_file("nfs_pread", fh, _u64(offset), _u64(size), buffer)
        return buffer.raw[:done]

    def write(self, path, data, offset, fh):
        written = 0
        while written < len(data):
            piece = data[written : written + _PIECE]
            written += self._with_file("nfs_pwrite", fh, _u64(offset + written), _u64(len(piece)), piece)
        return written

    def fsync(self, path, datasync, fh):
        self._with_file("nfs_fsync", fh)

    def release(self, path, fh):
        _nfs.nfs_close(self._context, self._open.pop(fh))


def main():
    source, at = sys.argv[1:3]
    options = sys.argv[sys.argv.index("-o") + 1].split(",") if "-o" in sys.argv else []
    server, _, path = source.partition(":/")
    try:
        files = Files(server, "/" + path)
        files.getattr("/")
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else str(error)
        print(f"mount.nfs: mounting {source} failed: {said}", file=sys.stderr)
        return 32
    more = {"ro": True} if "ro" in options else {}
    fresh = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0, "direct_io": True}
    # In one thread, because libnfs' context is one client's; into the background once the mount is there.
    fusepy.FUSE(
        files, at, nothreads=True, foreground=False, allow_other=True, fsname=source, subtype="nfs", **fresh, **more
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
