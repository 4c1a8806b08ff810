"""Install the Debian packages that the tests need and this machine lacks. Needs root when one is missing."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from shirube.cluster import packages

_LIBRARIES = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
TESTS = {
    "ip": "iproute2",
    "make": "make",
    "curl": "curl",
    "script": "bsdutils",
    "docker-registry": "docker-registry",
    "etcd": "etcd-server",
    "etcdctl": "etcd-client",
    # An NFS server in user space, and what mounts it where the kernel has no client (tests/cluster/nfs).
    "ganesha.nfsd": "nfs-ganesha",
    f"{_LIBRARIES}/ganesha/libfsalvfs.so": "nfs-ganesha-vfs",
    f"{_LIBRARIES}/libnfs.so.13": "libnfs13",
    "/usr/lib/python3/dist-packages/fusepy.py": "python3-fusepy",
    "ss": "iproute2",
}


def main() -> int:
    lacking = packages.missing(packages.REQUIRED | packages.OPTIONAL | TESTS)
    if lacking:
        print(f"installing {' '.join(lacking)}", file=sys.stderr)
        try:
            packages.install(lacking)
        except packages.PackageError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
