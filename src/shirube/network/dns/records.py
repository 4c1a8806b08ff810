"""What a name in the cluster's zone means, from Services and EndpointSlices. Pure over read-only objects.

Follows the Kubernetes DNS-Based Service Discovery specification, schema version 1.1.0.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
SCHEMA_VERSION = "1.1.0"


@dataclass(frozen=True, slots=True)
class Srv:
    port: int
    target: str  # fully qualified, without the final dot


@dataclass(slots=True)
class Found:
    """What there is at a name. `exists` with nothing of the asked type is NODATA, not NXDOMAIN."""

    exists: bool = False
    addresses: tuple[str, ...] = ()
    srv: tuple[Srv, ...] = ()
    cname: str = ""
    text: str = ""
    pointer: str = ""
    # Names that answers mention and their addresses, for the additional section.
    glue: tuple[tuple[str, str], ...] = ()


NOTHING = Found()


class Zone:
    """Looks names up. `service(ns, name)` and `slices(ns, name)` read the informers' stores."""

    def __init__(
        self,
        domain: str,
        service: Callable[[str, str], Object | None],
        slices: Callable[[str, str], Iterable[Object]],
        namespace_exists: Callable[[str], bool],
        by_address: Callable[[str], tuple[Iterable[Object], Iterable[Object]]],
    ) -> None:
        self.domain = domain
        self._service = service
        self._slices = slices
        self._namespace_exists = namespace_exists
        self._by_address = by_address

    def contains(self, name: str) -> bool:
        return name == self.domain or name.endswith("." + self.domain)

    def lookup(self, name: str) -> Found:
        """`name` is lower-case without the final dot, and in the zone."""
        labels = name[: -len(self.domain)].rstrip(".").split(".") if name != self.domain else []
        match labels:
            case []:
                return Found(exists=True)
            case ["dns-version"]:
                return Found(exists=True, text=SCHEMA_VERSION)
            case ["svc"] | ["pod"]:
                return Found(exists=True)
            case [namespace, "svc" | "pod"]:
                return Found(exists=self._namespace_exists(namespace))
            case [dashed, namespace, "pod"]:
                return self._pod(dashed, namespace)
            case [service, namespace, "svc"]:
                return self._whole_service(service, namespace)
            case [hostname, service, namespace, "svc"]:
                return self._endpoint_or_protocol(hostname, service, namespace)
            case [port, protocol, service, namespace, "svc"]:
                return self._port(port, protocol, service, namespace)
        return NOTHING

    def reverse(self, address: str) -> Found:
        """The name of a Service's or a named endpoint's address."""
        services, slices = self._by_address(address)
        for service in services:
            return Found(exists=True, pointer=self._service_name(service["metadata"]))
        for piece in slices:
            service = piece["metadata"]["labels"]["kubernetes.io/service-name"]
            for endpoint in piece.get("endpoints") or []:
                if address in endpoint["addresses"] and endpoint.get("hostname"):
                    base = f"{service}.{piece['metadata']['namespace']}.svc.{self.domain}"
                    return Found(exists=True, pointer=f"{endpoint['hostname']}.{base}")
        return NOTHING

    def _service_name(self, metadata: Object) -> str:
        return f"{metadata['name']}.{metadata['namespace']}.svc.{self.domain}"

    def _pod(self, dashed: str, namespace: str) -> Found:
        address = dashed_address(dashed)
        if address is None or not self._namespace_exists(namespace):
            return NOTHING
        return Found(exists=True, addresses=(address,))

    def _whole_service(self, name: str, namespace: str) -> Found:
        service = self._service(namespace, name)
        if service is None:
            return NOTHING
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return Found(exists=True, cname=spec.get("externalName", "").rstrip(".").lower())
        base = self._service_name(service["metadata"])
        if spec.get("clusterIP") not in (None, "", "None"):
            addresses = tuple(spec.get("clusterIPs") or [spec["clusterIP"]])
            ports = tuple(Srv(p["port"], base) for p in spec.get("ports") or [])
            return Found(exists=True, addresses=addresses, srv=ports, glue=tuple((base, a) for a in addresses))
        endpoints = list(self._endpoints(service))
        return self._headless(endpoints, base) if endpoints else NOTHING

    def _headless(self, endpoints: list[tuple[str, str, list[Object]]], base: str) -> Found:
        addresses = tuple(dict.fromkeys(a for _, a, _ in endpoints))
        srv = tuple(dict.fromkeys(Srv(p["port"], f"{h}.{base}") for h, _, ports in endpoints for p in ports))
        glue = tuple(dict.fromkeys((f"{h}.{base}", a) for h, a, _ in endpoints))
        return Found(exists=True, addresses=addresses, srv=srv, glue=glue)

    def _endpoint_or_protocol(self, first: str, name: str, namespace: str) -> Found:
        service = self._service(namespace, name)
        if service is None:
            return NOTHING
        if first in ("_tcp", "_udp", "_sctp"):
            ports = service["spec"].get("ports") or []
            return Found(exists=any(p.get("protocol", "TCP").lower() == first[1:] for p in ports))
        if service["spec"].get("clusterIP") != "None":
            return NOTHING
        addresses = tuple(dict.fromkeys(a for h, a, _ in self._endpoints(service) if h == first))
        return Found(exists=True, addresses=addresses) if addresses else NOTHING

    def _port(self, port: str, protocol: str, name: str, namespace: str) -> Found:
        service = self._service(namespace, name)
        if service is None or not port.startswith("_") or protocol not in ("_tcp", "_udp", "_sctp"):
            return NOTHING

        def named(p: Object) -> bool:
            return bool(p.get("name", "") == port[1:] and p.get("protocol", "TCP").lower() == protocol[1:])

        base = self._service_name(service["metadata"])
        spec = service["spec"]
        if spec.get("clusterIP") not in (None, "", "None"):
            addresses = tuple(spec.get("clusterIPs") or [spec["clusterIP"]])
            found = tuple(Srv(p["port"], base) for p in spec.get("ports") or [] if named(p))
            return Found(exists=bool(found), srv=found, glue=tuple((base, a) for a in addresses))
        picked = [(h, a, [p for p in ports if named(p)]) for h, a, ports in self._endpoints(service)]
        picked = [e for e in picked if e[2]]
        if not picked:
            return NOTHING
        whole = self._headless(picked, base)
        return Found(exists=True, srv=whole.srv, glue=whole.glue)

    def _endpoints(self, service: Object) -> Iterable[tuple[str, str, list[Object]]]:
        """(hostname, address, ports) of a headless Service's endpoints; unnamed ones get their dashed address."""
        metadata = service["metadata"]
        everybody = service["spec"].get("publishNotReadyAddresses", False)
        for piece in self._slices(metadata["namespace"], metadata["name"]):
            if piece.get("addressType") == "FQDN":
                continue  # names, not addresses: there is no record for them
            ports = [p for p in piece.get("ports") or [] if p.get("port")]
            for endpoint in piece.get("endpoints") or []:
                if not everybody and (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for address in endpoint["addresses"]:
                    yield endpoint.get("hostname") or address.replace(".", "-").replace(":", "-"), address, ports


def dashed_address(dashed: str) -> str | None:
    """`10-244-0-7` -> `10.244.0.7`, `fd00--7` -> `fd00::7`; None for what is no address."""
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(dashed.replace("-", separator)))
        except ValueError:
            continue
    return None
