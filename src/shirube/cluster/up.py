"""`shirube up`: from nothing, or from a stopped or broken cluster, to a running one. Idempotent.

Nothing is changed before the preflight has passed. Two at once: the second waits for the first, and says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from shirube.cluster import (
    addons,
    cgroups,
    components,
    containerd,
    control,
    doctor,
    etcd,
    identities,
    images,
    layout,
    namespaces,
    packages,
    preflight,
)
from shirube.cluster.api import Api, ApiUnavailable
from shirube.cluster.layout import ClusterLayout, NodeLayout
from shirube.cluster.progress import Progress
from shirube.cluster.spec import ClusterSpec
from shirube.foundation.clock import parse_rfc3339

_READY_SECONDS = 60.0
_FLAGS = {"api_port": "port"}  # of a spec's fields that are named otherwise


class UpError(Exception):
    """The cluster could not be started; the message says why and what to do next."""


@contextlib.contextmanager
def locked(cluster: ClusterLayout, progress: Progress) -> Iterator[None]:
    """One `up`, `down` or node change of a cluster at a time."""
    cluster.lock.parent.mkdir(parents=True, exist_ok=True)
    with cluster.lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"  … waiting: another shirube command is working on cluster {cluster.name}")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def up(cluster: ClusterLayout, wanted: ClusterSpec, progress: Progress, *, install: bool = False) -> None:
    """Start the cluster, or mend it, and wait until its nodes are Ready."""
    if os.geteuid() != 0:
        raise UpError(preflight.findings(cluster, wanted)[0])
    programs = packages.REQUIRED | packages.OPTIONAL | ({"etcd": etcd.PACKAGE} if wanted.datastore == "etcd" else {})
    if install and (lacking := packages.missing(programs)):
        with progress.step(f"installing {' '.join(lacking)}"):
            packages.install(lacking)
    with locked(cluster, progress):
        spec = _settled(cluster, wanted)
        if is_running(cluster):
            progress.say(f"  ✓ cluster {cluster.name} is running")
        else:
            _start(cluster, spec, progress)
        started = _supervisor_started(cluster)
        api = Api(cluster.admin_kubeconfig)
        _wait_for_api(cluster, spec, api, progress)
        _wait_for_nodes(cluster, spec, api, progress, started)


def is_running(cluster: ClusterLayout) -> bool:
    try:
        control.ask(cluster.control_socket, "status")
    except control.NotRunning:
        return False
    return True


def _settled(cluster: ClusterLayout, wanted: ClusterSpec) -> ClusterSpec:
    """The spec to run: what the cluster was made with wins while it runs; `up` after `down` may change it."""
    existing = ClusterSpec.load(cluster.spec)
    if existing is None or existing == wanted:
        return wanted
    if existing.datastore != wanted.datastore:
        raise UpError(
            f"cannot change the store of cluster {cluster.name} from {existing.datastore or 'sqlite'} to "
            f"{wanted.datastore or 'sqlite'}: its objects would stay behind; `shirube backup FILE`, `shirube down` and "
            "`shirube restore FILE --datastore …` take them along, `shirube down --purge` forgets them"
        )
    if existing.ip_family != wanted.ip_family:
        raise UpError(
            f"cannot change the IP family of cluster {cluster.name} from {existing.ip_family} to {wanted.ip_family}: "
            "its nodes, pods and Services have their addresses; choose another --name, or "
            f"`shirube down --name {cluster.name} --purge` first"
        )
    if is_running(cluster):
        nodes = "; `shirube node add` and `node rm` change nodes while it runs"
        raise UpError(
            f"cannot change {_difference(existing, wanted)} of cluster {cluster.name} while it runs: "
            f"`shirube down --name {cluster.name}` first{nodes if existing.nodes != wanted.nodes else ''}"
        )
    return wanted


def _difference(existing: ClusterSpec, wanted: ClusterSpec) -> str:
    """What is asked for otherwise, as the flags that say it."""
    before, after = asdict(existing), asdict(wanted)
    before["nodes"], after["nodes"] = len(existing.indexes()), len(wanted.indexes())
    return ", ".join(
        f"--{_FLAGS.get(name, name.replace('_', '-'))} from {before[name] or 'none'} to {value or 'none'}"
        for name, value in after.items()
        if value != before[name] and name not in ("removed", "stopped")
    )


def _start(cluster: ClusterLayout, spec: ClusterSpec, progress: Progress) -> None:
    nodes = [cluster.node(i) for i in spec.running()]
    if problems := preflight.findings(cluster, spec):
        raise UpError("\n".join(problems))
    for line in doctor.lines(doctor.examine(cluster, spec, quick=True)):
        progress.say(f"  {line}")
    for directory in components.required_directories(cluster, nodes):
        directory.mkdir(parents=True, exist_ok=True)
    # Others may pass through (a container's user reads mounted volumes below), not look around.
    os.chmod(cluster.lib, 0o711)  # noqa: S103
    spec.save(cluster.spec)
    with progress.step("certificates"):
        identities.ensure(cluster, spec, nodes)
    with progress.step("namespaces"):
        namespaces.create_control_plane(cluster, spec.families)
        cgroups.create(f"{cluster.cgroup}/control-plane")
        for node in nodes:
            create_node(node, spec)
    with progress.step("processes"):
        _start_supervisor(cluster)
    if nodes:
        with progress.step("images"):
            ensure_pause_image(cluster)
            for node in nodes:
                import_images(node)


def create_node(node: NodeLayout, spec: ClusterSpec) -> None:
    """The node's namespaces and cgroups."""
    namespaces.create_node(node, spec.families)
    cgroups.create(f"{node.cgroup}/system")
    cgroups.create(f"{node.cgroup}/kubepods")


def _start_supervisor(cluster: ClusterLayout) -> None:
    log = cluster.logs / "supervisor.log"
    with log.open("ab") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", "shirube.cluster.supervise", cluster.name],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + 20
    while not is_running(cluster):
        if started.poll() is not None:
            raise UpError(f"cannot start cluster {cluster.name}: its supervisor ended; see {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise UpError(f"cannot start cluster {cluster.name}: its supervisor does not answer; see {log}")
        time.sleep(0.02)


def ensure_pause_image(cluster: ClusterLayout) -> None:
    """The sandbox image among the cluster's image archives."""
    save_image(cluster, images.pause_image(layout.PAUSE_IMAGE))


def save_image(cluster: ClusterLayout, source: images.ImageSource) -> Path:
    """Build an image into the cluster's archives, where nodes find it when they start."""
    folder = cluster.lib / "images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (source.name.replace("/", "_").replace(":", "_") + ".tar")
    data = images.build(source)
    if not path.exists() or path.read_bytes() != data:
        temporary = path.with_suffix(".new")
        temporary.write_bytes(data)
        os.replace(temporary, path)
    return path


def import_images(node: NodeLayout) -> None:
    """Load every archive of the cluster that the node has not got yet."""
    _wait_for_socket(node.containerd_socket)
    seen = node.lib / "images-loaded"
    seen.mkdir(exist_ok=True)
    for archive in sorted((node.cluster.lib / "images").glob("*.tar")):
        stat = archive.stat()
        mark = seen / f"{archive.stem}.{stat.st_size}.{stat.st_mtime_ns}"
        if not mark.exists():
            containerd.import_image(node, archive)
            for old in seen.glob(f"{archive.stem}.*"):
                old.unlink()
            mark.touch()


def _wait_for_socket(path: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UpError(
                        f"cannot reach the container runtime at {path}: {error.strerror}; see its log"
                    ) from error
        time.sleep(0.02)


def _wait_for_api(cluster: ClusterLayout, spec: ClusterSpec, api: Api, progress: Progress) -> None:
    with progress.step("API server"):
        deadline = time.monotonic() + _READY_SECONDS
        while not api.ready():
            if time.monotonic() > deadline:
                log = cluster.logs / "apiserver.log"
                raise UpError(
                    f"cannot use cluster {cluster.name}: its API server is not ready; see {log}:\n{tail(log)}"
                )
            time.sleep(0.03)
        addons.apply(api, identities.pki(cluster, spec).ca.cert.read_bytes(), spec.families)


def _supervisor_started(cluster: ClusterLayout) -> float:
    """When the cluster was started, seconds since 1970: what a node said before that is from another life."""
    return cluster.control_socket.stat().st_mtime


def _wait_for_nodes(cluster: ClusterLayout, spec: ClusterSpec, api: Api, progress: Progress, started: float) -> None:
    for index in spec.running():
        wait_for_node(cluster.node(index), api, progress, started)
    for index in spec.stopped:
        name = cluster.node(index).name
        progress.say(f"  - node {name} is stopped; `shirube node start {name}` starts it")


def wait_for_node(node: NodeLayout, api: Api, progress: Progress, started: float) -> None:
    """Until the node is Ready, said by an agent that was started after `started` (seconds since 1970)."""
    with progress.step(f"node {node.name}"):
        deadline = time.monotonic() + _READY_SECONDS
        while (problem := _node_problem(api, node.name, started)) is not None:
            if time.monotonic() > deadline:
                log = node.cluster.logs / f"kubelet@{node.name}.log"
                raise UpError(f"cannot use node {node.name}: {problem}; see {log}")
            time.sleep(0.05)


def _node_problem(api: Api, name: str, started: float) -> str | None:
    try:
        found = api.get(f"/api/v1/nodes/{name}")
    except ApiUnavailable as error:
        return str(error)
    if found is None:
        return "it has not registered"
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            if parse_rfc3339(condition["lastHeartbeatTime"]) < int(started):
                return "its agent has not reported since the cluster was started"
            return None if condition["status"] == "True" else condition.get("message", "it is not ready")
    return "it has not reported its condition"


def tail(path: Path, lines: int = 10) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log yet)"
