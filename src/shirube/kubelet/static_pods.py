"""Static pods: manifests in a directory of the node, run whether or not there is an API server.

Each is shown in the API by a *mirror pod*, which carries its status and can be read but not changed: one that
is deleted there is made again. A manifest that changes is another pod (its UID is a hash of its content).
The directory is looked at every second; a file that cannot be used is logged once and left.
Follows https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.client.informer import Store
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.clock import Clock, rfc3339
from shirube.kubelet import pod as pods

_logger = log.get("kubelet.static")
_POLL_SECONDS = 1.0
_LARGEST = 1024 * 1024
_SOURCE, _SEEN = "kubernetes.io/config.source", "kubernetes.io/config.seen"


class ManifestError(Exception):
    """A manifest that is no pod that can run here."""


class Registry(Protocol):
    """`pod_registry.PodRegistry`."""

    def added(self, pod: Any) -> None: ...
    def deleted(self, pod: Any) -> None: ...
    def has(self, pod_uid: str) -> bool: ...


def static_pod(data: bytes, node_name: str, now: float) -> dict[str, Any]:
    """The pod of a manifest (YAML or JSON), as this node runs it. Raises ManifestError."""
    if len(data) > _LARGEST:
        raise ManifestError("larger than 1 MiB")
    try:
        pod = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ManifestError(f"not YAML: {error}") from error
    if not isinstance(pod, dict) or (pod.get("apiVersion"), pod.get("kind")) != ("v1", "Pod"):
        raise ManifestError("not a v1 Pod")
    if not isinstance(pod.get("metadata"), dict) or not isinstance(pod.get("spec"), dict):
        raise ManifestError("metadata and spec must be maps")
    metadata, spec = pod["metadata"], pod["spec"]
    uid = hashlib.sha256(node_name.encode() + b"\0" + data).hexdigest()[:32]
    metadata["name"] = f"{metadata.get('name') or 'static'}-{node_name.lower()}"
    metadata.setdefault("namespace", "default")
    metadata["uid"] = uid
    annotations = metadata["annotations"] = dict(metadata.get("annotations") or {})
    annotations |= {pods.CONFIG_HASH: uid, _SOURCE: "file", _SEEN: rfc3339(now)}
    spec["nodeName"] = node_name
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    _complete(pod)
    return pod


def _complete(pod: dict[str, Any]) -> None:
    """Defaults and validation, as the API server would have done."""
    # Here, because most nodes have no static pods and need not load the rules of all kinds.
    from shirube.api.kinds import strategy_of
    from shirube.api.resources import BUILTIN

    resource = BUILTIN.by_path("", "v1", "pods")
    assert resource is not None
    strategy = strategy_of(resource)
    try:
        strategy.default(pod)
        causes = strategy.validate(pod)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ManifestError(f"not a well-formed Pod: {error!r}") from error
    if causes:
        raise ManifestError("; ".join(f"{cause.field}: {cause.message}" for cause in causes))
    pod["status"] = {"phase": "Pending"}


def mirror_pod(pod: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """What the API is given of a static pod."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata.get("labels") or {},
            "annotations": {**metadata["annotations"], pods.CONFIG_MIRROR: metadata["uid"]},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": pod["spec"],
    }


class StaticPods:
    def __init__(
        self,
        directory: Path,
        registry: Registry,
        client: Client,
        mirrors: Store,
        node: Callable[[], Mapping[str, Any]],
        clock: Clock,
    ) -> None:
        """`mirrors` is the store of this node's pods in the API."""
        self._directory = directory
        self._registry = registry
        self._client = client
        self._mirrors = mirrors
        self._node = node
        self._clock = clock
        self._files: dict[Path, tuple[int, int]] = {}  # modification time, size
        self._pods: dict[Path, dict[str, Any]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.scan()
            try:
                await self._mirror()
            except ApiError as error:
                _logger.warning("cannot write mirror pods", error=str(error))
            await asyncio.sleep(_POLL_SECONDS)

    # -- manifests

    def scan(self) -> None:
        """Start, replace and end pods as the directory says now."""
        found: dict[Path, tuple[int, int]] = {}
        if self._directory.is_dir():
            for path in sorted(self._directory.iterdir()):
                if path.name.startswith(".") or not path.is_file():
                    continue
                known = path.stat()
                found[path] = (known.st_mtime_ns, known.st_size)
        for path in [path for path in self._files if path not in found]:
            self._drop(path)
        for path, state in found.items():
            if self._files.get(path) != state:
                self._load(path, state)

    def _load(self, path: Path, state: tuple[int, int]) -> None:
        self._files[path] = state
        try:
            pod = static_pod(path.read_bytes(), self._node()["metadata"]["name"], self._clock.now())
        except (ManifestError, OSError) as error:
            _logger.warning("cannot use a static pod's manifest", file=str(path), error=str(error))
            return
        old = self._pods.get(path)
        if old is not None and pods.uid(old) == pods.uid(pod):
            return
        if old is not None:
            self._registry.deleted(old)
        self._pods[path] = pod
        self._registry.added(pod)

    def _drop(self, path: Path) -> None:
        self._files.pop(path)
        if (pod := self._pods.pop(path, None)) is not None:
            self._registry.deleted(pod)

    # -- mirror pods

    async def _mirror(self) -> None:
        node = self._node()
        if not node["metadata"].get("uid"):
            return  # not registered yet: nothing can own them
        wanted = {(pods.namespace(pod), pods.name(pod)): pod for pod in self._pods.values()}
        for known in self._mirrors.list():
            if not pods.is_mirror(known):
                continue
            pod = wanted.get((pods.namespace(known), pods.name(known)))
            hash_shown = known["metadata"]["annotations"][pods.CONFIG_MIRROR]
            ended = not self._registry.has(hash_shown)
            outdated = ended if pod is None else pods.uid(pod) != hash_shown
            if outdated or pods.is_deleting(known):
                await self._delete(known)
        for (namespace, name), pod in wanted.items():
            if self._mirrors.get(namespace, name) is None:
                await self._create(mirror_pod(pod, node))

    async def _create(self, mirror: dict[str, Any]) -> None:
        try:
            await self._client.create(PODS, mirror, mirror["metadata"]["namespace"])
        except ApiError as error:
            if error.code != 409:
                raise

    async def _delete(self, mirror: Mapping[str, Any]) -> None:
        try:
            await self._client.delete(
                PODS,
                pods.name(mirror),
                pods.namespace(mirror),
                grace_period_seconds=0,
                preconditions={"uid": pods.uid(mirror)},
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
