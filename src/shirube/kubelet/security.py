"""Security contexts, of a pod and of a container, as CRI wants them.

Pure. Follows https://kubernetes.io/docs/tasks/configure-pod-container/security-context/. What the runtime
would silently drop is refused with a `SecurityError` (shown as CreateContainerConfigError).
"""

from __future__ import annotations

from typing import Any

from shirube.kubelet import pod as pods

# CRI NamespaceMode
POD, CONTAINER, NODE, TARGET = "POD", "CONTAINER", "NODE", "TARGET"

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class SecurityError(Exception):
    """A container may not run like that: shown as CreateContainerConfigError with this message."""


def effective(pod: pods.Pod, container: pods.Container, field: str, default: Any = None) -> Any:
    """A field that the container's security context may override."""
    own = container.get("securityContext") or {}
    if own.get(field) is not None:
        return own[field]
    shared = pod["spec"].get("securityContext") or {}
    return shared[field] if shared.get(field) is not None else default


def namespace_options(pod: pods.Pod) -> dict[str, str]:
    spec = pod["spec"]
    pid = NODE if spec.get("hostPID") else POD if spec.get("shareProcessNamespace") else CONTAINER
    return {
        "network": NODE if spec.get("hostNetwork") else POD,
        "ipc": NODE if spec.get("hostIPC") else POD,
        "pid": pid,
    }


def seccomp(profile: dict[str, Any] | None, profile_dir: str) -> dict[str, str]:
    """CRI `SecurityProfile` of a `seccompProfile`; none means unconfined, as upstream's default."""
    match (profile or {}).get("type"):
        case "RuntimeDefault":
            return {"profile_type": "RuntimeDefault"}
        case "Localhost":
            file = (profile or {}).get("localhostProfile") or ""
            return {"profile_type": "Localhost", "localhost_ref": f"{profile_dir}/{file}"}
    return {"profile_type": "Unconfined"}


def app_armor(profile: dict[str, Any]) -> dict[str, str]:
    kind = profile.get("type") or "RuntimeDefault"
    found = {"profile_type": kind}
    if kind == "Localhost":
        found["localhost_ref"] = profile.get("localhostProfile") or ""
    return found


def supplemental_groups(pod: pods.Pod) -> list[int]:
    shared = pod["spec"].get("securityContext") or {}
    groups = list(shared.get("supplementalGroups") or [])
    if shared.get("fsGroup") is not None:
        groups.append(shared["fsGroup"])
    return groups


def sandbox_context(pod: pods.Pod, profile_dir: str) -> dict[str, Any]:
    """CRI `LinuxSandboxSecurityContext`."""
    shared = pod["spec"].get("securityContext") or {}
    context: dict[str, Any] = {
        "namespace_options": namespace_options(pod),
        "privileged": any(_is_privileged(c) for _, c in pods.containers(pod)),
        # The sandbox's own process runs under the runtime's profile, whatever the containers do.
        "seccomp": {"profile_type": "RuntimeDefault"},
    }
    if shared.get("runAsUser") is not None:
        context["run_as_user"] = {"value": shared["runAsUser"]}
        if shared.get("runAsGroup") is not None:
            context["run_as_group"] = {"value": shared["runAsGroup"]}
    if groups := supplemental_groups(pod):
        context["supplemental_groups"] = groups
    return context


def _is_privileged(container: pods.Container) -> bool:
    return bool((container.get("securityContext") or {}).get("privileged"))


def container_context(
    pod: pods.Pod, container: pods.Container, profile_dir: str, *, target_id: str = ""
) -> dict[str, Any]:
    """CRI `LinuxContainerSecurityContext`."""
    own = container.get("securityContext") or {}
    context: dict[str, Any] = {
        "namespace_options": namespace_options(pod),
        "privileged": _is_privileged(container),
        "readonly_rootfs": bool(own.get("readOnlyRootFilesystem")),
        "no_new_privs": own.get("allowPrivilegeEscalation") is False,
        "seccomp": seccomp(effective(pod, container, "seccompProfile"), profile_dir),
    }
    if target_id:
        context["namespace_options"] |= {"pid": TARGET, "target_id": target_id}
    if own.get("procMount") != "Unmasked":
        context["masked_paths"] = MASKED_PATHS
        context["readonly_paths"] = READONLY_PATHS
    if (capabilities := own.get("capabilities")) is not None:
        context["capabilities"] = {
            "add_capabilities": [_capability(c) for c in capabilities.get("add") or []],
            "drop_capabilities": [_capability(c) for c in capabilities.get("drop") or []],
        }
    if (user := effective(pod, container, "runAsUser")) is not None:
        context["run_as_user"] = {"value": user}
    if (group := effective(pod, container, "runAsGroup")) is not None:
        context["run_as_group"] = {"value": group}
    if groups := supplemental_groups(pod):
        context["supplemental_groups"] = groups
    if (profile := effective(pod, container, "appArmorProfile")) is not None:
        context["apparmor"] = app_armor(profile)
    return context


def _capability(name: str) -> str:
    return name.removeprefix("CAP_")


def check_image_user(pod: pods.Pod, container: pods.Container, image: Any) -> None:
    """`runAsNonRoot` against the user that it will run as. `image` is a CRI `Image`. Raises SecurityError."""
    if not effective(pod, container, "runAsNonRoot"):
        return
    where = f'(pod: "{pods.name(pod)}_{pods.namespace(pod)}({pods.uid(pod)})", container: {container["name"]})'
    user = effective(pod, container, "runAsUser")
    if user is not None:
        if user == 0:
            raise SecurityError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image.HasField("uid"):
        if image.uid.value == 0:
            raise SecurityError(f"container has runAsNonRoot and image will run as root {where}")
        return
    if image.username:
        name = image.username
        raise SecurityError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), "
            f"cannot verify user is non-root {where}"
        )
    raise SecurityError(f"container has runAsNonRoot and image will run as root {where}")
