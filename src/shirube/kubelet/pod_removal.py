"""The last of a pod: out of the API, and nothing of it left on the node."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.kubelet import pod as pods
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.runtime_state import PodRuntime


async def delete_from_api(services: NodeServices, pod: pods.Pod) -> None:
    """All of it has ended: its object may go. Raises ApiError."""
    await services.statuses.flush(pods.uid(pod))
    try:
        await services.client.delete(
            PODS,
            pods.name(pod),
            pods.namespace(pod),
            grace_period_seconds=0,
            preconditions={"uid": pods.uid(pod)},
        )
    except ApiError as error:
        if error.code not in (404, 409):
            raise


async def remove_everything(services: NodeServices, pod: pods.Pod, runtime: PodRuntime) -> None:
    """The pod is gone from the API: nothing of it stays on the node."""
    pod_uid = pods.uid(pod)
    for sandbox in runtime.sandboxes:
        await services.runtime.call("RemovePodSandbox", pod_sandbox_id=sandbox.id)
    for container in runtime.containers:
        # Those of a sandbox went with it; this is for one that was left alone.
        await services.runtime.call("RemoveContainer", container_id=container.id)
    await services.volumes.remove_directory(pod_uid)
    await asyncio.to_thread(_remove_tree, services.paths.pod_logs(pod))
    services.images.forget(pod_uid)
    services.restart_backoff.forget(pod_uid)


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
