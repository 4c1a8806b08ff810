"""The node agent, composed: informers, workers, runtime events, node reports, log rotation.

The HTTPS server (logs, exec, …) is given this object: `pods` finds pods and containers, `runtime` is the CRI
client, `read_logs` reads a container's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shirube.api.gvr import NODES, PODS, SERVICES
from shirube.client.events import NORMAL, EventRecorder
from shirube.client.informer import InformerFactory
from shirube.client.rest import Client
from shirube.foundation import address_family, log
from shirube.foundation.clock import SYSTEM, Clock
from shirube.kubelet import admission, cdi, dns, downward, eviction, node_status, runtime_features
from shirube.kubelet import pod as pods
from shirube.kubelet.api_objects import ApiObjects
from shirube.kubelet.cgroups import Cgroups
from shirube.kubelet.cri.client import Runtime
from shirube.kubelet.device_plugins import DevicePlugins
from shirube.kubelet.dynamic_resources import DynamicResources
from shirube.kubelet.environment import service_environment, services_for
from shirube.kubelet.image_garbage import ImageGarbage
from shirube.kubelet.images import Images
from shirube.kubelet.local_paths import LocalPaths
from shirube.kubelet.log_rotation import LogRotation
from shirube.kubelet.logs import LogOptions, read_logs
from shirube.kubelet.nfs_directories import NfsDirectories
from shirube.kubelet.node_info import machine_info
from shirube.kubelet.node_pressure import NodePressure
from shirube.kubelet.node_reporter import NodeReporter
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.node_shutdown import REJECTION, NodeShutdown
from shirube.kubelet.node_usage import NodeUsage
from shirube.kubelet.object_watches import ObjectWatches
from shirube.kubelet.paths import Paths
from shirube.kubelet.plugin_registry import PluginRegistry
from shirube.kubelet.pod_registry import PodRegistry
from shirube.kubelet.probes.prober import Prober
from shirube.kubelet.restart_backoff import RestartBackoff
from shirube.kubelet.runtime_events import RuntimeEvents
from shirube.kubelet.runtime_garbage import RuntimeGarbage
from shirube.kubelet.runtime_state import RUNNING, RuntimeState
from shirube.kubelet.service_account_tokens import ServiceAccountTokens
from shirube.kubelet.static_pods import StaticPods
from shirube.kubelet.stats import NodeStats
from shirube.kubelet.stats_disk import DiskUsage, FileSystem
from shirube.kubelet.status_writer import StatusWriter
from shirube.kubelet.system_oom import SystemOom
from shirube.kubelet.trust_bundles import TrustBundles
from shirube.kubelet.volumes.images import ImageVolumes, images_of
from shirube.kubelet.volumes.pod_volumes import PodVolumes
from shirube.kubelet.volumes.volume import Host

_logger = log.get("kubelet")


@dataclass(slots=True)
class Options:
    """The node agent: runs this node's pods on a CRI runtime."""

    kubeconfig: Path | str
    node_name: str
    node_ip: str  # of a dual-stack node one address of each family with a comma between, the primary first
    root_dir: Path | str
    runtime_endpoint: Path | str
    cgroup_root: str
    port: int = 10250
    tls_cert: Path | str = ""
    tls_key: Path | str = ""
    client_ca: Path | str = ""
    cluster_dns: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    max_pods: int = 110
    pod_pids_limit: int = 4096  # processes and threads of one pod, so that none takes them all; 0 for no limit
    labels: Mapping[str, str] = field(default_factory=dict)
    local_path_directory: Path | str = "/var/lib/shirube/local-path"  # as the provisioner has it
    # Manifests of static pods; "" for ROOT_DIR/static-pods.
    static_pods: Path | str = ""
    kube_reserved: Mapping[str, str] = field(default_factory=dict)
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    # Smaller shares of the disk than upstream's 10 and 15 %: a node of `up` has the disk not for itself.
    eviction_hard: Mapping[str, str] = field(
        default_factory=lambda: {
            "memory.available": "100Mi",
            "nodefs.available": "5%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "5%",
            "imagefs.inodesFree": "5%",
        }
    )
    eviction_soft: Mapping[str, str] = field(default_factory=dict)
    eviction_soft_grace: Mapping[str, float] = field(default_factory=dict)  # seconds, by signal
    eviction_minimum_reclaim: Mapping[str, str] = field(default_factory=dict)
    eviction_max_pod_grace: float = 0.0  # seconds, for soft evictions
    eviction_pressure_transition: float = 300.0
    eviction_period: float = 10.0
    node_lease_duration: int = 40  # seconds; the Lease is renewed four times in it
    # Seconds that pods get when the machine ends (SIGPWR), and how many of them are for the system's.
    shutdown_grace: float = 30.0
    shutdown_grace_critical: float = 10.0
    max_parallel_image_pulls: int = 5  # 0 for no limit
    image_gc_high: int = 85  # percent of the images' file system; 100 for never
    image_gc_low: int = 80
    # Where the CNI's configurations and plugins are; without them what a killed runtime leaves stays.
    cni_conf_dir: Path | None = None
    cni_bin_dir: Path = Path("/usr/lib/cni")


class LogNotFound(Exception):
    """There is no such container, or it has no log."""


class Agent:
    def __init__(self, options: Options, client: Client, clock: Clock = SYSTEM) -> None:
        self.options = options
        self.client = client
        self.clock = clock
        self.paths = Paths(options.root_dir)
        for directory in (self.paths.pods, self.paths.logs, self.paths.seccomp):
            directory.mkdir(parents=True, exist_ok=True)
        self.runtime = Runtime(str(options.runtime_endpoint))
        self.pods = PodRegistry()
        self.machine = machine_info(self.paths.root)
        node_ips = tuple(address_family.listed(options.node_ip))
        self.identity = node_status.NodeIdentity(
            options.node_name, node_ips, options.port, options.max_pods, options.labels
        )
        self.node = NodeReporter(client, self.runtime, clock, self.identity, self.machine)
        self.node.lease_seconds = options.node_lease_duration
        reserved = (options.kube_reserved, options.system_reserved)
        self.node.kept = node_status.reserve(self.machine, reserved, options.eviction_hard)
        self._facts = downward.NodeFacts(
            options.node_name, node_ips, node_status.allocatable(self.identity, self.machine, self.node.kept)
        )
        self._informers = InformerFactory(client)
        self._pod_informer = self._informers.informer(PODS, field_selector=f"spec.nodeName={options.node_name}")
        self._service_informer = self._informers.informer(SERVICES, projection=_service_projection)
        self._node_informer = self._informers.informer(NODES, field_selector=f"metadata.name={options.node_name}")
        self._recorder = EventRecorder(client, "kubelet", options.node_name)
        self.node.tell = self._tell_of_node
        self._local_paths = LocalPaths(client, self.node_object, Path(options.local_path_directory))
        self._node_informer.add_handler(self._local_paths.changed, lambda _, new: self._local_paths.changed(new))
        self._nfs_directories = NfsDirectories(client, options.node_name, self.paths.root)
        self._node_informer.add_handler(self._nfs_directories.changed, lambda _, n: self._nfs_directories.changed(n))
        self._node_informer.add_handler(self.node.seen, lambda _, new: self.node.seen(new))
        specifications = (*cdi.DIRECTORIES, self.paths.root / "cdi")
        self.devices = DevicePlugins(self.paths.root / "device-plugins", self._devices_changed, specifications)
        self.claims = DynamicResources(client, self.paths.root / "dynamic_resources.json", specifications)
        self._plugins = PluginRegistry(self.paths.root / "plugins_registry", {"DRAPlugin": self.claims})
        self.services = self._services()
        disk = DiskUsage(clock)
        stats = NodeStats(self.pods, self.runtime, self.services.cgroups, self.paths, disk, clock)
        self.usage = NodeUsage(
            options.node_name, self.paths.root, self.runtime, stats, _configuration(options), clock.now(), self.machine
        )

        self.images = self._image_garbage()
        self.pressure = self._node_pressure()
        self.shutdown = NodeShutdown(
            self.pods, self.node.changed, options.shutdown_grace, options.shutdown_grace_critical
        )
        self.node.shutting_down = lambda: self.shutdown.active
        self.node.extended = self.devices.extended
        self.node.pressures = lambda: self.pressure.conditions

    def _image_garbage(self) -> ImageGarbage:
        async def file_system() -> FileSystem:
            return (await self.usage.file_systems())[1]

        options = self.options
        return ImageGarbage(
            self.runtime,
            self.clock,
            file_system,
            self._tell_of_node,
            high=options.image_gc_high,
            low=options.image_gc_low,
            in_volumes=lambda: {name for pod in self.pods.list() for name in images_of(pod)},
        )

    def _node_pressure(self) -> NodePressure:
        options = self.options
        return NodePressure(
            self.pods,
            self.usage,
            self.images,
            self.clock,
            eviction.thresholds(
                options.eviction_hard,
                options.eviction_soft,
                options.eviction_soft_grace,
                options.eviction_minimum_reclaim,
            ),
            self._tell_of_node,
            self.node.changed,
            transition=options.eviction_pressure_transition,
            most_grace=options.eviction_max_pod_grace,
        )

    def _devices_changed(self) -> None:
        allocatable = node_status.allocatable(self.identity, self.machine, self.node.kept)
        extended = {name: str(count) for name, count in self.devices.extended().allocatable.items()}
        self._facts = replace(self._facts, allocatable={**allocatable, **extended})
        self.node.changed()
        for pod_uid in self.devices.holders():
            self.pods.changed(pod_uid)

    def _tell_of_node(self, type: str, reason: str, message: str) -> None:
        # A node's events are found by its name, which upstream therefore gives as the UID.
        name = self.options.node_name
        self._recorder.event({"apiVersion": "v1", "kind": "Node", "name": name, "uid": name}, type, reason, message)

    def _services(self) -> NodeServices:
        options, client, clock = self.options, self.client, self.clock
        objects = ApiObjects(client, clock)
        tokens = ServiceAccountTokens(client, clock)
        self._trust = TrustBundles(client)
        images = Images(self.runtime, clock, options.max_parallel_image_pulls)
        self._image_volumes = ImageVolumes(
            self.runtime, images, objects, self.paths, clock, lambda pod, *said: self.services.tell(pod, *said)
        )
        host = Host(
            client,
            self.paths,
            objects,
            tokens,
            self._trust,
            clock,
            lambda: self._facts,
            self.node_object,
            self.pods.claim_in_use,
            self._image_volumes,
        )
        prober = Prober(self.runtime, clock, self._tell, self.pods.changed, self.identity.ips[0])
        servers = tuple(s for s in options.cluster_dns.split(",") if s)
        return NodeServices(
            client=client,
            runtime=self.runtime,
            state=RuntimeState(self.runtime),
            images=images,
            volumes=PodVolumes(host),
            prober=prober,
            statuses=StatusWriter(client),
            objects=objects,
            watches=ObjectWatches(client, objects, self._trust, self.pods.changed),
            cgroups=Cgroups(options.cgroup_root, pod_pids=options.pod_pids_limit),
            devices=self.devices,
            claims=self.claims,
            recorder=self._recorder,
            paths=self.paths,
            clock=clock,
            cluster=dns.ClusterDNS(servers, options.cluster_domain),
            node=lambda: self._facts,
            memory_capacity=self.machine.memory,
            services_for=self._service_environment,
            restart_backoff=RestartBackoff(),
            other_pods=self.pods.others,
            refuse=self._refuse,
        )

    def _refuse(self, pod: pods.Pod) -> admission.Rejection | None:
        if self.shutdown.active:
            return REJECTION
        view = admission.NodeView(self.node_object(), self._facts.allocatable, self.pressure.conditions)
        return runtime_features.refuse(pod, self.node.report.features) or admission.judge(
            pod, self.pods.others(pod), view
        )

    def node_object(self) -> Mapping[str, Any]:
        """This node as the API has it; before it is there, as it will be registered."""
        found = self._node_informer.store.get(None, self.options.node_name)
        return found if found is not None else node_status.node_object(self.identity, self.machine)

    def _tell(self, pod: pods.Pod, container: str, type: str, reason: str, message: str) -> None:
        self.services.tell(pod, type, reason, message, container)

    def _service_environment(self, pod: pods.Pod) -> dict[str, str]:
        store = self._service_informer.store
        found = store.list(pods.namespace(pod))
        kubernetes = store.get("default", "kubernetes")
        if kubernetes is not None and pods.namespace(pod) != "default":
            found.append(kubernetes)
        return service_environment(services_for(pod, found))

    # -- running

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Pods go on running after it."""
        self.services.cgroups.create_root()
        self._limit_all_pods()
        await self.devices.start()
        events = RuntimeEvents(self.runtime, self.services.state, self.pods.exited, self.pods.changed, self.pods.listed)
        rotation = LogRotation(self.runtime, self.clock, self.pods.running_containers)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._informers.run(), name="informers"),
                    group.create_task(self._report_node(group), name="node"),
                    group.create_task(self._run_pods(events), name="pods"),
                    group.create_task(events.run_events(), name="runtime events"),
                    group.create_task(rotation.run(), name="log rotation"),
                    group.create_task(self._housekeeping(), name="housekeeping"),
                    group.create_task(self.pressure.run(self.options.eviction_period), name="node pressure"),
                    group.create_task(self.images.run(), name="image garbage"),
                    group.create_task(self.shutdown.run(), name="node shutdown"),
                    group.create_task(self._plugins.run(), name="plugins"),
                    group.create_task(SystemOom(self._tell_of_node).run(), name="system OOM"),
                    group.create_task(self._local_paths.run(), name="local paths"),
                    group.create_task(self._nfs_directories.run(), name="NFS directories"),
                ]
                if self.options.cni_conf_dir is not None:
                    garbage = RuntimeGarbage(self.runtime, self.options.cni_conf_dir, self.options.cni_bin_dir)
                    tasks.append(group.create_task(garbage.run(), name="runtime garbage"))
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await self._close()

    def _limit_all_pods(self) -> None:
        """Hold pods to what is not reserved; without a reservation lift what an earlier agent set."""
        parts = (self.options.kube_reserved, self.options.system_reserved)
        kept, machine, cgroups = node_status.reserve(self.machine, parts, {}), self.machine, self.services.cgroups
        if any(parts):
            cgroups.limit_root(machine.cpus * 1000 - kept.cpu, machine.memory - kept.memory)
        else:
            cgroups.limit_root(1000, 0)

    async def _report_node(self, group: asyncio.TaskGroup) -> None:
        await self.node.register()
        _logger.info("registered node", node=self.options.node_name)
        self._tell_of_node(NORMAL, "Starting", "Starting kubelet.")
        async with asyncio.TaskGroup() as inner:
            inner.create_task(self.node.run_lease(), name="lease")
            inner.create_task(self.node.run_status(lambda _: None), name="node status")

    async def _run_pods(self, events: RuntimeEvents) -> None:
        # Service variables are part of a container's making, and a pod that is not (yet) in the cache
        # must not be taken for an orphan: both caches first.
        await self._service_informer.wait_for_cache_sync()
        await self._pod_informer.wait_for_cache_sync()
        self.pods.start(self.services)
        registry, store = self.pods, self._pod_informer.store
        directory = Path(self.options.static_pods or self.paths.root / "static-pods")
        static = StaticPods(directory, registry, self.client, store, self.node_object, self.clock)
        # Before their mirrors are heard of, and before what nobody knows is taken for an orphan.
        static.scan()
        self._pod_informer.add_handler(registry.added, registry.updated, registry.deleted)
        await registry.remove_leftovers()
        async with asyncio.TaskGroup() as group:
            group.create_task(static.run(), name="static pods")
            group.create_task(events.run_relisting(), name="relisting")

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(60)
            self.services.objects.forget_unused()

    async def _close(self) -> None:
        await self.pods.close()
        await self.services.watches.close()
        await self._trust.close()
        await self.services.prober.close()
        await self.services.images.close()
        await self.devices.close()
        await self.claims.close()
        await self.services.statuses.close()
        await self._recorder.close()
        await self._image_volumes.close()
        await self.runtime.close()

    # -- logs

    def read_logs(
        self, namespace: str, name: str, container: str, options: LogOptions, previous: bool = False
    ) -> AsyncIterator[bytes]:
        """The log of a container in chunks. Raises LogNotFound."""
        record = self.pods.container(namespace, name, container, previous)
        if record is None or not record.log_path:
            which = "previous terminated container" if previous else "container"
            raise LogNotFound(f'{which} "{container}" in pod "{name}" not found')

        def is_running() -> bool:
            now = self.pods.container(namespace, name, container)
            return now is not None and now.id == record.id and now.state == RUNNING

        return read_logs(Path(record.log_path), options, is_running)


def _configuration(options: Options) -> dict[str, Any]:
    """What `/configz` shows."""
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": options.port,
        "maxPods": options.max_pods,
        "cgroupRoot": options.cgroup_root,
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [server for server in options.cluster_dns.split(",") if server],
        "clusterDomain": options.cluster_domain,
        "containerRuntimeEndpoint": f"unix://{options.runtime_endpoint}",
        "staticPodPath": str(options.static_pods or Path(options.root_dir) / "static-pods"),
    }


def _service_projection(service: dict[str, Any]) -> dict[str, Any]:
    """What service variables need of a Service."""
    metadata, spec = service["metadata"], service.get("spec") or {}
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {key: spec[key] for key in ("clusterIP", "ports") if key in spec},
    }
