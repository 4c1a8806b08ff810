"""What the workers of all pods on the node share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from shirube.client.rest import Client
from shirube.foundation.clock import Clock
from shirube.kubelet import dns, downward
from shirube.kubelet import pod as pods
from shirube.kubelet.admission import Rejection
from shirube.kubelet.api_objects import ApiObjects
from shirube.kubelet.cgroups import Cgroups
from shirube.kubelet.cri.client import Runtime
from shirube.kubelet.device_plugins import DevicePlugins
from shirube.kubelet.dynamic_resources import DynamicResources
from shirube.kubelet.images import Images
from shirube.kubelet.object_watches import ObjectWatches
from shirube.kubelet.paths import Paths
from shirube.kubelet.probes.prober import Prober
from shirube.kubelet.restart_backoff import RestartBackoff
from shirube.kubelet.runtime_state import RuntimeState
from shirube.kubelet.status_writer import StatusWriter
from shirube.kubelet.volumes.pod_volumes import PodVolumes


class Recorder(Protocol):
    """`client.events.EventRecorder`."""

    def event(self, obj: Any, type: str, reason: str, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class NodeServices:
    client: Client
    runtime: Runtime
    state: RuntimeState
    images: Images
    volumes: PodVolumes
    prober: Prober
    statuses: StatusWriter
    objects: ApiObjects
    watches: ObjectWatches
    cgroups: Cgroups
    devices: DevicePlugins
    claims: DynamicResources
    recorder: Recorder
    paths: Paths
    clock: Clock
    cluster: dns.ClusterDNS
    node: Callable[[], downward.NodeFacts]
    memory_capacity: int
    services_for: Callable[[pods.Pod], dict[str, str]]  # service environment variables
    restart_backoff: RestartBackoff
    # The other pods that this node has taken, with the resources that it granted them.
    other_pods: Callable[[pods.Pod], list[pods.Pod]]
    # Why this node does not take a pod, None if it does.
    refuse: Callable[[pods.Pod], Rejection | None]
    runtime_name: str = "containerd"

    def tell(self, pod: pods.Pod, type: str, reason: str, message: str, container: str = "") -> None:
        """Record an event about the pod, or about one container of it."""
        about: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pods.namespace(pod),
            "name": pods.name(pod),
            "uid": pods.uid(pod),
            "resourceVersion": pod["metadata"].get("resourceVersion", ""),
        }
        if container:
            about["fieldPath"] = pods.container_fields_path(pod, container)
        self.recorder.event(about, type, reason, message)
