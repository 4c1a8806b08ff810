"""The pods of this node and their workers: from informer events and runtime events to workers.

A pod is known by UID here: one that was deleted and made again under the same name is another pod, and both
have workers until the first is gone from the runtime. Pods that only the runtime knows (deleted while the
agent was away) get a worker too, which ends them.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from shirube.foundation import log
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet import pod as pods
from shirube.kubelet import qos
from shirube.kubelet.device_allocation import DeviceError
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.pod_worker import PodWorker
from shirube.kubelet.runtime_state import Container, Listing
from shirube.kubelet.volumes.claims import claim_name

_logger = log.get("kubelet.pods")
Pods = list[pods.Pod]


class PodRegistry:
    def __init__(self) -> None:
        self._services: NodeServices | None = None
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, services: NodeServices) -> None:
        """From now on pods are run. Pods heard of before are ignored: ask the informer again."""
        self._services = services

    # -- look-up

    def get(self, namespace: str, name: str) -> pods.Pod | None:
        """The pod of that name, the newest if an older one is still ending."""
        worker = self.worker(namespace, name)
        return worker.pod if worker is not None else None

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        found = [w for w in self._workers.values() if pods.name(w.pod) == name and pods.namespace(w.pod) == namespace]
        return found[-1] if found else None

    def list(self) -> list[pods.Pod]:
        return [worker.pod for worker in self._workers.values() if "orphan" not in worker.pod]

    def container_id(self, namespace: str, name: str, container: str, previous: bool = False) -> str | None:
        """The runtime's ID of a pod's container, or of the one that ran before it."""
        record = self.container(namespace, name, container, previous)
        return record.id if record is not None else None

    def container(self, namespace: str, name: str, container: str, previous: bool = False) -> Container | None:
        worker = self.worker(namespace, name)
        if worker is None:
            return None
        records = worker.runtime.attempts(container)
        if previous:
            records = records[1:]
        return records[0] if records else None

    def workers(self) -> Sequence[PodWorker]:
        return tuple(self._workers.values())

    def running_containers(self) -> Iterator[Container]:
        for worker in self._workers.values():
            yield from worker.runtime.running()

    def worker_of(self, pod_uid: str) -> PodWorker | None:
        return self._workers.get(pod_uid)

    def has(self, pod_uid: str) -> bool:
        return pod_uid in self._workers

    def others(self, pod: pods.Pod) -> Pods:
        """The other pods that the node has taken and that have not ended."""
        return [w.pod for w in self._workers.values() if w.taken and not w.ended and w.uid != pods.uid(pod)]

    def claim_in_use(self, pod: pods.Pod, claim: str) -> bool:
        """Whether another pod of the namespace has sandboxes on this node and uses the claim."""
        for worker in self._workers.values():
            other = worker.pod
            if worker.uid == pods.uid(pod) or worker.ended or pods.namespace(other) != pods.namespace(pod):
                continue
            used = any(claim_name(other, volume) == claim for volume in other["spec"].get("volumes") or ())
            if used and worker.runtime.sandboxes:
                return True
        return False

    # -- what happened

    def added(self, pod: Any) -> None:
        if self._services is None:
            return
        if pods.is_mirror(pod):
            if (worker := self._workers.get(pod["metadata"]["annotations"][pods.CONFIG_MIRROR])) is not None:
                worker.mirrored(pod)
            return
        pod_uid = pods.uid(pod)
        if (worker := self._workers.get(pod_uid)) is not None:
            worker.update(pod)
            return
        worker = self._workers[pod_uid] = PodWorker(self._services, pod)
        if pods.is_deleting(pod):
            worker.update(pod)
        self._run(worker)
        self._share_cpu()

    def updated(self, old: Any, pod: Any) -> None:
        if pods.uid(old) != pods.uid(pod):
            self.deleted(old)
        self.added(pod)

    def deleted(self, pod: Any) -> None:
        if pods.is_mirror(pod):
            if (worker := self._workers.get(pod["metadata"]["annotations"][pods.CONFIG_MIRROR])) is not None:
                worker.mirrored(None)
            return
        if (worker := self._workers.get(pods.uid(pod))) is not None:
            worker.gone(pod)

    def changed(self, pod_uid: str) -> None:
        if (worker := self._workers.get(pod_uid)) is not None:
            worker.wake()

    def exited(self, pod_uid: str, container_id: str) -> None:
        if (worker := self._workers.get(pod_uid)) is not None:
            worker.container_exited(container_id)

    def listed(self, listing: Listing) -> None:
        """End what runs for pods that the API does not have."""
        if self._services is None:
            return
        for pod_uid, (namespace, name) in listing.names.items():
            if pod_uid not in self._workers:
                pod = _orphan(pod_uid, namespace, name)
                worker = self._workers[pod_uid] = PodWorker(self._services, pod)
                worker.gone(pod)
                self._run(worker)

    async def remove_leftovers(self) -> None:
        """Directories, logs and cgroups of pods that neither API nor runtime knows."""
        assert self._services is not None
        services = self._services
        found = services.cgroups.pod_uids() | services.devices.holders() | services.claims.holders()
        if services.paths.pods.is_dir():
            found |= {path.name for path in services.paths.pods.iterdir()}
        logs = services.paths.logs_by_pod()
        found |= logs.keys()
        for pod_uid in sorted(found - self._workers.keys()):
            await services.cgroups.remove_pod(pod_uid)
            services.devices.release(pod_uid)
            try:
                await services.claims.release(pod_uid)
            except DeviceError as error:
                # Its driver is not there yet; when it is, it is asked.
                _logger.info("a claim is given back later", pod=pod_uid, error=str(error))
            await services.volumes.remove_directory(pod_uid)
            if pod_uid in logs:
                await asyncio.to_thread(shutil.rmtree, logs[pod_uid], ignore_errors=True)

    async def close(self) -> None:
        """Stop watching over the pods; they go on running."""
        self._services = None
        await cancel(*self._tasks.values())

    # -- workers

    def _run(self, worker: PodWorker) -> None:
        task = spawn(worker.run(), name=f"pod {pods.full_name(worker.pod)}")
        self._tasks[worker.uid] = task
        task.add_done_callback(lambda _: self._done(worker.uid))

    def _done(self, pod_uid: str) -> None:
        self._tasks.pop(pod_uid, None)
        self._workers.pop(pod_uid, None)
        if self._services is not None:
            self._share_cpu()
            for worker in self._workers.values():
                # Room for those whose resize waits for it.
                if worker.resize.is_waiting:
                    worker.wake()

    def _share_cpu(self) -> None:
        """The burstable class weighs what its pods ask for."""
        assert self._services is not None
        burstable = [
            w.pod
            for w in self._workers.values()
            if not w.ended and "orphan" not in w.pod and qos.qos_class(w.pod) == qos.BURSTABLE
        ]
        self._services.cgroups.set_burstable_share(qos.total_requests(burstable, "cpu"))


def _orphan(pod_uid: str, namespace: str, name: str) -> dict[str, Any]:
    """A pod as far as the runtime's labels tell."""
    return {
        "orphan": True,
        "metadata": {"uid": pod_uid, "namespace": namespace, "name": name},
        "spec": {"containers": []},
    }
