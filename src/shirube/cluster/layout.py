"""Where a cluster keeps things, and the addresses inside its namespaces. One table; everybody asks here.

    lib  /var/lib/shirube/NAME/            what survives a reboot: PKI, kubeconfigs, the store, images, logs
    run  /run/shirube/NAME/                sockets, pid and lock files, pinned namespaces

With `$SHIRUBE_HOME=H` these are `H/lib/NAME` and `H/run/NAME`. Every cluster lives in network namespaces of its own,
so all clusters can use the same addresses inside.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
METRICS_PORT = 4443
BRIDGE = "shirube0"
PAUSE_IMAGE = "localhost/shirube/pause:1"


class Addresses(NamedTuple):
    """The addresses inside a cluster, in one family. Fields that name two families have a comma between (`joined`)."""

    control_plane: str
    node_network: str
    pods: str
    services: str
    kubernetes: str  # the Service of the API server: the range's first
    dns: str

    def node(self, index: int) -> str:
        return str(ipaddress.ip_network(self.node_network)[index + 1])

    @property
    def node_prefix(self) -> str:
        """The length of the node network's prefix."""
        return self.node_network.rsplit("/", 1)[1]


_IPV4 = Addresses("172.30.0.1", "172.30.0.0/24", "10.244.0.0/16", "10.96.0.0/12", "10.96.0.1", "10.96.0.10")
_IPV6 = Addresses(
    "fd00:172:30::1",
    "fd00:172:30::/64",
    "fd00:10:244::/48",
    "fd00:10:96::/112",
    "fd00:10:96::1",
    "fd00:10:96::a",
)
# What `up --ip-family` may say -> the families, the primary one first.
FAMILIES: dict[str, tuple[Addresses, ...]] = {"ipv4": (_IPV4,), "ipv6": (_IPV6,), "dual": (_IPV4, _IPV6)}


def joined(families: Iterable[Addresses], field: str) -> str:
    """The field of every family, with commas between, as flags of components want it."""
    return ",".join(getattr(one, field) for one in families)


_NAME = re.compile(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?")


class LayoutError(Exception):
    """A name or directory that cannot be used; the message says what to do."""


def _roots() -> tuple[Path, Path]:
    home = os.environ.get("SHIRUBE_HOME")
    if home:
        if not home.startswith("/"):
            raise LayoutError(f"cannot use SHIRUBE_HOME={home!r}: it must be an absolute path")
        return Path(home) / "lib", Path(home) / "run"
    return Path("/var/lib/shirube"), Path("/run/shirube")


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """One node's places. `index` counts from 1."""

    cluster: ClusterLayout
    index: int

    @property
    def name(self) -> str:
        return f"{self.cluster.name}-{self.index}"

    @property
    def lib(self) -> Path:
        return self.cluster.lib / self.name

    @property
    def run(self) -> Path:
        return self.cluster.run / self.name

    @property
    def netns(self) -> str:
        return self.name

    def addresses(self, families: Iterable[Addresses]) -> list[str]:
        """The node's address in each family."""
        return [one.node(self.index) for one in families]

    @property
    def mount_namespace(self) -> Path:
        return self.cluster.run / "ns" / f"{self.name}.mnt"

    @property
    def uts_namespace(self) -> Path:
        return self.cluster.run / "ns" / f"{self.name}.uts"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def device_plugin_socket(self) -> Path:
        """The longest path of a socket that the cluster makes itself."""
        return self.lib / "kubelet" / "device-plugins" / "kubelet.sock"

    @property
    def cni_conf(self) -> Path:
        return self.lib / "cni" / "net.d"

    @property
    def cgroup(self) -> str:
        return f"{self.cluster.cgroup}/{self.name}"

    @property
    def kubeconfig(self) -> Path:
        return self.lib / "kubelet.kubeconfig"


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    name: str
    lib: Path
    run: Path

    @staticmethod
    def of(name: str) -> ClusterLayout:
        if not _NAME.fullmatch(name):
            raise LayoutError(
                f"cannot use cluster name {name!r}: use up to 30 lower-case letters, digits and '-', a letter first"
            )
        lib, run = _roots()
        return ClusterLayout(name, lib / name, run / name)

    @staticmethod
    def existing() -> list[ClusterLayout]:
        """Every cluster that has data on this machine, by name."""
        lib, run = _roots()
        names = {d.name for root in (lib, run) if root.is_dir() for d in root.iterdir() if d.is_dir()}
        return [ClusterLayout(n, lib / n, run / n) for n in sorted(names) if _NAME.fullmatch(n)]

    def node(self, index: int) -> NodeLayout:
        return NodeLayout(self, index)

    @property
    def netns(self) -> str:
        return self.name

    @property
    def cgroup(self) -> str:
        return f"/shirube/{self.name}"

    @property
    def logs(self) -> Path:
        return self.lib / "log"

    @property
    def pki(self) -> Path:
        return self.lib / "pki"

    @property
    def store(self) -> Path:
        return self.lib / "store"

    @property
    def etcd(self) -> Path:
        """etcd's data, for a cluster that keeps its objects there."""
        return self.lib / "etcd"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.lib / "admin.kubeconfig"

    @property
    def internal_kubeconfig(self) -> Path:
        return self.lib / "admin-internal.kubeconfig"

    def component_kubeconfig(self, component: str) -> Path:
        return self.lib / f"{component}.kubeconfig"

    @property
    def control_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def lock(self) -> Path:
        return self.run.parent / f"{self.name}.lock"

    @property
    def spec(self) -> Path:
        """What `up` was asked for: number of nodes, ports. JSON."""
        return self.lib / "cluster.json"
