"""From a Service's backends to EndpointSlices, with as few writes as possible: pure.

As upstream's endpointslice reconciler: endpoints with the same address family and the same ports share
slices of at most 100. What is in a slice stays there; new endpoints go first into slices that are written
anyway; the others into one with room for all of them, or into new ones; a slice that has become empty goes, or
becomes the new one. A service without backends has one empty slice for each family, so that "no endpoints" can
be told from "not yet looked at".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from shirube.client.rest import Object
from shirube.controllers import endpoint_topology as topology
from shirube.controllers import pods as of_pods
from shirube.controllers import service_backends as behind
from shirube.controllers.ownership import deleting

MOST = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
_ZONE = "topology.kubernetes.io/zone"

Group = tuple[str, tuple[behind.Port, ...]]


@dataclass(slots=True)
class Plan:
    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    no_hints: dict[str, str] = field(default_factory=dict)  # address family -> why zones could not be dealt

    @property
    def empty(self) -> bool:
        return not (self.create or self.update or self.delete)


def endpoint_of(service: Object, pod: Object, address: str, node: Object | None) -> Object:
    serving = of_pods.ready(pod)
    terminating = bool(pod["metadata"].get("deletionTimestamp"))
    ready = behind.publishes_not_ready(service) or (serving and not terminating)
    out: Object = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": behind.target_reference(pod),
    }
    if name := behind.hostname_of(service, pod):
        out["hostname"] = name
    if node_name := pod["spec"].get("nodeName"):
        out["nodeName"] = node_name
    zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(_ZONE)
    if zone:
        out["zone"] = zone
    if hints := _hints(service, out):
        out["hints"] = hints
    return out


def _hints(service: Object, endpoint: Object) -> Object:
    """Where traffic should rather come from, by `trafficDistribution`."""
    wish = service["spec"].get("trafficDistribution")
    hints: Object = {}
    if not endpoint["conditions"]["ready"] or topology.wanted_for(service):
        return hints
    if wish in ("PreferClose", "PreferSameZone", "PreferSameNode") and endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wish == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


def wanted_endpoints(service: Object, pods: Iterable[Object], nodes: dict[str, Object]) -> dict[Group, list[Object]]:
    """Endpoints by family and ports. Pods whose named ports do not exist have none of those ports."""
    wanted: dict[Group, list[Object]] = {}
    for pod in pods:
        for family in behind.families(service):
            address = behind.address_of(pod, family)
            if address is None:
                continue
            group = (family, tuple(sorted(behind.ports_of(service, pod))))
            node = nodes.get(pod["spec"].get("nodeName") or "")
            wanted.setdefault(group, []).append(endpoint_of(service, pod, address, node))
    return wanted


def group_of(endpoint_slice: Object) -> Group:
    ports = tuple(
        sorted(
            behind.Port(
                p.get("name") or "",
                p.get("port") or 0,
                p.get("protocol") or "TCP",
                p.get("appProtocol") or "",
            )
            for p in endpoint_slice.get("ports") or ()
        )
    )
    return endpoint_slice["addressType"], ports


def labels_of(service: Object) -> dict[str, str]:
    labels = {
        k: v
        for k, v in (service["metadata"].get("labels") or {}).items()
        if k not in (behind.HEADLESS_LABEL, SERVICE_NAME, MANAGED_BY)
    }
    if behind.headless(service):
        labels[behind.HEADLESS_LABEL] = ""
    return {**labels, SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: CONTROLLER}


def _identity(endpoint: Object) -> tuple[str, str]:
    return endpoint["addresses"][0], (endpoint.get("targetRef") or {}).get("uid", "")


def _new_slice(service: Object, group: Group, endpoints: list[Object]) -> Object:
    family, ports = group
    metadata = service["metadata"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": metadata["name"][:57] + "-",
            "namespace": metadata["namespace"],
            "labels": labels_of(service),
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [port.to_dict() for port in ports],
    }


@dataclass(slots=True)
class _Draft:
    """An existing slice being worked over."""

    old: Object
    endpoints: list[Object]
    changed: bool


def plan(
    service: Object,
    pods: Iterable[Object],
    nodes: dict[str, Object],
    existing: Iterable[Object],
    shares: Mapping[str, Fraction] | None = None,
) -> Plan:
    """`shares`: of the zones, when endpoints are to be dealt out to them (see `endpoint_topology`)."""
    wanted = wanted_endpoints(service, pods, nodes)
    have: dict[Group, list[Object]] = {}
    out, strangers = Plan(), []
    for one in existing:
        if _owned(service, one):
            have.setdefault(group_of(one), []).append(one)
        elif not deleting(one):
            strangers.append(one)
    if shares is not None:
        _deal(service, wanted, shares, out)
    labels = labels_of(service)
    for group in dict.fromkeys((*wanted, *have)):
        _plan_group(service, group, wanted.get(group, []), have.get(group, []), labels, out)
    _keep_one_of_each_family(service, wanted, have, out)
    reuse(out)
    out.delete += strangers
    return out


def _deal(service: Object, wanted: dict[Group, list[Object]], shares: Mapping[str, Fraction], out: Plan) -> None:
    """Hints for all endpoints of a family together, whatever their ports."""
    for family in behind.families(service):
        endpoints = [e for group, some in wanted.items() if group[0] == family for e in some]
        try:
            topology.give_hints(endpoints, shares)
        except topology.Impossible as why:
            out.no_hints[family] = str(why)


def _plan_group(
    service: Object,
    group: Group,
    wanted: list[Object],
    have: list[Object],
    labels: dict[str, str],
    out: Plan,
) -> None:
    missing = {_identity(e): e for e in wanted}
    drafts = []
    for old in sorted(have, key=lambda s: s["metadata"]["name"]):
        before = old.get("endpoints") or []
        kept = [missing.pop(i) for e in before if (i := _identity(e)) in missing]
        changed = kept != before or (old["metadata"].get("labels") or {}) != labels
        drafts.append(_Draft(old, kept, changed))
    rest = list(missing.values())
    # Slices to be written anyway first, the fullest first, then those that have become empty.
    for draft in sorted(drafts, key=lambda d: -len(d.endpoints)):
        if rest and (draft.changed or not draft.endpoints):
            room = MOST - len(draft.endpoints)
            draft.endpoints, rest, draft.changed = draft.endpoints + rest[:room], rest[room:], True
    # Whole new slices; the last endpoints go into an untouched slice that has room for all of them, if there is one.
    while rest:
        fitting = [d for d in drafts if not d.changed and d.endpoints and len(d.endpoints) + len(rest) <= MOST]
        if fitting:
            draft = max(fitting, key=lambda d: len(d.endpoints))
            draft.endpoints, rest, draft.changed = draft.endpoints + rest, [], True
        else:
            out.create.append(_new_slice(service, group, rest[:MOST]))
            rest = rest[MOST:]
    for draft in drafts:
        if not draft.endpoints:
            out.delete.append(draft.old)
        elif draft.changed:
            out.update.append(_rewritten(draft.old, draft.endpoints, labels))


def _owned(service: Object, one: Object) -> bool:
    """Not one on its way out. Those of a Service of that name that is no more, or that nobody owns, are strangers: they
    would outlive this Service, or go with the other one."""
    owners = one["metadata"].get("ownerReferences") or ()
    return not deleting(one) and any(
        o["uid"] == service["metadata"]["uid"] and o["kind"] == "Service" and o["apiVersion"] == "v1" for o in owners
    )


def reuse(out: Plan) -> None:
    """A slice that would go and one that would come are one write, and nobody sees a moment without either: when a
    Service gets another target port, its slices keep their names."""
    for old in list(out.delete):
        new = next((c for c in out.create if c["addressType"] == old["addressType"]), None)
        if new is None:
            continue
        out.delete.remove(old)
        out.create.remove(new)
        described = {k: v for k, v in new["metadata"].items() if k in ("labels", "annotations")}
        metadata = {**old["metadata"], **described}
        out.update.append({**old, "metadata": metadata, "endpoints": new["endpoints"], "ports": new["ports"]})


def _rewritten(old: Object, endpoints: list[Object], labels: dict[str, str]) -> Object:
    return {**old, "metadata": {**old["metadata"], "labels": labels}, "endpoints": endpoints}


def _keep_one_of_each_family(
    service: Object, wanted: dict[Group, list[Object]], have: dict[Group, list[Object]], out: Plan
) -> None:
    for family in behind.families(service):
        if any(group[0] == family for group in wanted):
            continue
        spare = [s for s in out.delete if s["addressType"] == family]
        placeholder = next((s for s in spare if not s.get("ports")), None)
        if placeholder is None:
            out.create.append(_new_slice(service, (family, ()), []))
            continue
        out.delete.remove(placeholder)
        labels = labels_of(service)
        if placeholder.get("endpoints") or (placeholder["metadata"].get("labels") or {}) != labels:
            out.update.append(_rewritten(placeholder, [], labels))
