"""Where a proxied request goes: `[scheme:]name[:port]` of a service, pod or node to an address.

Services are resolved through their EndpointSlices, so the API server needs no service rules around it. Loopback
and link-local addresses are refused, those of nodes and those behind names too: a pod or node must not make the server
talk to its own machine, least of all with its own credentials.
See "Manually constructing apiserver proxy URLs" in the upstream documentation.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import errors
from shirube.api.gvr import ENDPOINTSLICES, NODES, PODS, SERVICES
from shirube.apiserver.subresources import node_agent

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
SERVICE_NAME = "kubernetes.io/service-name"


class Target(NamedTuple):
    scheme: str  # http, https
    host: str
    port: int
    node_agent: bool = False  # shown our client certificate


def split(text: str) -> tuple[str, str, str]:
    """(scheme, name, port) of `name`, `name:port`, `scheme:name:port`; the scheme is "http" unless said."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0], parts[1], parts[2]
    raise errors.bad_request(f'invalid request "{text}"')


def check_address(host: str) -> None:
    """Raises ApiError 400 for addresses of this machine or link."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address  # ::ffff:127.0.0.1 is this machine as well
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise errors.bad_request("address not allowed")


async def resolved(host: str, port: int) -> str:
    """The address to dial: `host` itself, or what its name stands for now. Raises ApiError 400, 503."""
    check_address(host)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise errors.service_unavailable(f"cannot resolve {host}: {error.strerror or error}") from error
        for *_, where in found:
            check_address(str(where[0]))
        return str(found[0][4][0])
    return host


async def of_pod(server: ServerContext, namespace: str, text: str) -> Target:
    scheme, name, port = split(text)
    pod = await server.store.get(PODS, namespace, name)
    if not port:
        for container in (pod.get("spec") or {}).get("containers") or ():
            if container.get("ports"):
                port = str(container["ports"][0]["containerPort"])
                break
    host = (pod.get("status") or {}).get("podIP", "")
    if not host:
        raise errors.bad_request("address not allowed")
    check_address(host)
    return Target(scheme or "http", host, _number(port, scheme, text))


def _number(port: str, scheme: str, text: str) -> int:
    if not port:
        return 443 if scheme == "https" else 80
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise errors.bad_request(f'invalid request "{text}": "{port}" is not a port')
    return int(port)


async def of_node(server: ServerContext, text: str) -> Target:
    scheme, name, port = split(text)
    node = await server.store.get(NODES, "", name)
    host, agent_port = node_agent.address(node), node_agent.port(node)
    number = int(port) if port.isdigit() else agent_port
    host = await resolved(host, number)
    if number == agent_port:
        # A node says itself where its agent is: it must not be this server, which would believe the certificate.
        if (host, number) == (server.options.advertise_host, server.options.advertise_port):
            raise errors.bad_request("address not allowed")
        return Target("https", host, number, node_agent=True)
    return Target(scheme or "http", host, number)


async def of_service(server: ServerContext, namespace: str, text: str) -> Target:
    scheme, name, port = split(text)
    service = await server.store.get(SERVICES, namespace, name)
    port_name = _port_name(service, name, port)
    choices = list(_endpoints(server, namespace, name, port_name))
    if not choices:
        raise errors.service_unavailable(f'no endpoints available for service "{text}"')
    host, number = server.chance.choice(choices)
    check_address(host)
    return Target(scheme or "http", host, number)


def _port_name(service: Json, name: str, port: str) -> str:
    """The name of the service's port that was asked for by name or number; "" for the only one."""
    ports = (service.get("spec") or {}).get("ports") or []
    if port.isdigit():
        for entry in ports:
            if entry.get("port") == int(port):
                return str(entry.get("name", ""))
        raise errors.service_unavailable(f'no service port {port} found for service "{name}"')
    if port and not any(entry.get("name") == port for entry in ports):
        raise errors.service_unavailable(f'no service port "{port}" found for service "{name}"')
    if not port and len(ports) == 1:
        return str(ports[0].get("name", ""))
    return port


def _endpoints(server: ServerContext, namespace: str, name: str, port_name: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for piece in server.reader.list(ENDPOINTSLICES, namespace):
        if (piece["metadata"].get("labels") or {}).get(SERVICE_NAME) != name:
            continue
        numbers = [
            p["port"]
            for p in piece.get("ports") or ()
            if p.get("name", "") == port_name and p.get("port") and p.get("protocol", "TCP") == "TCP"
        ]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            found += [(a, number) for a in endpoint.get("addresses") or () for number in numbers]
    return found
