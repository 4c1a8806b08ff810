"""The control-group tree of a node's pods: ROOT/[burstable|besteffort]/podUID, on cgroup v1 and v2.

The runtime makes the groups of containers below the pod's; the agent makes the pod's with its limits, keeps
the burstable class's CPU weight in step with what its pods ask for, and removes a pod's group with whatever
is still in it. File writes below a millisecond, done in line.
Follows https://kubernetes.io/docs/concepts/architecture/cgroups/ (driver `cgroupfs`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from shirube.foundation import log
from shirube.kubelet import pod as pods
from shirube.kubelet import qos

_logger = log.get("kubelet.cgroups")
_CLASS_DIRS = {qos.GUARANTEED: "", qos.BURSTABLE: "burstable", qos.BEST_EFFORT: "besteffort"}
_V2_CONTROLLERS = "+cpuset +cpu +memory +pids +io +hugetlb"


class Cgroups:
    def __init__(self, root: str, mount: Path = Path("/sys/fs/cgroup"), pod_pids: int = 0) -> None:
        """`pod_pids`: processes and threads that one pod may have; 0 for no limit."""
        self.root = "/" + root.strip("/")
        self.pod_pids = pod_pids
        self.mount = mount
        self.unified = (mount / "cgroup.controllers").exists()

    # -- paths

    def pod_path(self, pod: pods.Pod) -> str:
        """The pod's group, below the mount: what CRI calls `cgroup_parent`."""
        below = _CLASS_DIRS[qos.qos_class(pod)]
        return "/".join(part for part in (self.root, below, f"pod{pods.uid(pod)}") if part)

    def _hierarchies(self) -> list[Path]:
        if self.unified:
            return [self.mount]
        return [p for p in self.mount.iterdir() if p.is_dir() and not p.is_symlink()]

    def _directory(self, controller: str, group: str) -> Path:
        if self.unified:
            return self.mount / group.strip("/")
        return self.mount / controller / group.strip("/")

    # -- making

    def create_root(self) -> None:
        """The root and the two classes. Raises OSError when the kernel lets no groups be made."""
        self._create(self.root)
        self._forbid_swap()
        for below in ("burstable", "besteffort"):
            self._create(f"{self.root}/{below}")
        self._set_cpu(f"{self.root}/besteffort", qos.MIN_SHARES, 0)

    def _forbid_swap(self) -> None:
        # Pods keep to memory, upstream's default (NoSwap). What is forbidden here holds for all below (v2), or is taken
        # over by groups that are made below later (v1). Without swap in the kernel there is no file.
        file = "memory.swap.max" if self.unified else "memory.swappiness"
        if (self._directory("memory", self.root) / file).exists():
            self._write("memory", self.root, file, "0")

    def limit_root(self, milli_cpu: int, memory: int) -> None:
        """What all pods together may have, where some of the machine is reserved."""
        self._set_cpu(self.root, qos.shares(milli_cpu), 0)
        self._set_memory(self.root, memory)

    def create_pod(self, pod: pods.Pod) -> str:
        """The pod's group with its limits; safe to repeat. Returns its path."""
        path = self.pod_path(pod)
        self._create(path)
        limit = qos.pod_total(pod, "limits", "cpu")
        self._set_cpu(path, qos.shares(qos.pod_total(pod, "requests", "cpu") or 0), qos.quota(limit or 0))
        self._set_memory(path, qos.pod_total(pod, "limits", "memory") or 0)
        if self.pod_pids:
            self._write("pids", path, "pids.max", str(self.pod_pids))
        return path

    def widen_pod(self, pod: pods.Pod, other: pods.Pod) -> None:
        """Let the pod's group hold the larger of what it has and what it will have."""
        path = self.pod_path(pod)
        both = (pod, other)
        shares = max(qos.shares(qos.pod_total(each, "requests", "cpu") or 0) for each in both)
        cpu = [qos.pod_total(each, "limits", "cpu") or 0 for each in both]
        memory = [qos.pod_total(each, "limits", "memory") or 0 for each in both]
        self._set_cpu(path, shares, qos.quota(max(cpu)) if all(cpu) else 0)
        self._set_memory(path, max(memory) if all(memory) else 0)

    def set_burstable_share(self, milli_cpu: int) -> None:
        self._set_cpu(f"{self.root}/burstable", qos.shares(milli_cpu), 0)

    def _create(self, group: str) -> None:
        if not self.unified:
            for controller in ("cpu", "memory", "pids"):
                self._directory(controller, group).mkdir(parents=True, exist_ok=True)
            return
        directory = self.mount
        for part in group.strip("/").split("/"):
            # Controllers are handed down level by level; a level with processes of its own refuses.
            for controller in _V2_CONTROLLERS.split():
                with contextlib.suppress(OSError):
                    (directory / "cgroup.subtree_control").write_text(controller)
            directory = directory / part
            directory.mkdir(exist_ok=True)
        for controller in _V2_CONTROLLERS.split():
            with contextlib.suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(controller)

    def _set_cpu(self, group: str, shares: int, quota: int) -> None:
        if self.unified:
            self._write("cpu", group, "cpu.weight", str(1 + (shares - 2) * 9999 // 262142))
            self._write("cpu", group, "cpu.max", f"{quota or 'max'} {qos.PERIOD}")
        else:
            self._write("cpu", group, "cpu.shares", str(shares))
            self._write("cpu", group, "cpu.cfs_period_us", str(qos.PERIOD))
            self._write("cpu", group, "cpu.cfs_quota_us", str(quota or -1))

    def _set_memory(self, group: str, limit: int) -> None:
        if self.unified:
            self._write("memory", group, "memory.max", str(limit or "max"))
        else:
            self._write("memory", group, "memory.limit_in_bytes", str(limit or -1))

    def _write(self, controller: str, group: str, file: str, text: str) -> None:
        path = self._directory(controller, group) / file
        try:
            path.write_text(text)
        except OSError as error:
            # A kernel without the controller still runs pods, only without the limit.
            _logger.warning("cannot set a cgroup limit", file=str(path), value=text, error=str(error))

    # -- removing

    async def remove_pod(self, pod_uid: str) -> None:
        """Remove the pod's groups, whatever class they are in, and kill what is left in them."""
        for _ in range(200):
            left = [path for path in self._pod_directories(pod_uid) if not _remove_tree(path)]
            if not left:
                return
            for path in left:
                _kill_all(path)
            await asyncio.sleep(0.01)
        _logger.warning("cannot remove a pod's cgroups: processes in them do not end", pod=pod_uid)

    def _pod_directories(self, pod_uid: str) -> list[Path]:
        below = [f"{self.root}/{part}".rstrip("/").strip("/") for part in _CLASS_DIRS.values()]
        paths = [top / group / f"pod{pod_uid}" for top in self._hierarchies() for group in below]
        return [path for path in paths if path.exists()]

    def container_processes(self, pod: pods.Pod, container_id: str) -> list[int]:
        """The processes of a container, as this process numbers them."""
        top = self._directory("pids", f"{self.pod_path(pod)}/{container_id}")
        found: list[int] = []
        for directory, _, _ in os.walk(top):
            with contextlib.suppress(OSError, ValueError):
                found += [int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split()]
        return found

    def pod_uids(self) -> set[str]:
        """UIDs of the pods that have a group."""
        found: set[str] = set()
        for top in self._hierarchies():
            for part in _CLASS_DIRS.values():
                directory = top / f"{self.root}/{part}".strip("/")
                if directory.exists():
                    found.update(p.name[3:] for p in directory.iterdir() if p.name.startswith("pod"))
        return found

    def remove_root(self) -> None:
        """Remove the whole tree if nothing runs in it."""
        for top in self._hierarchies():
            _remove_tree(top / self.root.strip("/"))


def _remove_tree(top: Path) -> bool:
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not top.exists()


def _kill_all(top: Path) -> None:
    with contextlib.suppress(OSError):
        (top / "cgroup.kill").write_text("1")
        return
    for directory, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            for pid in (Path(directory) / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
