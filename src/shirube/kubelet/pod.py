"""What the agent reads off a pod object (a plain, read-only dict)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]
Container = Mapping[str, Any]

CONFIG_HASH, CONFIG_MIRROR = "kubernetes.io/config.hash", "kubernetes.io/config.mirror"
INIT, SIDECAR, APP, EPHEMERAL = "init", "sidecar", "app", "ephemeral"


def uid(pod: Pod) -> str:
    return str(pod["metadata"]["uid"])


def name(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def namespace(pod: Pod) -> str:
    return str(pod["metadata"]["namespace"])


def full_name(pod: Pod) -> str:
    """`namespace/name`, for logs."""
    return f"{namespace(pod)}/{name(pod)}"


def is_deleting(pod: Pod) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def phase(pod: Pod) -> str:
    return pod.get("status", {}).get("phase") or "Pending"


def is_terminal(pod: Pod) -> bool:
    """Whether the API already holds a final phase."""
    return phase(pod) in ("Succeeded", "Failed")


def is_static(pod: Pod) -> bool:
    """From a manifest on the node; the API has its mirror."""
    return CONFIG_HASH in (pod["metadata"].get("annotations") or {})


def is_mirror(pod: Pod) -> bool:
    """What the API has of a static pod."""
    return CONFIG_MIRROR in (pod["metadata"].get("annotations") or {})


def init_containers(pod: Pod) -> list[Container]:
    return pod["spec"].get("initContainers") or []


def app_containers(pod: Pod) -> list[Container]:
    found: list[Container] = pod["spec"]["containers"]
    return found


def ephemeral_containers(pod: Pod) -> list[Container]:
    return pod["spec"].get("ephemeralContainers") or []


def is_sidecar(init_container: Container) -> bool:
    """A restartable init container: started in order, kept running, ended after the app containers."""
    return init_container.get("restartPolicy") == "Always"


def sidecars(pod: Pod) -> list[Container]:
    return [c for c in init_containers(pod) if is_sidecar(c)]


def containers(pod: Pod) -> Iterator[tuple[str, Container]]:
    """Every container with its kind, in the order in which they start."""
    for container in init_containers(pod):
        yield (SIDECAR if is_sidecar(container) else INIT), container
    for container in app_containers(pod):
        yield APP, container
    for container in ephemeral_containers(pod):
        yield EPHEMERAL, container


def container_named(pod: Pod, container_name: str) -> Container | None:
    return next((c for _, c in containers(pod) if c["name"] == container_name), None)


def restart_policy(pod: Pod) -> str:
    return pod["spec"].get("restartPolicy") or "Always"


def restarts_after(pod: Pod, kind: str, container: Container, exit_code: int) -> bool:
    """Whether a container that ended with `exit_code` is started again (its own rules, else the pod's).

    Follows KEP-5307: a matching `restartPolicyRules` entry wins over the container's `restartPolicy`, which
    wins over the pod's.
    """
    if kind == EPHEMERAL:
        return False
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        inside = exit_code in (codes.get("values") or ())
        if rule.get("action") == "Restart" and inside == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or restart_policy(pod)
    if kind == INIT and policy == "Always":
        # An init container that succeeded is done, whatever the pod's policy says.
        policy = "OnFailure"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def is_host_network(pod: Pod) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def grace_period(pod: Pod) -> int:
    """Seconds that its containers get to end: what the deletion says, else what the spec says."""
    grace = pod["metadata"].get("deletionGracePeriodSeconds") if is_deleting(pod) else None
    if grace is None:
        grace = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if grace is None else int(grace)


def hostname(pod: Pod) -> str:
    """The host name inside the pod: at most 63 characters of `spec.hostname` or the pod's name."""
    given = pod["spec"].get("hostnameOverride") or pod["spec"].get("hostname") or name(pod)
    return given[:63].rstrip("-.")


def container_fields_path(pod: Pod, container_name: str) -> str:
    """How events name a container: `spec.containers{name}`."""
    for kind, container in containers(pod):
        if container["name"] == container_name:
            where = {INIT: "initContainers", SIDECAR: "initContainers", EPHEMERAL: "ephemeralContainers"}
            return f"spec.{where.get(kind, 'containers')}{{{container_name}}}"
    return ""
