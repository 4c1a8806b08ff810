"""Which container of a pod is meant, when one is named and when none is."""

from __future__ import annotations

from typing import Any

from shirube.api import errors

Json = dict[str, Any]
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def choose(pod: Json, container: str) -> str:
    """The container's name. Raises ApiError 400 with upstream's wording."""
    name, spec = pod["metadata"]["name"], pod.get("spec") or {}
    names = {
        key: [c["name"] for c in spec.get(key) or ()] for key in ("containers", "initContainers", "ephemeralContainers")
    }
    if container:
        if not any(container in group for group in names.values()):
            raise errors.bad_request(f"container {container} is not valid for pod {name}")
        return container
    if len(names["containers"]) == 1:
        return str(names["containers"][0])
    default = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default and any(default in group for group in names.values()):
        return str(default)
    message = f"a container name must be specified for pod {name}"
    if names["containers"]:
        message += f", choose one of: [{' '.join(names['containers'])}]"
    for key, what in (("initContainers", "init"), ("ephemeralContainers", "ephemeral")):
        if names[key]:
            message += f" or one of the {what} containers: [{' '.join(names[key])}]"
    raise errors.bad_request(message)
