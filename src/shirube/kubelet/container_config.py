"""The CRI `ContainerConfig` of a container. Pure: mounts and environment are handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shirube.kubelet import labels, qos, security
from shirube.kubelet import pod as pods
from shirube.kubelet.expansion import expand_from


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a container's configuration needs beyond its spec."""

    attempt: int
    image_ref: str
    environment: Mapping[str, str]
    service_environment: Mapping[str, str]
    mounts: list[dict[str, Any]]
    memory_capacity: int
    seccomp_dir: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    devices: Sequence[Mapping[str, Any]] = ()
    target_id: str = ""  # the container whose processes an ephemeral container sees


def container_config(pod: pods.Pod, container: pods.Container, inputs: Inputs) -> dict[str, Any]:
    def expanded(words: list[str] | None) -> list[str]:
        return [expand_from(word, inputs.environment) for word in words or ()]

    name = container["name"]
    security_context = security.container_context(pod, container, inputs.seccomp_dir, target_id=inputs.target_id)
    config: dict[str, Any] = {
        "metadata": {"name": name, "attempt": inputs.attempt},
        "image": {"image": inputs.image_ref, "user_specified_image": container.get("image", "")},
        "command": expanded(container.get("command")),
        "args": expanded(container.get("args")),
        "working_dir": container.get("workingDir") or "",
        # Bytes on the wire: a Secret's value need not be UTF-8.
        "envs": [
            {"key": key, "value": value.encode("utf-8", "surrogateescape")} for key, value in inputs.environment.items()
        ],
        "mounts": inputs.mounts,
        "devices": list(inputs.devices),
        "labels": labels.container_labels(pod, container),
        "annotations": {**inputs.annotations, **labels.container_annotations(pod, container, inputs.attempt)},
        "log_path": f"{name}/{inputs.attempt}.log",
        "stdin": bool(container.get("stdin")),
        "stdin_once": bool(container.get("stdinOnce")),
        "tty": bool(container.get("tty")),
        "linux": {
            "resources": qos.linux_resources(pod, container, inputs.memory_capacity),
            "security_context": security_context,
        },
    }
    return config
