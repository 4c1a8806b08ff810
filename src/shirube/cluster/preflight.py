"""What must hold before `up` changes anything. Each finding is one clear sentence; no finding, no output."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from shirube.cluster import cgroups, etcd, namespaces, packages
from shirube.cluster.control import LONGEST_PATH
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec

_FILESYSTEMS = {"overlay": "overlayfs (container images)", "tmpfs": "tmpfs (secrets)"}
_IPV6 = Path("/proc/sys/net/ipv6")
_LEAST_FREE_BYTES = 512 * 1024 * 1024
_MOST_NODES = 99


def findings(cluster: ClusterLayout, spec: ClusterSpec) -> list[str]:
    """Why a cluster cannot be started here, most basic first."""
    if os.geteuid() != 0:
        return ["cannot start a cluster: root is needed for namespaces, mounts and cgroups; run it with sudo"]
    found = _kernel()
    if lacking := packages.missing(packages.REQUIRED):
        found.append(
            f"cannot start a cluster: programs are missing; run `apt-get install {' '.join(lacking)}`, "
            "or `shirube up --install`"
        )
    if spec.datastore == "etcd" and packages.missing({"etcd": etcd.PACKAGE}):
        found.append(
            f"cannot start a cluster: etcd is not installed; run `apt-get install {etcd.PACKAGE}`, "
            "or `shirube up --install`, or keep the objects in SQLite (no --datastore)"
        )
    found += _sockets(cluster)
    found += _families(spec)
    found += _foreign(cluster)
    found += _disk(cluster.lib)
    found += _port(spec.publish_address, spec.api_port)
    return found


def _families(spec: ClusterSpec) -> list[str]:
    if spec.ip_family != "ipv4" and not _IPV6.exists():
        return [
            f"cannot start a cluster of IP family {spec.ip_family}: the kernel has no IPv6; boot without "
            "ipv6.disable=1, or use --ip-family ipv4"
        ]
    return []


def _sockets(cluster: ClusterLayout) -> list[str]:
    """A cluster's name is in the path of its sockets, once more for the node."""
    longest = max(
        (cluster.node(_MOST_NODES).device_plugin_socket, cluster.control_socket), key=lambda path: len(str(path))
    )
    over = len(os.fsencode(longest)) - LONGEST_PATH
    if over <= 0:
        return []
    shorter = len(cluster.name) - (over + 1) // 2
    remedy = f"choose a --name of at most {shorter} characters" if shorter > 0 else "choose a shorter --name"
    if os.environ.get("SHIRUBE_HOME"):
        remedy += ", or a shorter SHIRUBE_HOME"
    return [
        f"cannot start a cluster: {longest} is longer than the path of a socket can be ({LONGEST_PATH} bytes); "
        + remedy
    ]


def _foreign(cluster: ClusterLayout) -> list[str]:
    """A namespace of our name that is not ours: another home's cluster, or somebody else's."""
    if namespaces.network_namespace_path(cluster.netns).exists() and not (cluster.run / "ns").is_dir():
        return [
            f"cannot start a cluster: a network namespace {cluster.netns!r} is there already and belongs to something "
            "else (a cluster of that name under another SHIRUBE_HOME?); choose another --name"
        ]
    return []


def _kernel() -> list[str]:
    found = []
    known = Path("/proc/filesystems").read_text().split()
    for name, what in _FILESYSTEMS.items():
        if name not in known and not _loadable(name):
            found.append(f"cannot start a cluster: the kernel has no {what}; load or build the module {name!r}")
    for kind in ("net", "mnt", "uts", "ipc", "pid"):
        if not Path(f"/proc/self/ns/{kind}").exists():
            found.append(f"cannot start a cluster: the kernel has no {kind} namespaces; a kernel with them is needed")
    if not cgroups.hierarchies():
        found.append("cannot start a cluster: no cgroup hierarchy is mounted under /sys/fs/cgroup; mount cgroup2 there")
    return found


def _loadable(module: str) -> bool:
    release = os.uname().release
    index = Path(f"/lib/modules/{release}/modules.dep")
    return index.exists() and f"/{module}.ko" in index.read_text()


def _disk(lib: Path) -> list[str]:
    there = lib
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < _LEAST_FREE_BYTES:
        return [
            f"cannot start a cluster: {there} has {free // 2**20} MiB free and {_LEAST_FREE_BYTES // 2**20} MiB are "
            "needed; free some space or set SHIRUBE_HOME to another disk"
        ]
    return []


def _port(address: str, port: int) -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return [
                f"cannot start a cluster: {address}:{port} cannot be listened on ({error.strerror}); stop what uses it "
                "or choose another with --port"
            ]
    return []
