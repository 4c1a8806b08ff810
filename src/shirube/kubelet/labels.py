"""The labels and annotations by which the agent recognises what is its own in the runtime.

They are upstream's, so that crictl, log shippers and a later agent find what they expect. A restarted agent
rebuilds all that it knows of containers from them: nothing is kept in files.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from shirube.kubelet import pod as pods

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"

HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
TERMINATION_MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"


def pod_labels(pod: pods.Pod) -> dict[str, str]:
    """Labels of a sandbox: the pod's own and who it is."""
    return {
        **(pod["metadata"].get("labels") or {}),
        POD_NAME: pods.name(pod),
        POD_NAMESPACE: pods.namespace(pod),
        POD_UID: pods.uid(pod),
    }


def container_labels(pod: pods.Pod, container: pods.Container) -> dict[str, str]:
    return {
        POD_NAME: pods.name(pod),
        POD_NAMESPACE: pods.namespace(pod),
        POD_UID: pods.uid(pod),
        CONTAINER_NAME: container["name"],
    }


def container_annotations(pod: pods.Pod, container: pods.Container, attempt: int) -> dict[str, str]:
    return {
        HASH: container_hash(container),
        RESTART_COUNT: str(attempt),
        TERMINATION_MESSAGE_PATH: container.get("terminationMessagePath") or "/dev/termination-log",
        TERMINATION_MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
        GRACE_PERIOD: str(pods.grace_period(pod)),
    }


def container_hash(container: pods.Container) -> str:
    """Changes when a running container must be replaced: its name or image (all else is immutable)."""
    identity: Any = [container["name"], container.get("image", "")]
    return hashlib.sha256(orjson.dumps(identity)).hexdigest()[:8]
