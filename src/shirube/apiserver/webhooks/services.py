"""From a service to somebody who serves it, for calls of the server itself (webhooks, aggregated servers).

Resolved through EndpointSlices at the moment of the call, so the API server needs no service rules around it;
ExternalName services lead to their name. Wordings are upstream's (`proxy.ResolveEndpoint`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.gvr import ENDPOINTSLICES, SERVICES

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


def resolve(server: ServerContext, namespace: str, name: str, port: int) -> tuple[str, int]:
    """(address, port) of one ready endpoint, chosen at random. Raises ApiError."""
    # Here, because handlers import admission, and admission imports this.
    from shirube.apiserver.subresources.proxy_target import check_address

    service = server.reader.get(SERVICES, namespace, name)
    if service is None:
        raise errors.not_found("services", name)
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return spec["externalName"], port
    declared = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if declared is None:
        raise errors.service_unavailable(f'no service port {port} found for service "{name}"')
    choices = endpoints_of(slices_of(server, namespace, name), declared.get("name") or "")
    if not choices:
        raise errors.service_unavailable(f'no endpoints available for service "{name}"')
    host, number = server.chance.choice(choices)
    check_address(host)
    return host, number


def slices_of(server: ServerContext, namespace: str, name: str) -> list[Json]:
    """The EndpointSlices of a service."""
    from shirube.apiserver.subresources.proxy_target import SERVICE_NAME

    found = server.reader.list(ENDPOINTSLICES, namespace)
    return [piece for piece in found if (piece["metadata"].get("labels") or {}).get(SERVICE_NAME) == name]


def endpoints_of(slices: list[Json], port_name: str) -> list[tuple[str, int]]:
    """(address, port) of every ready endpoint."""
    choices = []
    for piece in slices:
        named = [p for p in piece.get("ports") or () if (p.get("name") or "") == port_name and p.get("port")]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                choices += [(a, p["port"]) for a in endpoint.get("addresses") or () for p in named]
    return choices
