"""`shirube down`: stop a cluster and leave nothing but its data. With `purge`, not even that."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from shirube.cluster import cgroups, control, namespaces
from shirube.cluster.layout import ClusterLayout, NodeLayout
from shirube.cluster.progress import Progress
from shirube.cluster.up import locked

_STOP_SECONDS = 60.0
_CONTAINER_GRACE_SECONDS = 2.0


def down(cluster: ClusterLayout, progress: Progress, *, purge: bool = False) -> None:
    """Stop every process, remove namespaces, mounts and cgroups; works after a crash as well."""
    with locked(cluster, progress):
        nodes = known_nodes(cluster)
        if not (cluster.lib.exists() or cluster.run.exists() or nodes):
            progress.say(f"  there is no cluster {cluster.name} here")
        with progress.step("stopping processes"):
            _stop_supervisor(cluster)
        with progress.step("stopping containers"):
            cgroups.end_processes(cluster.cgroup, _CONTAINER_GRACE_SECONDS)
        with progress.step("removing namespaces, mounts and cgroups"):
            namespaces.remove(cluster, nodes)
            cgroups.remove(cluster.cgroup)
            shutil.rmtree(cluster.run, ignore_errors=False) if cluster.run.exists() else None
        if purge:
            with progress.step(f"forgetting the data in {cluster.lib}"):
                if cluster.lib.exists():
                    shutil.rmtree(cluster.lib)
                _rmdir_if_empty(cluster.lib.parent)
        cluster.lock.unlink(missing_ok=True)
    _rmdir_if_empty(cluster.run.parent)


def known_nodes(cluster: ClusterLayout) -> list[NodeLayout]:
    """The nodes that have data or namespaces here, whatever the spec says."""
    found = set()
    for directory in (cluster.lib, cluster.run, Path("/run/netns")):
        if directory.is_dir():
            for entry in directory.iterdir():
                number = entry.name.removeprefix(cluster.name + "-")
                if number != entry.name and number.isdigit():
                    found.add(int(number))
    return [cluster.node(i) for i in sorted(found)]


def _stop_supervisor(cluster: ClusterLayout) -> None:
    try:
        pid = control.ask(cluster.control_socket, "stop")["pid"]
    except control.NotRunning:
        return
    deadline = time.monotonic() + _STOP_SECONDS
    while _alive(pid):
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"cannot stop the supervisor (pid {pid}): it does not end; see {cluster.logs}/supervisor.log"
            )
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody reaps (a container without an init as pid 1) has ended too.
    with contextlib.suppress(FileNotFoundError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def _rmdir_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
