"""exec, attach and port-forward: tunnels from the client to the agent of the pod's node.

The agent's HTTP API is upstream's kubelet's (`/exec/NS/POD/CONTAINER`, …); the bytes after the upgrade are passed
through untouched. Opening a stream with GET (WebSockets can do nothing else) asks for the right to create it,
too: who may only read must not execute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from shirube.api import errors
from shirube.api.gvr import PODS
from shirube.apiserver import authorizing
from shirube.apiserver.admission.request import CONNECT
from shirube.apiserver.subresources import node_agent, pod_containers, tunnel
from shirube.apiserver.subresources.admitting import admit, only
from shirube.serving.messages import Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
# Our query parameter -> the agent's
_STREAMS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
_PASSED = (
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "x-stream-protocol-version",
    "origin",
)
_OPTIONS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}


async def exec_in(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    pod = await _pod(server, rc, "exec")
    container = pod_containers.choose(pod, rc.params.get("container"))
    commands = rc.params.all("command")
    if not commands:
        raise errors.bad_request("you must specify at least 1 command for the container")
    query = _flags(rc) + [("command", c) for c in commands]
    return await _tunnel(server, rc, pod, f"/exec/{{}}/{quote(container)}", query)


async def attach(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    pod = await _pod(server, rc, "attach")
    container = pod_containers.choose(pod, rc.params.get("container"))
    return await _tunnel(server, rc, pod, f"/attach/{{}}/{quote(container)}", _flags(rc))


async def port_forward(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    pod = await _pod(server, rc, "portforward")
    query = [("port", port) for values in rc.params.all("ports") for port in values.split(",") if port]
    return await _tunnel(server, rc, pod, "/portForward/{}", query)


def _flags(rc: RequestContext) -> list[tuple[str, str]]:
    defaults = {"stdout": True, "stderr": True} if not any(ours in rc.params for ours, _ in _STREAMS) else {}
    return [(theirs, "1") for ours, theirs in _STREAMS if rc.params.flag(ours, defaults.get(ours, False))]


async def _pod(server: ServerContext, rc: RequestContext, kind: str) -> Json:
    only(rc, "get", "create")
    if rc.info.verb == "get":
        await authorizing.check(server, replace(rc.attributes, verb="create"))
    pod = await server.store.get(PODS, rc.namespace, rc.name)
    options: Json = {"kind": _OPTIONS[kind], "apiVersion": "v1", "metadata": {}}
    await admit(server, rc, CONNECT, options)
    if not (pod.get("spec") or {}).get("nodeName"):
        raise errors.bad_request(f"pod {rc.name} does not have a host assigned")
    return pod


async def _tunnel(
    server: ServerContext, rc: RequestContext, pod: Json, path: str, query: list[tuple[str, str]]
) -> Response | Upgrade:
    if not tunnel.wants_upgrade(rc.request):
        raise errors.bad_request("Upgrade request required")
    agent = await node_agent.locate(server, pod["spec"]["nodeName"])
    target = path.format(f"{quote(rc.namespace)}/{quote(rc.name)}")
    if query:
        target += "?" + urlencode(query)
    return await tunnel.open_tunnel(agent.host, agent.port, rc.request.method, target, _headers(rc), agent.tls)


def _headers(rc: RequestContext) -> list[tuple[str, str]]:
    return tunnel.without_credentials((n, v) for n, v in rc.request.headers.items() if n in _PASSED)
