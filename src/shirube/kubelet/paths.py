"""Where the agent keeps things on the node's disk: one directory a pod, one for its logs.

ROOT/pods/UID/etc-hosts
ROOT/pods/UID/containers/NAME/…                  termination messages
ROOT/pods/UID/volumes/PLUGIN/NAME/               what containers mount
ROOT/pods/UID/volume-subpaths/…
ROOT/logs/NAMESPACE_NAME_UID/CONTAINER/N.log     CRI logs, N is the restart count
ROOT/seccomp/                                    Localhost profiles
"""

from __future__ import annotations

from pathlib import Path

from shirube.kubelet import pod as pods


class Paths:
    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.pods = self.root / "pods"
        self.logs = self.root / "logs"
        self.seccomp = self.root / "seccomp"

    def pod(self, pod_uid: str) -> Path:
        return self.pods / pod_uid

    def hosts_file(self, pod_uid: str) -> Path:
        return self.pod(pod_uid) / "etc-hosts"

    def container(self, pod_uid: str, name: str) -> Path:
        return self.pod(pod_uid) / "containers" / name

    def volume(self, pod_uid: str, plugin: str, name: str) -> Path:
        return self.pod(pod_uid) / "volumes" / plugin.replace("/", "~") / name

    def pod_logs(self, pod: pods.Pod) -> Path:
        return self.logs_of(pods.namespace(pod), pods.name(pod), pods.uid(pod))

    def logs_by_pod(self) -> dict[str, Path]:
        """The directories of logs that are there, by the UID of their pod."""
        there = self.logs.iterdir() if self.logs.is_dir() else ()
        return {path.name.rpartition("_")[2]: path for path in there if path.name.count("_") == 2}

    def logs_of(self, namespace: str, name: str, pod_uid: str) -> Path:
        return self.logs / f"{namespace}_{name}_{pod_uid}"
