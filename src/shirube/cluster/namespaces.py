"""The namespaces a cluster lives in, so that the host is left alone.

One network namespace for the control plane with the bridge `shirube0` in it; for each node a network namespace joined
to that bridge, and a mount and a UTS namespace of its own. Network namespaces are named (`ip netns exec NAME-1 …` looks
inside), the others are pinned under the run directory, so that a restarted component joins the very same ones: the
mounts of running containers live there.

The host gets no interface, route, rule or sysctl. What it gets for the time being are the pins below `/run`; `remove`
takes them away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from shirube.cluster import layout
from shirube.cluster.cgroups import is_v2
from shirube.cluster.command import CommandError, run, succeeds
from shirube.cluster.layout import Addresses, ClusterLayout, NodeLayout

_NETNS_DIR = Path("/run/netns")
_ATTEMPTS = 3
_CNI_CACHE = Path("/var/lib/cni")
_EMPTY_V2 = Path("/sys/fs/cgroup/unified")
_libc = ctypes.CDLL(None, use_errno=True)

# Namespaces to join, in the order in which the kernel must see them: the mount namespace last, its paths differ.
CLONE_NEWNET = 0x40000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNS = 0x00020000


def network_namespace_path(name: str) -> Path:
    return _NETNS_DIR / name


def join(*, network: Path | None = None, uts: Path | None = None, mount: Path | None = None) -> None:
    """Move this (single-threaded) process into pinned namespaces."""
    opened = [
        (os.open(p, os.O_RDONLY | os.O_CLOEXEC), kind)
        for p, kind in ((network, CLONE_NEWNET), (uts, CLONE_NEWUTS), (mount, CLONE_NEWNS))
        if p is not None
    ]
    for fd, kind in opened:
        if _libc.setns(fd, kind) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot join namespace: {os.strerror(number)}")
        os.close(fd)
    if mount is not None:
        os.chdir("/")


def create_control_plane(cluster: ClusterLayout, families: Sequence[Addresses]) -> None:
    """The control plane's network namespace with the bridge; nothing happens when it is there already."""
    _make_pin_directory(cluster)
    if network_namespace_path(cluster.netns).exists():
        return
    _add_network_namespace(cluster, cluster.netns)
    _forward(cluster.netns)
    _ip_batch(
        cluster.netns,
        [
            "link set lo up",
            f"link add {layout.BRIDGE} type bridge",
            *(_address(one.control_plane, one, layout.BRIDGE) for one in families),
            f"link set {layout.BRIDGE} up",
        ],
    )


def create_node(node: NodeLayout, families: Sequence[Addresses]) -> None:
    """The node's three namespaces; nothing happens for what is there already."""
    cluster = node.cluster
    if not network_namespace_path(node.netns).exists():
        _add_network_namespace(cluster, node.netns)
        _forward(node.netns)
        port = f"node{node.index}"
        _ip_batch(
            cluster.netns,
            [
                f"link add {port} type veth peer name eth0 netns {node.netns}",
                f"link set {port} master {layout.BRIDGE} up",
            ],
        )
        _ip_batch(
            node.netns,
            [
                "link set lo up",
                *(_address(one.node(node.index), one, "eth0") for one in families),
                "link set eth0 up",
                *(f"route add default via {one.control_plane}" for one in families),
            ],
        )
    if not _is_pinned(node.mount_namespace):
        _create_mount_namespace(node)


def _create_mount_namespace(node: NodeLayout) -> None:
    cni_cache = node.lib / "cni" / "cache"
    cni_cache.mkdir(parents=True, exist_ok=True)
    if not _CNI_CACHE.exists():
        _CNI_CACHE.mkdir(parents=True, exist_ok=True)
        (node.cluster.run / "made-var-lib-cni").touch()
    for pin in (node.mount_namespace, node.uts_namespace):
        pin.touch()
    # Mounts made inside are shared among the containers of the node (mount propagation) and unknown to the host. The
    # runtime names pod network namespaces under /run/netns and libcni caches results in /var/lib/cni: both private.
    script = "\n".join(
        [
            "set -e",
            'hostname "$1"',
            "mount -n --make-rshared /",
            "mount -n -t tmpfs -o mode=755 tmpfs /run/netns",
            f'mount -n --bind "$2" {_CNI_CACHE}',
            # crun refuses the mixture of v1 hierarchies and an empty v2 tree beside them; nodes see v1 alone.
            *([f"mount -n -t tmpfs -o mode=555 tmpfs {_EMPTY_V2}"] if _EMPTY_V2.is_dir() and not is_v2() else []),
        ]
    )
    run(
        [
            "unshare",
            f"--mount={node.mount_namespace}",
            f"--uts={node.uts_namespace}",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
            node.name,
            str(cni_cache),
        ]
    )


def remove(cluster: ClusterLayout, nodes: list[NodeLayout]) -> None:
    """Take every namespace and pin away. Their processes must have ended."""
    pins = cluster.run / "ns"
    for node in nodes:
        remove_node(node)
    if network_namespace_path(cluster.netns).exists():
        run(["ip", "netns", "del", cluster.netns])
    while _is_mount(pins):
        run(["umount", "-n", str(pins)])
    with contextlib.suppress(FileNotFoundError):
        pins.rmdir()
    _give_back_shared_directories(cluster)


def remove_node(node: NodeLayout) -> None:
    """Take one node's namespaces and pins away. Its processes must have ended."""
    for pin in (node.mount_namespace, node.uts_namespace):
        if _is_pinned(pin):
            run(["umount", "-n", str(pin)])
        pin.unlink(missing_ok=True)
    if network_namespace_path(node.netns).exists():
        run(["ip", "netns", "del", node.netns])


def _give_back_shared_directories(cluster: ClusterLayout) -> None:
    # `ip netns add` makes /run/netns and mounts it on itself; undone when we were the first and are the last. Others'
    # nodes have something mounted on both, which a removal would take from them.
    if _NETNS_DIR.is_dir() and any(_NETNS_DIR.iterdir()):
        return
    if (cluster.run / "made-run-netns").exists():
        # Where it fails, another cluster has begun to use it at this very moment.
        while _is_mount(_NETNS_DIR) and succeeds(["umount", "-n", str(_NETNS_DIR)]):
            pass
        with contextlib.suppress(OSError):
            _NETNS_DIR.rmdir()
    if (cluster.run / "made-var-lib-cni").exists() and _CNI_CACHE.is_dir() and not any(_CNI_CACHE.iterdir()):
        with contextlib.suppress(OSError):  # somebody has begun to use it at this very moment
            _CNI_CACHE.rmdir()


def _make_pin_directory(cluster: ClusterLayout) -> None:
    pins = cluster.run / "ns"
    pins.mkdir(parents=True, exist_ok=True)
    if not _is_mount(pins):
        # A mount namespace can be pinned on a private mount only.
        run(["mount", "-n", "--bind", str(pins), str(pins)])
        run(["mount", "-n", "--make-private", str(pins)])


def _add_network_namespace(cluster: ClusterLayout, name: str) -> None:
    if not _is_mount(_NETNS_DIR):
        (cluster.run / "made-run-netns").touch()
    for _ in range(_ATTEMPTS - 1):
        if succeeds(["ip", "netns", "add", name]):
            return
        # The last other cluster may have taken the folder away at this very moment; what was begun is in the way.
        with contextlib.suppress(OSError):
            network_namespace_path(name).unlink()
    run(["ip", "netns", "add", name])


def _ip_batch(namespace: str, lines: list[str]) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines) + "\n")


def _address(address: str, family: Addresses, device: str) -> str:
    # Nobody else can have it: not asking around (DAD) saves a second.
    return f"addr add {address}/{family.node_prefix} dev {device}{' nodad' if ':' in address else ''}"


def _forward(namespace: str) -> None:
    """Let the namespace be a router, of both families where the kernel has both."""
    script = "echo 1 > /proc/sys/net/ipv4/ip_forward; cd /proc/sys/net/ipv6/conf 2>/dev/null || exit 0; "
    script += "echo 1 > all/forwarding; echo 0 > default/accept_dad; echo 0 > all/accept_ra"
    run(["nsenter", f"--net={network_namespace_path(namespace)}", "sh", "-c", script])


def _mount_points() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _is_mount(path: Path) -> bool:
    return str(path) in _mount_points()


def _is_pinned(path: Path) -> bool:
    return _is_mount(path)


def left_over(cluster: ClusterLayout) -> list[str]:
    """What of the cluster's is still on the machine: for `status`, `down` and the tests."""
    found = []
    if _NETNS_DIR.is_dir():
        names = sorted(p.name for p in _NETNS_DIR.iterdir())
        found += [
            f"network namespace {n}"
            for n in names
            if n == cluster.name or (n.startswith(cluster.name + "-") and n[len(cluster.name) + 1 :].isdigit())
        ]
    found += [f"mount {m}" for m in _mount_points() if m.startswith(str(cluster.run))]
    return found


__all__ = [
    "CommandError",
    "create_control_plane",
    "create_node",
    "join",
    "left_over",
    "network_namespace_path",
    "remove",
    "remove_node",
    "succeeds",
]
