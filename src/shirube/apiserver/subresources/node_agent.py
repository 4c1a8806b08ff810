"""Where a node's agent is and how to talk to it: its address, its port, the certificates of both ends.

The API server shows its kubelet client certificate and trusts the kubelet CA. Serving certificates carry the
node's addresses, so the address that is dialled is the name that is verified.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import errors
from shirube.api.gvr import NODES
from shirube.serving.tls import client_context

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
DEFAULT_PORT = 10250
# As upstream's --kubelet-preferred-address-types, without names: who would resolve them is inside the cluster.
_PREFERRED = ("InternalIP", "ExternalIP", "Hostname")
_CONTEXT = "kubelet-tls"


class NodeAgent(NamedTuple):
    host: str
    port: int
    tls: ssl.SSLContext


async def locate(server: ServerContext, node: str) -> NodeAgent:
    """Raises ApiError 404 (no such node), 500 (no address)."""
    found = server.reader.get(NODES, "", node) or await server.store.get(NODES, "", node)
    return NodeAgent(address(found), port(found), tls(server))


def address(node: Json) -> str:
    by_type: dict[str, str] = {}
    for entry in (node.get("status") or {}).get("addresses") or ():
        by_type.setdefault(entry.get("type", ""), entry.get("address", ""))
    for kind in _PREFERRED:
        if by_type.get(kind):
            return by_type[kind]
    raise errors.internal_error(
        f"no preferred addresses found for node {node['metadata']['name']}; known addresses: {sorted(by_type)}"
    )


def port(node: Json) -> int:
    endpoints = (node.get("status") or {}).get("daemonEndpoints") or {}
    return int((endpoints.get("kubeletEndpoint") or {}).get("Port") or DEFAULT_PORT)


def tls(server: ServerContext) -> ssl.SSLContext:
    """One context for all nodes; made when first needed, again when a file has changed (renewal)."""
    options = server.options
    files = (options.kubelet_ca, options.kubelet_client_cert, options.kubelet_client_key)
    stamp = tuple(f.stat().st_mtime_ns if f is not None else 0 for f in files)
    held = server.extensions.get(_CONTEXT)
    if held is None or held[0] != stamp:
        fresh = client_context(files[0], files[1], files[2], insecure=files[0] is None)
        held = server.extensions[_CONTEXT] = (stamp, fresh)
    context: ssl.SSLContext = held[1]
    return context
