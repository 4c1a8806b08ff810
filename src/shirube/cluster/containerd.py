"""A node's own containerd: its configuration, and images into it.

One containerd a node, with root, state, socket and CNI configuration of its own, started in the node's namespaces. The
configuration is version 2 (containerd 1.6 and later read it).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from shirube.cluster import layout
from shirube.cluster.command import run
from shirube.cluster.layout import NodeLayout

CNI_PLUGINS = "/usr/lib/cni"
_CAP_SYS_RESOURCE = 24

_UNUSED_PLUGINS = ["io.containerd.internal.v1.opt"] + [
    f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")
]

# Runtime handlers by name: the program, and options where it is not runc's own shim.
RUNTIMES = {"runc": "runc", "crun": "crun"}


def restrict_oom_score() -> bool:
    """Whether this process may not lower OOM scores (no CAP_SYS_RESOURCE): sandboxes fail unless containerd knows."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return not int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1
    return False


def configuration(node: NodeLayout, *, restrict_oom: bool, runtimes: dict[str, str]) -> str:
    """The text of the node's config.toml."""
    lines = [
        "version = 2",
        f'root = "{node.lib}/containerd"',
        f'state = "{node.run}/containerd"',
        "oom_score = 0",
        # None of these is used; `opt` would write to /opt.
        f"disabled_plugins = {_UNUSED_PLUGINS}".replace("'", '"'),
        "[grpc]",
        f'  address = "{node.containerd_socket}"',
        '[plugins."io.containerd.grpc.v1.cri"]',
        f'  sandbox_image = "{layout.PAUSE_IMAGE}"',
        f"  restrict_oom_score_adj = {str(restrict_oom).lower()}",
        '  stream_server_address = "127.0.0.1"',
        '  stream_server_port = "0"',
        "  max_container_log_line_size = 16384",
        '  [plugins."io.containerd.grpc.v1.cri".cni]',
        f'    bin_dir = "{CNI_PLUGINS}"',
        f'    conf_dir = "{node.cni_conf}"',
        '  [plugins."io.containerd.grpc.v1.cri".registry]',
        f'    config_path = "{node.cluster.lib}/registries"',
        '  [plugins."io.containerd.grpc.v1.cri".containerd]',
        '    snapshotter = "overlayfs"',
        '    default_runtime_name = "runc"',
    ]
    for handler, binary in runtimes.items():
        table = f'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}'
        lines += [
            f"    [{table}]",
            '      runtime_type = "io.containerd.runc.v2"',
            f"      [{table}.options]",
            f'        BinaryName = "{binary}"',
            "        SystemdCgroup = false",
        ]
    return "\n".join(lines) + "\n"


def prepare(node: NodeLayout) -> list[str]:
    """Write the configuration; returns the command that starts the node's containerd."""
    for directory in (node.lib / "containerd", node.run, node.cni_conf, node.cluster.lib / "registries"):
        directory.mkdir(parents=True, exist_ok=True)
    config = node.lib / "containerd.toml"
    runtimes = {handler: path for handler, program in RUNTIMES.items() if (path := shutil.which(program))}
    config.write_text(configuration(node, restrict_oom=restrict_oom_score(), runtimes=runtimes))
    return [
        shutil.which("containerd") or "/usr/bin/containerd",
        "--config",
        str(config),
        "--log-level",
        "warn",
    ]


def import_image(node: NodeLayout, archive: Path) -> None:
    """Load an OCI archive into the node. The runtime's image list shows it at once."""
    run(
        [
            "ctr",
            "--address",
            str(node.containerd_socket),
            "--namespace",
            "k8s.io",
            "images",
            "import",
            str(archive),
        ],
        timeout=300,
    )


def image_names(node: NodeLayout) -> list[str]:
    out = run(["ctr", "--address", str(node.containerd_socket), "--namespace", "k8s.io", "images", "ls", "-q"])
    return sorted(n for n in out.split() if not n.startswith("sha256:") and "@" not in n)
