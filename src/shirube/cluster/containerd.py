"""A node's own containerd: its configuration, and images into it.

One containerd a node, with root, state, socket and CNI configuration of its own, started in the node's namespaces. The
configuration is version 2 (containerd 1.6 and later read it).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from shirube.cluster import layout
from shirube.cluster.command import CommandError, run
from shirube.cluster.layout import NodeLayout

CNI_PLUGINS = "/usr/lib/cni"
_CAP_SYS_RESOURCE = 24

_UNUSED_PLUGINS = ["io.containerd.internal.v1.opt"] + [
    f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")
]

# Runtime handlers by name: the program and the flags that it needs. All are driven by runc's shim. gVisor intercepts
# system calls by ptrace, which works on every machine, also without virtualisation.
RUNTIMES = {"runc": ("runc",), "crun": ("crun",), "runsc": ("runsc", "--platform=ptrace")}


# The shim knows a program but no flags for it. It learns of a container's end from its first process, which gVisor has
# only one of in a sandbox: so each container gets a sandbox of its own, in the pod's network namespace. And it wants to
# kill what has ended already, which gVisor calls an error.
_WRAPPER = """#!/bin/sh
key=io.kubernetes.cri.container-type
previous=
kill=
for word in "$@"; do
  [ "$word" = kill ] && kill=yes
  [ "$previous" = --bundle ] && sed -i "s/\\"$key\\":\\"container\\"/\\"$key\\":\\"sandbox\\"/" "$word/config.json"
  previous=$word
done
[ "$kill" ] || exec {program} {flags} "$@"
said=$({program} {flags} "$@" 2>&1) && exit 0
case $said in *"is not running"*) exit 0 ;; esac
echo "$said" >&2
exit 128
"""


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
            # Its own state, too: by default it would be in /run/containerd of this machine, and stay there.
            f'        Root = "{node.run}/oci"',
        ]
    return "\n".join(lines) + "\n"


def prepare(node: NodeLayout) -> list[str]:
    """Write the configuration; returns the command that starts the node's containerd."""
    for directory in (node.lib / "containerd", node.run, node.cni_conf, node.cluster.lib / "registries"):
        directory.mkdir(parents=True, exist_ok=True)
    config = node.lib / "containerd.toml"
    config.write_text(configuration(node, restrict_oom=restrict_oom_score(), runtimes=_installed(node)))
    return [
        shutil.which("containerd") or "/usr/bin/containerd",
        "--config",
        str(config),
        "--log-level",
        "warn",
    ]


def _installed(node: NodeLayout) -> dict[str, str]:
    """What is to be run for each handler whose program is on this machine."""
    found = {}
    for handler, (program, *flags) in RUNTIMES.items():
        path = shutil.which(program)
        if path is None:
            continue
        if handler == "runsc" and not _own_network_works():
            flags.append("--network=host")  # the pod's own namespace, with the kernel's stack instead of gVisor's
        if flags:
            wrapper = node.lib / f"runtime-{handler}"
            wrapper.write_text(_WRAPPER.format(program=path, flags=" ".join(flags)))
            wrapper.chmod(0o755)
            path = str(wrapper)
        found[handler] = path
    return found


def _own_network_works() -> bool:
    """Whether gVisor's network stack can be used here.

    Releases up to 2023 take a namespace for the host's when it has this file, which every one has since Linux 6.9.
    """
    try:
        run(["unshare", "--net", "test", "!", "-e", "/proc/sys/net/core/rmem_default"])
    except CommandError:
        return False
    return True


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
