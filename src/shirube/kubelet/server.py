"""The node agent's HTTPS API on port 10250: logs, exec, attach, port-forward, pods, metrics, health.

`ROUTES` is all that it serves; each row says how it is authorised: the `nodes/…` subresource of which the caller
must have the verb. Streaming rows ask for `create` whatever the method: a WebSocket can only be opened with GET, and
reading a node must not be enough to run commands on it.
Start it with `serve(agent, options, stop)`; it ends when `stop` is set.
Follows the upstream kubelet's API (`pkg/kubelet/server`); errors are plain text, as its clients expect.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote

import orjson

from shirube.api.errors import ApiError
from shirube.foundation import log
from shirube.kubelet import pod as pods
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.runtime_state import RUNNING
from shirube.kubelet.server_access import Access, User
from shirube.kubelet.server_agent import ServedAgent
from shirube.kubelet.server_logs import container_logs
from shirube.kubelet.server_metrics import ServerCounters, metrics_text
from shirube.kubelet.stats_metrics import resource_metrics
from shirube.kubelet.streaming_relay import IDLE_TIMEOUT
from shirube.kubelet.streaming_runtime import (
    Streams,
    is_upgrade,
    plain,
    port_forward_response,
    remote_command_response,
)
from shirube.serving.http import Connection, Request, Response, Server, Upgrade
from shirube.serving.tls import server_context
from shirube.streaming import websocket

_logger = log.get("kubelet.server")
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_DRAIN_SECONDS = 1.0
# gRPC codes of the runtime that are more than an internal error.
_CRI_STATUS = {"NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "INVALID_ARGUMENT": 400, "UNAVAILABLE": 503}

Parameters = Mapping[str, str]
Answer = Response | Upgrade


class ServedOptions(Protocol):
    """What `agent.Options` has for this server."""

    @property
    def node_name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls_cert(self) -> Path | str: ...
    @property
    def tls_key(self) -> Path | str: ...
    @property
    def client_ca(self) -> Path | str: ...


class NodeApi:
    """Requests to answers."""

    def __init__(self, agent: ServedAgent, access: Access) -> None:
        self.agent = agent
        self.access = access
        self.counters = ServerCounters()

    async def handle(self, request: Request) -> Answer:
        """Find the route, authenticate, authorise, answer."""
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        route, parameters = _match(parts)
        answer = await self._answer(request, route, parameters)
        label = "/" + route.path[0] if route is not None else "other"
        self.counters.requests[label, 101 if isinstance(answer, Upgrade) else answer.status] += 1
        return self._counted(label, answer) if isinstance(answer, Upgrade) else answer

    async def _answer(self, request: Request, route: Route | None, parameters: Parameters) -> Answer:
        try:
            user = await self.access.user(request.headers, request.peer)
        except (ApiError, TimeoutError) as error:
            _logger.warning("cannot authenticate a request", error=str(error))
            user = None
        if user is None:
            return plain(401, "Unauthorized")
        if (refused := await self._authorise(user, request, route)) is not None:
            return refused
        if route is None:
            return plain(404, "404 page not found")
        if request.method not in route.methods:
            return plain(405, "Method Not Allowed", [("Allow", ", ".join(route.methods))])
        try:
            return await route.serve(self, request, parameters)
        except CriError as error:
            headers = [("Retry-After", "1")] if error.code == "RESOURCE_EXHAUSTED" else []
            return plain(_CRI_STATUS.get(error.code, 500), str(error), headers)

    async def _authorise(self, user: User, request: Request, route: Route | None) -> Response | None:
        verb = (route.verb if route is not None else "") or _VERBS.get(request.method, "")
        subresources = route.subresources if route is not None else ("proxy",)
        try:
            for subresource in subresources:
                if await self.access.allowed(user, verb, subresource):
                    return None
        except (ApiError, TimeoutError) as error:
            _logger.warning("cannot authorise a request", user=user.name, error=str(error))
            return plain(500, f"Authorization error (user={user.name}, verb={verb}, resource=nodes)")
        shown = " ".join(subresources)
        text = f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{shown}])\n"
        return plain(403, text)

    def _counted(self, label: str, upgrade: Upgrade) -> Upgrade:
        inner = upgrade.run

        async def run(connection: Connection) -> None:
            self.counters.open_streams[label] += 1
            try:
                await inner(connection)
            finally:
                self.counters.open_streams[label] -= 1

        return Upgrade(upgrade.headers, run)

    # -- pods and containers

    def pod(self, parameters: Parameters) -> pods.Pod | Response:
        pod = self.agent.pods.get(parameters["namespace"], parameters["pod"])
        if pod is None:
            return plain(404, "pod does not exist")
        if parameters.get("uid", pods.uid(pod)) != pods.uid(pod):
            return plain(404, "pod not found")
        return pod

    def running_container(self, pod: pods.Pod, name: str) -> str | Response:
        """The ID of a container that commands can be run in."""
        found = self.agent.pods.container(pods.namespace(pod), pods.name(pod), name)
        if found is None:
            return plain(500, f'container not found ("{name}")')
        if found.state != RUNNING:
            return plain(500, f'cannot connect to container "{name}": it is not running ({found.state})')
        return found.id


# -- what the routes do


async def _health(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    return plain(200, "ok")


async def _pods(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(api.agent.pods.list())}
    return Response(200, orjson.dumps(body))


async def _metrics(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    text = metrics_text(api.agent, api.counters)
    return Response(200, text, [], "text/plain; version=0.0.4; charset=utf-8")


async def _resource_metrics(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    usage = api.agent.usage
    text = resource_metrics(await usage.snapshot(), usage.working_set())
    return Response(200, text, [], "text/plain; version=0.0.4; charset=utf-8")


async def _cadvisor_metrics(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    text = await api.agent.usage.cadvisor()
    return Response(200, text, [], "text/plain; version=0.0.4; charset=utf-8")


async def _summary(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    asked = parse_qs(request.query).get("only_cpu_and_memory", [""])[0]
    return Response(200, orjson.dumps(await api.agent.usage.summary(asked in ("1", "true"))))


async def _configz(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    return Response(200, orjson.dumps(api.agent.usage.configuration()))


async def _logs(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    return await container_logs(api.agent, request, parameters["namespace"], parameters["pod"], parameters["container"])


async def _run(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    return plain(404, "run is not served by this node: use exec")


async def _exec(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    command = parse_qs(request.query, keep_blank_values=True).get("command") or []
    if not command:
        return plain(400, "you must specify a command")
    return await _remote_command(api, request, parameters, "Exec", command)


async def _attach(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    return await _remote_command(api, request, parameters, "Attach", [])


async def _remote_command(
    api: NodeApi, request: Request, parameters: Parameters, method: str, command: list[str]
) -> Answer:
    if not await is_upgrade(request):
        return plain(400, "Upgrade request required")
    pod = api.pod(parameters)
    if isinstance(pod, Response):
        return pod
    name = parameters["container"]
    container_id = api.running_container(pod, name)
    if isinstance(container_id, Response):
        return container_id
    streams = requested_streams(request.query)
    if method == "Attach":
        # Whether there is a terminal was settled when the container started.
        spec = pods.container_named(pod, name)
        tty = bool(spec is not None and spec.get("tty"))
        streams = Streams(streams.stdin, streams.stdout, streams.stderr and not tty, tty)
    if not (streams.stdin or streams.stdout or streams.stderr):
        return plain(400, "you must specify at least 1 of stdin, stdout, stderr")
    fields = {"stdin": streams.stdin, "stdout": streams.stdout, "stderr": streams.stderr, "tty": streams.tty}
    if method == "Exec":
        answer = await api.agent.runtime.call("Exec", container_id=container_id, cmd=command, **fields)
    else:
        answer = await api.agent.runtime.call("Attach", container_id=container_id, **fields)
    return await remote_command_response(request, answer.url, streams)


def requested_streams(query: str) -> Streams:
    """Streams of a query, in the kubelet's words (`input=1`) or the API's (`stdin=true`)."""
    given = parse_qs(query)

    def asked(*names: str) -> bool:
        return any(given.get(name, [""])[0] in ("1", "true") for name in names)

    tty = asked("tty")
    return Streams(
        stdin=asked("input", "stdin"),
        stdout=asked("output", "stdout"),
        stderr=asked("error", "stderr") and not tty,  # a terminal has one output
        tty=tty,
    )


async def _port_forward(api: NodeApi, request: Request, parameters: Parameters) -> Answer:
    if not await is_upgrade(request):
        return plain(400, "Upgrade request required")
    pod = api.pod(parameters)
    if isinstance(pod, Response):
        return pod
    worker = api.agent.pods.worker(pods.namespace(pod), pods.name(pod))
    sandbox = worker.runtime.sandbox if worker is not None else None
    if sandbox is None or not sandbox.ready:
        return plain(500, f'cannot forward ports of pod "{pods.name(pod)}": its sandbox is not running')
    ports: list[int] = []
    if websocket.is_upgrade(request.headers.items()):
        # Over channels the ports are in the query; over SPDY each stream names its own.
        try:
            given = parse_qs(request.query).get("ports") or parse_qs(request.query).get("port") or []
            ports = [int(port) for text in given for port in text.split(",")]
        except ValueError:
            return plain(400, "unable to parse the ports to forward: not integers")
        if any(not 0 < port < 65536 for port in ports):
            return plain(400, "ports to forward must be between 1 and 65535")
    answer = await api.agent.runtime.call("PortForward", pod_sandbox_id=sandbox.id, port=ports)
    return await port_forward_response(request, answer.url)


# -- routes

Serve = Callable[[NodeApi, Request, Parameters], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    path: tuple[str, ...]  # "{name}" matches any one part
    methods: tuple[str, ...]
    # Any one of these `nodes/…` is enough.
    subresources: tuple[str, ...]
    serve: Serve
    verb: str = ""  # "" is the request method's


_READ, _STREAM = ("GET",), ("GET", "POST")
_POD = ("{namespace}", "{pod}")

ROUTES = (
    Route(("healthz",), _READ, ("healthz", "proxy"), _health),
    Route(("pods",), _READ, ("pods", "proxy"), _pods),
    Route(("metrics",), _READ, ("metrics",), _metrics),
    Route(("metrics", "resource"), _READ, ("metrics",), _resource_metrics),
    Route(("metrics", "cadvisor"), _READ, ("metrics",), _cadvisor_metrics),
    Route(("stats", "summary"), _READ, ("stats",), _summary),
    Route(("configz",), _READ, ("configz", "proxy"), _configz),
    Route(("containerLogs", *_POD, "{container}"), _READ, ("proxy",), _logs),
    Route(("exec", *_POD, "{container}"), _STREAM, ("proxy",), _exec, "create"),
    Route(("exec", *_POD, "{uid}", "{container}"), _STREAM, ("proxy",), _exec, "create"),
    Route(("attach", *_POD, "{container}"), _STREAM, ("proxy",), _attach, "create"),
    Route(("attach", *_POD, "{uid}", "{container}"), _STREAM, ("proxy",), _attach, "create"),
    Route(("portForward", *_POD), _STREAM, ("proxy",), _port_forward, "create"),
    Route(("portForward", *_POD, "{uid}"), _STREAM, ("proxy",), _port_forward, "create"),
    Route(("run", *_POD, "{container}"), ("POST",), ("proxy",), _run, "create"),
    Route(("run", *_POD, "{uid}", "{container}"), ("POST",), ("proxy",), _run, "create"),
)


def _match(parts: list[str]) -> tuple[Route | None, Parameters]:
    for route in ROUTES:
        if len(route.path) != len(parts):
            continue
        parameters = {}
        for pattern, part in zip(route.path, parts, strict=True):
            if pattern.startswith("{") and part:
                parameters[pattern[1:-1]] = part
            elif pattern != part:
                break
        else:
            return route, parameters
    return None, {}


# -- serving


def listen(port: int) -> socket.socket:
    """A socket on all of the node's addresses, both families where there are both. Raises OSError."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def server_tls(options: ServedOptions) -> ssl.SSLContext:
    """Raises OSError, ssl.SSLError."""
    return server_context(options.tls_cert, options.tls_key, options.client_ca or None)


async def serve(
    agent: ServedAgent,
    options: ServedOptions,
    stop: asyncio.Event,
    sockets: list[socket.socket] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until `stop` is set; then streams under way get a second. Raises OSError, ssl.SSLError.

    With `tls` in place of the options' certificate whoever made it can change it while it serves.
    """
    api = NodeApi(agent, Access(agent.client, options.node_name, agent.clock))
    tls = tls or server_tls(options)
    # Streams stand still for as long as people think: only the idle timeout ends them.
    server = Server(api.handle, tls=tls, write_timeout=IDLE_TIMEOUT)
    try:
        await server.start(sockets if sockets is not None else [listen(options.port)])
        _logger.info("serving", ports=server.ports)
        await stop.wait()
    finally:
        await server.drain(_DRAIN_SECONDS)
