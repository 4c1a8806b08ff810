"""What the search found, as the claim's status says it: devices, configuration, and which nodes they can be used on."""

from __future__ import annotations

from typing import Any

from shirube.foundation.chance import Chance
from shirube.scheduler.devices.allocator import Request, Result, alternatives
from shirube.scheduler.devices.capacity import written

Object = dict[str, Any]


def allocation(devices: Object, results: list[Result], classes: dict[str, Object], node: str, chance: Chance) -> Object:
    """An `allocation` of resource.k8s.io/v1; `devices` is the claim's spec.devices."""
    chosen = _chosen(devices, results)
    made: Object = {"devices": {"results": [_device(r, chance) for r in results]}}
    if config := _config(devices, chosen, classes):
        made["devices"]["config"] = config
    if selector := _node_selector(results, node):
        made["nodeSelector"] = selector
    return made


def _device(result: Result, chance: Chance) -> Object:
    one, spec = result.candidate, result.request.spec
    found: Object = {
        "request": result.request.full_name,
        "driver": one.id.driver,
        "pool": one.id.pool,
        "device": one.id.device,
    }
    if spec.get("adminAccess"):
        found["adminAccess"] = True
    if spec.get("tolerations"):
        found["tolerations"] = spec["tolerations"]
    if result.capacity is not None:
        found["shareID"] = chance.uid()
        if result.capacity:
            found["consumedCapacity"] = written(result.capacity, one.device)
    for field in ("bindingConditions", "bindingFailureConditions"):
        if one.device.get(field):
            found[field] = one.device[field]
    return found


def _chosen(devices: Object, results: list[Result]) -> list[Request]:
    """Of each request the alternative that was taken."""
    taken = {r.request.full_name for r in results}
    return [
        one
        for request in devices.get("requests") or ()
        for one in alternatives(0, request)
        if not one.alternative or one.full_name in taken
    ]


def _config(devices: Object, chosen: list[Request], classes: dict[str, Object]) -> list[Object]:
    """Of the classes first, each once for all of its requests, then the claim's own where they are about these."""
    found: list[Object] = []
    by_class: dict[str, list[str]] = {}
    for request in chosen:
        by_class.setdefault(request.spec["deviceClassName"], []).append(request.full_name)
    for name, requests in by_class.items():
        for entry in (classes[name].get("spec") or {}).get("config") or ():
            found.append({"source": "FromClass", "requests": requests, **_opaque(entry)})
    names = {name for r in chosen for name in (r.name, r.full_name)}
    for entry in devices.get("config") or ():
        if not entry.get("requests") or names.intersection(entry["requests"]):
            found.append({"source": "FromClaim", "requests": entry.get("requests") or [], **_opaque(entry)})
    everything = len(devices.get("requests") or ())
    for line in found:
        if not line["requests"] or len(line["requests"]) == everything:
            del line["requests"]  # none named means all
    return found


def _opaque(entry: Object) -> Object:
    return {"opaque": entry["opaque"]} if "opaque" in entry else {}


def _node_selector(results: list[Result], node: str) -> Object | None:
    """Where all of the devices can be reached; None for anywhere."""
    by_name = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}
    expressions: list[Object] = []
    fields: list[Object] = []
    for result in results:
        spec = result.candidate.slice["spec"]
        place = result.candidate.device if spec.get("perDeviceNodeSelection") else spec
        if place.get("nodeName") or result.candidate.device.get("bindsToNode"):
            return by_name
        for term in (place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            expressions += [e for e in term.get("matchExpressions") or () if e not in expressions]
            fields += [f for f in term.get("matchFields") or () if f not in fields]
    term = {k: v for k, v in (("matchExpressions", expressions), ("matchFields", fields)) if v}
    return {"nodeSelectorTerms": [term]} if term else None
