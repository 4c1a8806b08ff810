"""The `scale` subresource: an `autoscaling/v1` Scale made of a workload, and written back to it.

Only `spec.replicas` can be written. `status.selector` is the workload's pod selector as text, which is what
autoscalers list pods by. For Deployments, ReplicaSets, StatefulSets and ReplicationControllers; custom resources
name the paths in their definition, see `scale_of_paths`.
"""

from __future__ import annotations

from typing import Any

from shirube.api.errors import ApiError, Cause, bad_request, group_resource, internal_error, invalid
from shirube.api.selectors import label_selector_from, label_selector_from_set

Json = dict[str, Any]

# (group, plural) -> whether the selector is a plain map rather than a LabelSelector.
SCALABLE = {
    ("apps", "deployments"): False,
    ("apps", "replicasets"): False,
    ("apps", "statefulsets"): False,
    ("", "replicationcontrollers"): True,
}


def get_scale(resource: Any, obj: Json) -> Json:
    """The Scale of `obj`. `resource` is a GVR, a Resource or text; 400 for what has no scale."""
    if paths := _paths(resource):
        if _at(obj, paths[0]) is None:
            raise internal_error(f'the spec replicas field "{paths[0]}" does not exist')
        return scale_of_paths(obj, *paths)
    plain = _check(resource)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    selector = spec.get("selector")
    text = str(label_selector_from_set(selector) if plain else label_selector_from(selector))
    return _scale(obj, int(spec.get("replicas") or 0), int(status.get("replicas") or 0), text)


def _scale(obj: Json, wanted: int, current: int, selector: str) -> Json:
    metadata = obj.get("metadata") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    out: Json = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": wanted} if wanted else {},
        "status": {"replicas": current},
    }
    if selector:
        out["status"]["selector"] = selector
    return out


def _paths(resource: Any) -> tuple[str, str, str | None] | None:
    """Where a custom resource keeps its replicas; None for all others."""
    definition = getattr(resource, "definition", None)
    return definition.scale_paths if definition is not None else None


def _check(resource: Any) -> bool:
    try:
        return SCALABLE[group_resource(resource)]
    except KeyError:
        raise bad_request(f"cannot scale {group_resource(resource)[1]}: they have no scale subresource") from None


def replicas_of(scale: Any) -> int:
    """`spec.replicas` of a Scale that a client wrote; 422 when it is negative or no number."""
    metadata = scale.get("metadata") if isinstance(scale, dict) else None
    spec = scale.get("spec") if isinstance(scale, dict) else None
    if not isinstance(scale, dict) or not isinstance(spec or {}, dict):
        raise bad_request("expected a Scale object")
    replicas = (spec or {}).get("replicas")
    replicas = 0 if replicas is None else replicas
    name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas >= 2**31:
        raise _wrong(name, Cause.type_invalid("spec.replicas", replicas, "must be a 32-bit integer"))
    if replicas < 0:
        raise _wrong(name, Cause.invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
    return replicas


def _wrong(name: str, cause: Cause) -> ApiError:
    return invalid("autoscaling", "Scale", name, [cause])


def set_replicas(resource: Any, obj: Json, count: int) -> None:
    """Set the number of replicas that `obj` wants, in place."""
    if paths := _paths(resource):
        set_replicas_at(obj, paths[0], count)
        return
    _check(resource)
    obj.setdefault("spec", {})["replicas"] = count


def scale_of_paths(obj: Json, spec_path: str, status_path: str, selector_path: str | None) -> Json:
    """The Scale of a custom resource whose definition gives the paths (`.spec.replicas`)."""
    wanted, current = _at(obj, spec_path), _at(obj, status_path)
    selector = _at(obj, selector_path) if selector_path else None
    return _scale(
        obj,
        wanted if isinstance(wanted, int) else 0,
        current if isinstance(current, int) else 0,
        selector if isinstance(selector, str) else "",
    )


def set_replicas_at(obj: Json, spec_path: str, count: int) -> None:
    """`set_replicas` for a custom resource, whose definition gives the path."""
    *parents, last = _keys(spec_path)
    for key in parents:
        below = obj.get(key)
        if not isinstance(below, dict):
            below = obj[key] = {}
        obj = below
    obj[last] = count


def _keys(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _at(obj: Any, path: str) -> Any:
    for key in _keys(path):
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj
