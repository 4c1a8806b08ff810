"""Services of type LoadBalancer get the nodes' addresses: every node serves the Service's own ports.

For clusters without a cloud: what a cloud's controller would write to `status.loadBalancer` is written here, for
Services without `loadBalancerClass`. The proxies then serve `node address:port`, and the host publishes the port.
A port has one owner: the oldest Service that asks keeps it, others stay pending and are told why.
`plan` is pure; `run` of the gateway carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shirube.api.gvr import SERVICES
from shirube.client.rest import Client
from shirube.foundation.address_family import BOTH, IPV4

Object = dict[str, Any]
Telling = tuple[str, str, str]  # type, reason and message of an Event
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
LEAVING = "ToBeDeletedByClusterAutoscaler"  # a taint
# What a node itself listens on: DNS, its metrics, the node agent, the proxy's health.
RESERVED = {("TCP", 53), ("UDP", 53), ("TCP", 9153), ("TCP", 10250), ("TCP", 10256)}


@dataclass(slots=True)
class Step:
    """One Service whose status is to be written, or who is to be told why it stays pending."""

    service: Object
    addresses: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def writes(self) -> bool:
        return self.addresses != _ingress(self.service)

    def told(self) -> tuple[list[Telling], list[Telling]]:
        """What to say before the write, and after it, as a cloud's controller does."""
        if self.service["spec"].get("type") != "LoadBalancer":
            return [("Normal", "DeletingLoadBalancer", "Deleting load balancer")], [
                ("Normal", "DeletedLoadBalancer", "Deleted load balancer")
            ]
        if self.refusal:
            return [], []  # said in words of its own
        if not self.addresses:
            return [], [("Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")]
        if _ingress(self.service):
            return [], [("Normal", "UpdatedLoadBalancer", "Updated load balancer with new hosts")]
        return [("Normal", "EnsuringLoadBalancer", "Ensuring load balancer")], [
            ("Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        ]


def plan(services: Iterable[Object], nodes: Mapping[str, Object], serving: Mapping[str, set[str]]) -> list[Step]:
    """`nodes`: address -> Node; `serving`: namespace/name -> addresses of nodes with endpoints (policy Local)."""
    steps = []
    owners: dict[tuple[str, int], str] = {}
    usable = sorted(a for a, node in nodes.items() if _serves(node))
    for service in sorted(services, key=_age):
        spec, metadata = service["spec"], service["metadata"]
        if spec.get("loadBalancerClass") or metadata.get("deletionTimestamp"):
            continue
        addresses: tuple[str, ...] = ()
        refusal = ""
        if spec.get("type") == "LoadBalancer":
            refusal = _claim(service, owners)
            if not refusal:
                chosen: Iterable[str] = usable
                if spec.get("externalTrafficPolicy") == "Local":
                    here = serving.get(f"{metadata['namespace']}/{metadata['name']}", set())
                    chosen = [a for a in usable if a in here]
                families = spec.get("ipFamilies") or [IPV4.api]
                addresses = tuple(a for f in BOTH if f.api in families for a in f.among(chosen))
        if refusal or addresses != _ingress(service):
            steps.append(Step(service, addresses, refusal))
    return steps


def _serves(node: Object) -> bool:
    """Whether it is ready does not count: a node that is silent for a moment would cut its connections."""
    metadata, spec = node["metadata"], node.get("spec") or {}
    leaving = metadata.get("deletionTimestamp") or any(t["key"] == LEAVING for t in spec.get("taints") or ())
    return not leaving and EXCLUDED not in (metadata.get("labels") or {})


def _age(service: Object) -> tuple[bool, str, str, str]:
    metadata = service["metadata"]
    # Who has addresses already keeps its ports, whatever its age.
    return not _ingress(service), metadata.get("creationTimestamp", ""), metadata["namespace"], metadata["name"]


def _ingress(service: Object) -> tuple[str, ...]:
    listed = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    return tuple(i.get("ip", "") for i in listed)


def _claim(service: Object, owners: dict[tuple[str, int], str]) -> str:
    """Take the Service's ports; a sentence when one is not to be had."""
    ports = [(p.get("protocol", "TCP"), p["port"]) for p in service["spec"].get("ports") or []]
    for port in ports:
        if port in RESERVED:
            return f"port {port[1]}/{port[0]} is used by the nodes themselves; choose another port"
        if (owner := owners.get(port)) is not None:
            return f"port {port[1]}/{port[0]} belongs to Service {owner}; choose another port or delete that Service"
    for port in ports:
        owners[port] = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    return ""


async def carry_out(client: Client, step: Step) -> None:
    """Write the status that the step wants."""
    metadata = step.service["metadata"]
    ingress = [{"ip": address, "ipMode": "VIP"} for address in step.addresses]
    status = {"status": {"loadBalancer": {"ingress": ingress or None}}}
    await client.patch(SERVICES, metadata["name"], status, metadata["namespace"], "merge", subresource="status")
