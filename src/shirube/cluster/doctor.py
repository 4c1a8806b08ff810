"""`shirube doctor`: what of this machine would hinder a cluster, before or while it runs.

A table of checks. Each looks at one thing, changes nothing that stays, and returns findings: the cause, its effect on a
cluster and the remedy, in words. `up` runs the quick ones first and says what they found; the others take a second (a
trial of nftables in a namespace of its own, the disk's latency, a question to the resolvers).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dnslib import DNSRecord

from shirube.cluster import cgroups, control, doctor_network, namespaces, preflight
from shirube.cluster.finding import Finding
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec
from shirube.foundation import meminfo
from shirube.foundation.clock import SYSTEM
from shirube.network.dns.forward import system_resolvers

_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
_LEAST_MEMORY_BYTES = 512 * 2**20
_SLOW_FSYNC, _VERY_SLOW_FSYNC = 0.01, 0.1  # seconds
_FSYNCS = 15
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_LIMITS = {
    "fs/inotify/max_user_instances": (512, "containers and their tools fail with “too many open files”"),
    "fs/inotify/max_user_watches": (65536, "programs that watch files fail with “no space left on device”"),
    "fs/file-max": (100_000, "processes all over the machine cannot open files"),
    "kernel/pid_max": (32768, "pods cannot start processes"),
    "user/max_net_namespaces": (256, "pods cannot be given a network"),
    "user/max_mnt_namespaces": (512, "containers cannot be started"),
}


def examine(cluster: ClusterLayout, spec: ClusterSpec, *, quick: bool = False) -> list[Finding]:
    """Every finding, in the order of the table."""
    found = []
    for check, is_quick in CHECKS:
        if is_quick or not quick:
            found += check(cluster, spec)
    return found


def _start(cluster: ClusterLayout, spec: ClusterSpec) -> list[Finding]:
    if _runs(cluster):
        return []
    said = [problem.removeprefix("cannot start a cluster: ") for problem in preflight.findings(cluster, spec)]
    return [
        Finding("error", cause, "no cluster can be started", remedy or "see above")
        for cause, _, remedy in (text.partition("; ") for text in said)
    ]


def _controllers(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    if cgroups.is_v2():
        available = set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    else:
        available = {name for path in cgroups.hierarchies() for name in path.name.split(",")}
    if not cgroups.hierarchies() or not (lacking := [c for c in _CONTROLLERS if c not in available]):
        return []
    return [
        Finding(
            "error" if {"cpu", "memory"} & set(lacking) else "warning",
            f"the cgroup controllers {', '.join(lacking)} are not available under /sys/fs/cgroup",
            "limits and requests of pods are not enforced, and the node agent reports no usage",
            "enable them on the kernel's command line (cgroup_enable=memory, …) or in the container that runs this",
        )
    ]


def _sysctls(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    found = []
    for key, (least, effect) in _LIMITS.items():
        try:
            value = int(Path("/proc/sys", key).read_text())
        except (OSError, ValueError):
            continue  # not limited by this kernel
        if value < least:
            name = key.replace("/", ".")
            remedy = f"`sysctl -w {name}={least}`, and a line in /etc/sysctl.d/ to keep it"
            found.append(Finding("warning", f"{name} is {value}; {least} or more is wanted", effect, remedy))
    return found


def _open_files(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in (resource.RLIM_INFINITY,) or hard >= 4096:
        return []
    return [
        Finding(
            "warning",
            f"a process may open {hard} files at most (ulimit -Hn)",
            "the API server refuses connections and containers cannot be started when there are many",
            "raise it in /etc/security/limits.conf or LimitNOFILE= of the unit that starts this",
        )
    ]


def _memory(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    available = meminfo.read().get("MemAvailable", _LEAST_MEMORY_BYTES)
    if available >= _LEAST_MEMORY_BYTES:
        return []
    return [
        Finding(
            "warning",
            f"{available // 2**20} MiB of memory are available; {_LEAST_MEMORY_BYTES // 2**20} MiB or more are wanted",
            "the kernel may kill the cluster's processes, and pods are evicted",
            "stop other programs or give the machine more memory",
        )
    ]


def _filesystem(cluster: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    kind = _filesystem_of(cluster.lib)
    if kind not in ("overlay", "nfs", "nfs4", "9p", "fuse", "vfat"):
        return []
    return [
        Finding(
            "error",
            f"{cluster.lib} is on a file system of type {kind}",
            "images cannot be unpacked there (overlayfs cannot be stacked on it), so no container starts",
            "set SHIRUBE_HOME to a directory on ext4, xfs or btrfs, or mount a volume there",
        )
    ]


def _filesystem_of(path: Path) -> str:
    """The type of the file system that `path` is, or will be, on."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def _way_out(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    found = []
    if shutil.which("pasta") is None:
        found.append(
            Finding(
                "warning",
                "pasta is not installed",
                "pods reach nothing outside the cluster, and names outside do not resolve",
                "`apt-get install passt`, or `shirube up --install`",
            )
        )
    if not system_resolvers():
        found.append(
            Finding(
                "warning",
                "/etc/resolv.conf names no resolver but ones on loopback addresses",
                "pods resolve the cluster's names only: a loopback address means themselves",
                "name a resolver of your network in /etc/resolv.conf",
            )
        )
    return found


def _left_over(cluster: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    if _runs(cluster):
        return []
    left = namespaces.left_over(cluster)
    processes = cgroups.processes(cluster.cgroup) if cgroups.hierarchies() else set()
    if not left and not processes:
        return []
    return [
        Finding(
            "warning",
            f"{len(left)} namespaces and mounts and {len(processes)} processes of cluster {cluster.name} are left from "
            "a crash",
            "containers of it may still run, and hold ports and memory",
            f"`shirube up --name {cluster.name}` carries on from there, `shirube down --name {cluster.name}` cleans up",
        )
    ]


def _clock(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    newest = Path(__file__).stat().st_mtime
    if SYSTEM.now() < newest - 86400:
        return [
            Finding(
                "error",
                "the clock is behind: these files are from the future",
                "certificates are not valid yet, so no component talks to another",
                "set the clock (`chronyd -q`, `date -s …`)",
            )
        ]
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(512))  # modes = 0: only asks
    if state != _TIME_ERROR:
        return []
    return [
        Finding(
            "warning",
            "the clock is not synchronised (adjtimex says so)",
            "harmless on one machine; certificates, leases and events disagree when the clock jumps",
            "run chrony or systemd-timesyncd",
        )
    ]


def _disk(cluster: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    there = cluster.lib
    while not there.exists():
        there = there.parent
    try:
        seconds = fsync_seconds(there)
    except OSError as error:
        return [
            Finding(
                "error",
                f"{there} cannot be written: {error.strerror}",
                "nothing can be stored",
                "free space, or mount it writable",
            )
        ]
    if seconds < _SLOW_FSYNC:
        return []
    return [
        Finding(
            "error" if seconds > _VERY_SLOW_FSYNC else "warning",
            f"the disk under {there} takes {seconds * 1000:.0f} ms to store a write for good",
            "every write to the API waits for that; leases expire and components lose their lead when it is much",
            "use a faster disk (SHIRUBE_HOME=…), or find out who else keeps it busy",
        )
    ]


def fsync_seconds(directory: Path) -> float:
    """The median time of a 4 KiB write and its fsync."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(_FSYNCS):
            started = time.monotonic()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.monotonic() - started)
    return statistics.median(times)


def _resolvers(_c: ClusterLayout, _s: ClusterSpec) -> list[Finding]:
    resolvers = system_resolvers()
    if not resolvers or any(_resolver_answers(address) for address in resolvers):
        return []
    return [
        Finding(
            "warning",
            f"no resolver of /etc/resolv.conf answers ({', '.join(resolvers)})",
            "pods resolve the cluster's names only, slowly where they ask for others first",
            "mend the network or name other resolvers; a firewall may drop UDP port 53",
        )
    ]


def _resolver_answers(address: str, seconds: float = 1.0) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client, contextlib.suppress(OSError):
        client.settimeout(seconds)
        client.connect((address, 53))
        client.send(DNSRecord.question("kubernetes.io").pack())
        return bool(client.recv(512))
    return False


def _runs(cluster: ClusterLayout) -> bool:
    try:
        control.ask(cluster.control_socket, "status")
    except (control.NotRunning, OSError):
        return False
    return True


# (check, whether `up` runs it too)
CHECKS: tuple[tuple[Callable[[ClusterLayout, ClusterSpec], list[Finding]], bool], ...] = (
    (_start, False),  # `up` has it as its preflight, which also refuses
    (_controllers, True),
    (_sysctls, True),
    (_open_files, True),
    (_memory, True),
    (_filesystem, True),
    (_way_out, True),
    (_left_over, False),  # `up` carries on from there
    (_clock, False),
    (doctor_network.firewall, False),
    (doctor_network.kernel, False),
    (_disk, False),
    (_resolvers, False),
)


def lines(found: list[Finding]) -> list[str]:
    """The findings as text."""
    out = []
    for finding in found:
        out.append(f"{'✗' if finding.severity == 'error' else '!'} {finding.cause}")
        out.append(f"    effect: {finding.effect}")
        out.append(f"    remedy: {finding.remedy}")
    return out
