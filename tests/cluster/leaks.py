"""What a node has on its hands, read from the kernel and the disk, against what the API says it should have.

`differences` is empty when every pod of the node has one sandbox and exactly the containers of its status, and when
there is no process, mount, network namespace, interface, address, cgroup or directory of any other pod.
"""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from shirube.cluster.layout import NodeLayout

_UID = re.compile(r"pod([0-9a-f]{8}-[0-9a-f-]{27})$")


def differences(node: NodeLayout, pods: list[dict[str, Any]]) -> list[str]:
    """`pods`: all that the API has on this node, each Running, none with hostNetwork. One line a difference."""
    uids = {pod["metadata"]["uid"] for pod in pods}
    shims = _shims(node)
    sandboxes = set(shims)
    wanted = Counter(
        status["containerID"].removeprefix("containerd://")
        for pod in pods
        for status in pod["status"].get("containerStatuses", ())
        if "running" in status["state"]
    )
    mounts = _mounts(node)
    # A folder of containerd's own may stay until its next start when a shim is killed; a mount may not.
    rooted = _matched(mounts, r"v2\.task/k8s\.io/([0-9a-f]{64})/rootfs$")
    found = [
        _compare("containers, with those of the pods' status", rooted - sandboxes, set(wanted)),
        _compare("sandboxes with a root file system", rooted & sandboxes, sandboxes),
        *_runtime(node, uids, sandboxes),
        _compare("shared memory mounted", _matched(mounts, r"/sandboxes/([0-9a-f]{64})/shm$"), sandboxes),
        _compare("pods with volumes mounted", _matched(mounts, r"/kubelet/pods/([^/]+)/") - uids, set()),
        _compare("pods with a directory", _names(node.lib / "kubelet/pods"), uids),
        _compare("pods with logs", {name.rpartition("_")[2] for name in _names(node.lib / "kubelet/logs")}, uids),
        _compare("addresses given out", _addresses(node), {pod["status"].get("podIP", "none") for pod in pods}),
        *_cgroups(node, uids),
    ]
    numbers = {
        "sandboxes, of pods": (len(sandboxes), len(pods)),
        "network namespaces, of sandboxes": (len(_matched(mounts, r"/run/netns/(cni-[-0-9a-f]+)$")), len(sandboxes)),
        "network namespaces' files, of sandboxes": (len(_namespace_files(node)), len(sandboxes)),
        "interfaces, of sandboxes": (_interfaces(node), len(sandboxes)),
    }
    found += [f"{what}: {have} of {want}" for what, (have, want) in numbers.items() if have != want]
    return [line for line in found if line]


def _compare(what: str, have: set[str], want: set[str]) -> str:
    parts = [f"{title} {sorted(ids)}" for title, ids in (("too many", have - want), ("lacking", want - have)) if ids]
    return f"{what}: {'; '.join(parts)}" if parts else ""


def shim_pids(node: NodeLayout) -> list[int]:
    return sorted(_shims(node).values())


def _shims(node: NodeLayout) -> dict[str, int]:
    """Sandbox ID to the process that holds it."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended meanwhile
        if words[0].endswith("containerd-shim-runc-v2") and any(str(node.run) + "/" in word for word in words):
            found[words[words.index("-id") + 1]] = int(path.parent.name)
    return found


def _runtime(node: NodeLayout, uids: set[str], sandboxes: set[str]) -> list[str]:
    """Of a living pod the runtime may remember sandboxes that ended, and of each container one that ended."""
    lister = [sys.executable, str(Path(__file__).with_name("runtime_list.py")), str(node.containerd_socket)]
    listed = subprocess.run(lister, capture_output=True, text=True, check=False, timeout=30)
    if listed.returncode != 0:
        return [f"the runtime does not answer: {listed.stderr[-200:]}"]
    known = json.loads(listed.stdout)
    uid_of = {one["id"]: one["uid"] for one in known["sandboxes"]}
    ended = Counter((uid_of.get(one["sandbox"], "?"), one["name"]) for one in known["containers"] if not one["running"])
    too_many = {f"{name} of {uid}: {count}" for (uid, name), count in ended.items() if count > 1}
    folders = _names(node.lib / "containerd/io.containerd.grpc.v1.cri/sandboxes")
    return [
        _compare(
            "sandboxes that the runtime calls ready", {s["id"] for s in known["sandboxes"] if s["ready"]}, sandboxes
        ),
        _compare("pods that the runtime has sandboxes of", set(uid_of.values()), uids),
        _compare("sandboxes with a directory", folders, set(uid_of)),
        _compare("ended containers kept", too_many, set()),
    ]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _mounts(node: NodeLayout) -> list[str]:
    """Mount points of the node's mount namespace."""
    command = ["nsenter", f"--mount={node.mount_namespace}", "cat", "/proc/self/mountinfo"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[4] for line in lines]


def _matched(lines: list[str], pattern: str) -> set[str]:
    return {match[1] for line in lines if (match := re.search(pattern, line))}


def _namespace_files(node: NodeLayout) -> list[str]:
    command = ["nsenter", f"--mount={node.mount_namespace}", "ls", "/run/netns"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listed if name.startswith("cni-")]


def _interfaces(node: NodeLayout) -> int:
    command = ["ip", "-netns", node.netns, "-o", "link", "show", "type", "veth"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return sum(line.split()[1].startswith("veth") for line in lines)


def _addresses(node: NodeLayout) -> set[str]:
    found = set()
    for path in (node.lib / "cni/ipam").glob("*/*"):
        try:
            found.add(str(ipaddress.ip_address(path.name)))
        except ValueError:
            continue  # the lock and the last address
    return found


def _cgroups(node: NodeLayout, uids: set[str]) -> list[str]:
    found = []
    for hierarchy in sorted(Path("/sys/fs/cgroup").iterdir()):
        root = hierarchy / node.cgroup.lstrip("/") / "kubepods"
        if not root.is_dir():
            continue
        there = {match[1] for path in root.rglob("pod*") if (match := _UID.search(path.name))}
        found.append(_compare(f"pods with a cgroup in {hierarchy.name}", there - uids, set()))
    return found
