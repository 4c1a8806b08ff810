"""Rows of what connects: services, endpoints, ingresses, policies, addresses."""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import NONE, UNSET, labels_text, limited, selector_text
from shirube.api.printers.column import AGE, NAME, SELECTOR, Column, Obj, Printer
from shirube.api.printers.duration import age

_SHOWN = 3


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _load_balancer(obj: Obj) -> list[str]:
    found = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return sorted({i.get("ip") or i.get("hostname", "") for i in found})


def _external_ip(obj: Obj) -> str:
    spec = obj.get("spec") or {}
    given = list(spec.get("externalIPs") or ())
    kind = spec.get("type", "")
    if kind == "LoadBalancer":
        return ",".join([*_load_balancer(obj), *given]) or "<pending>"
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    return ",".join(given) or NONE


def _port_text(port: Obj) -> str:
    protocol = port.get("protocol", "")
    if node := port.get("nodePort"):
        return f"{port.get('port')}:{node}/{protocol}"
    return f"{port.get('port')}/{protocol}"


def _service(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [
        _name(obj),
        spec.get("type", ""),
        addresses[0] or NONE,
        _external_ip(obj),
        ",".join(_port_text(p) for p in spec.get("ports") or ()) or NONE,
        age(obj, now),
        labels_text(spec.get("selector")),
    ]


def _host_port(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoints(obj: Obj, now: float) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or []
        if not ports:
            found += addresses
        for port in ports:
            found += [_host_port(a, port.get("port")) for a in addresses]
    return [_name(obj), limited(found, _SHOWN) or NONE, age(obj, now)]


def _endpoint_slice(obj: Obj, now: float) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [
        _name(obj),
        obj.get("addressType", ""),
        limited(ports, _SHOWN) or UNSET,
        limited(addresses, _SHOWN) or UNSET,
        age(obj, now),
    ]


def _ingress(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    rules = spec.get("rules") or []
    hosts = [r["host"] for r in rules if r.get("host")]
    shown = ",".join(hosts[:_SHOWN]) or "*"
    if len(hosts) > _SHOWN:
        shown = f"{shown} + {len(rules) - _SHOWN} more..."
    return [
        _name(obj),
        spec.get("ingressClassName") or NONE,
        shown,
        ",".join(_load_balancer(obj)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _ingress_class(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters is not None:
        shown = str(parameters.get("kind", ""))
        if group := parameters.get("apiGroup"):
            shown += f".{group}"
        shown += f"/{parameters.get('name', '')}"
    return [_name(obj), spec.get("controller", ""), shown, age(obj, now)]


def _network_policy(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), selector_text((obj.get("spec") or {}).get("podSelector")), age(obj, now)]


def _ip_address(obj: Obj, now: float) -> list[Any]:
    parent = (obj.get("spec") or {}).get("parentRef")
    shown = NONE
    if parent is not None:
        resource = ".".join(filter(None, (parent.get("resource"), parent.get("group"))))
        shown = "/".join(filter(None, (resource, parent.get("namespace"), parent.get("name"))))
    return [_name(obj), shown]


def _service_cidr(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now)]


PRINTERS = {
    ("", "endpoints"): Printer((NAME, Column("Endpoints", "Addresses and ports that are ready."), AGE), _endpoints),
    ("", "services"): Printer(
        (
            NAME,
            Column("Type", "How the service is reached."),
            Column("Cluster-IP", "Address inside the cluster."),
            Column("External-IP", "Addresses from outside."),
            Column("Port(s)", "Ports, with their node ports."),
            AGE,
            SELECTOR,
        ),
        _service,
    ),
    ("discovery.k8s.io", "endpointslices"): Printer(
        (
            NAME,
            Column("AddressType", "Kind of the addresses."),
            Column("Ports", "Ports of the endpoints."),
            Column("Endpoints", "Addresses of the endpoints."),
            AGE,
        ),
        _endpoint_slice,
    ),
    ("networking.k8s.io", "ingressclasses"): Printer(
        (
            NAME,
            Column("Controller", "Controller that serves ingresses of this class."),
            Column("Parameters", "Object that configures the controller."),
            AGE,
        ),
        _ingress_class,
    ),
    ("networking.k8s.io", "ingresses"): Printer(
        (
            NAME,
            Column("Class", "Name of the ingress class."),
            Column("Hosts", "Host names that are routed."),
            Column("Address", "Addresses of the load balancer."),
            Column("Ports", "Ports of the load balancer."),
            AGE,
        ),
        _ingress,
    ),
    ("networking.k8s.io", "ipaddresses"): Printer(
        (NAME, Column("ParentRef", "Object that holds the address.")), _ip_address
    ),
    ("networking.k8s.io", "networkpolicies"): Printer(
        (NAME, Column("Pod-Selector", "Pods that the policy is about."), AGE), _network_policy
    ),
    ("networking.k8s.io", "servicecidrs"): Printer(
        (NAME, Column("CIDRs", "Ranges that service addresses are taken from."), AGE), _service_cidr
    ),
}
