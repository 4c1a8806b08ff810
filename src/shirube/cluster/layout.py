"""Where a cluster keeps things, and the addresses inside its namespaces. One table; everybody asks here.

    lib  /var/lib/shirube/NAME/            what survives a reboot: PKI, kubeconfigs, the store, images, logs
    run  /run/shirube/NAME/                sockets, pid and lock files, pinned namespaces

With `$SHIRUBE_HOME=H` these are `H/lib/NAME` and `H/run/NAME`. Every cluster lives in network namespaces of its own,
so all clusters can use the same addresses inside.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

CONTROL_PLANE_ADDRESS = "172.30.0.1"
NODE_NETWORK = "172.30.0.0/24"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/12"
KUBERNETES_SERVICE_ADDRESS = "10.96.0.1"
CLUSTER_DNS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
METRICS_PORT = 4443
BRIDGE = "shirube0"
PAUSE_IMAGE = "localhost/shirube/pause:1"

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
    """One node's places and address. `index` counts from 1."""

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

    @property
    def address(self) -> str:
        return f"172.30.0.{self.index + 1}"

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
