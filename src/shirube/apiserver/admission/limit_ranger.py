"""LimitRanger: defaults for what containers ask for, and bounds on it, by namespace.

See "Limit Ranges" in the upstream documentation. What a container does not say is filled in from the limit
range's defaults; then every minimum, maximum and ratio is checked, for containers, pods and claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.api import quantity
from shirube.api.gvr import LIMITRANGES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

Json = dict[str, Any]
ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(Plugin):
    name = "LimitRanger"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((("", "pods"), ("", "pods/resize"), ("", "persistentvolumeclaims")))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.operation != CREATE or req.resource.name != "pods" or req.obj is None:
            return
        ranges = self.server.reader.list(LIMITRANGES, req.namespace)
        if ranges:
            fill_in(req.obj, ranges)

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None or _unlooked(req):
            return
        problems: list[str] = []
        for limit_range in self.server.reader.list(LIMITRANGES, req.namespace):
            for limit in (limit_range.get("spec") or {}).get("limits") or ():
                problems += violations(req.resource.name, req.obj, limit)
        if problems:
            raise req.refusal(problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]")


def _unlooked(req: AdmissionRequest) -> bool:
    # A pod's resources change through its resize subresource only.
    return req.operation == UPDATE and req.resource.name == "pods" and req.subresource != "resize"


def fill_in(pod: Json, ranges: list[Json]) -> None:
    """Container defaults, in place, with a note of what was set."""
    requests: Json = {}
    limits: Json = {}
    for limit_range in ranges:
        for limit in (limit_range.get("spec") or {}).get("limits") or ():
            if limit.get("type") == "Container":
                requests |= limit.get("defaultRequest") or {}
                limits |= limit.get("default") or {}
    spec = pod.get("spec") or {}
    notes = []
    for key, what in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(key) or ():
            notes += _fill_container(container, requests, limits, what)
    if notes:
        annotations = {**(pod["metadata"].get("annotations") or {})}
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
        pod["metadata"]["annotations"] = annotations


def _fill_container(container: Json, requests: Json, limits: Json, what: str) -> list[str]:
    resources = container.setdefault("resources", {})
    notes = []
    for key, word, defaults in (("requests", "request", requests), ("limits", "limit", limits)):
        have = dict(resources.get(key) or {})
        added = sorted(name for name in defaults if name not in have)
        if added:
            resources[key] = have | {name: defaults[name] for name in added}
            notes.append(f"{', '.join(added)} {word} for {what} {container['name']}")
    return notes


def violations(resource: str, obj: Json, limit: Json) -> list[str]:
    """What one item of a limit range forbids about the object."""
    kind = limit.get("type", "")
    found = []
    if resource == "persistentvolumeclaims":
        if kind == "PersistentVolumeClaim":
            requests = ((obj.get("spec") or {}).get("resources") or {}).get("requests") or {}
            found += list(_bounds(kind, limit, requests, requests, claim=True))
        return found
    if kind == "Container":
        spec = obj.get("spec") or {}
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            resources = container.get("resources") or {}
            found += list(_bounds(kind, limit, resources.get("requests") or {}, resources.get("limits") or {}))
    elif kind == "Pod":
        found += list(_bounds(kind, limit, pod_total(obj, "requests"), pod_total(obj, "limits")))
    return found


def pod_total(pod: Json, key: str) -> Json:
    """Requests or limits of a whole pod: its containers together, or one init container if that is more."""
    spec = pod.get("spec") or {}
    total: dict[str, quantity.Quantity] = {}
    containers = spec.get("containers") or []
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*containers, *sidecars]:
        for name, amount in ((container.get("resources") or {}).get(key) or {}).items():
            total[name] = quantity.add(total.get(name, "0"), amount)
    if key == "limits":
        # A pod without a limit somewhere has none as a whole.
        for name in list(total):
            if not all(name in ((c.get("resources") or {}).get(key) or {}) for c in containers):
                del total[name]
    for container in spec.get("initContainers") or ():
        if container in sidecars:
            continue
        for name, amount in ((container.get("resources") or {}).get(key) or {}).items():
            if quantity.cmp(amount, total.get(name, "0")) > 0 and (key == "requests" or name in total):
                total[name] = quantity.parse(amount)
    level = (spec.get("resources") or {}).get(key) or {}
    total.update((name, quantity.parse(amount)) for name, amount in level.items())
    return {name: str(amount) for name, amount in total.items()}


def _bounds(kind: str, limit: Json, requests: Json, limits: Json, claim: bool = False) -> Iterator[str]:
    for name, bound in (limit.get("min") or {}).items():
        yield from _least(kind, name, bound, requests.get(name), None if claim else limits.get(name))
    for name, bound in (limit.get("max") or {}).items():
        if claim:
            yield from _most(kind, name, bound, requests.get(name), None, "request")
        else:
            yield from _most(kind, name, bound, limits.get(name), requests.get(name), "limit")
    for name, bound in (limit.get("maxLimitRequestRatio") or {}).items():
        yield from _ratio(kind, name, bound, requests.get(name), limits.get(name))


def _least(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    what = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        yield f"{what}.  No request is specified"
    elif quantity.cmp(request, bound) < 0:
        yield f"{what}, but request is {request}"
    elif limit is not None and quantity.cmp(limit, bound) < 0:
        yield f"{what}, but limit is {limit}"


def _most(kind: str, name: str, bound: str, first: str | None, request: str | None, word: str) -> Iterator[str]:
    what = f"maximum {name} usage per {kind} is {bound}"
    if first is None:
        yield f"{what}.  No {word} is specified"
    elif quantity.cmp(first, bound) > 0:
        yield f"{what}, but {word} is {first}"
    elif request is not None and quantity.cmp(request, bound) > 0:
        yield f"{what}, but request is {request}"


def _ratio(kind: str, name: str, bound: str, request: str | None, limit: str | None) -> Iterator[str]:
    what = f"{name} max limit to request ratio per {kind} is {bound}"
    for amount, word in ((request, "request"), (limit, "limit")):
        if amount is None or not quantity.parse(amount):
            yield f"{what}, but no {word} is specified or {word} is 0"
            return
    ratio = float(quantity.parse(limit or "0")) / float(quantity.parse(request or "1"))
    if ratio > float(quantity.parse(bound)):
        yield f"{what}, but provided ratio is {ratio:f}"
