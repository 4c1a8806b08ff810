"""Logs: fetched from the agent of the pod's node, streamed on as they come, over HTTP or a WebSocket.

A followed log lasts until the container ends or the client goes; a client that reads slowly slows the agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.api.gvr import PODS
from shirube.apiserver.subresources import (
    http_stream,
    node_agent,
    pod_containers,
    tunnel,
    websocket_frames,
    websocket_stream,
)
from shirube.apiserver.subresources.admitting import only
from shirube.foundation.clock import parse_rfc3339
from shirube.serving.messages import Connection, Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
_ERROR_BODY = 64 * 1024
_FLAGS = ("follow", "previous", "timestamps")
_NUMBERS = (("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1))
_STREAMS = ("All", "Stdout", "Stderr")


async def read(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    only(rc, "get")
    query = options(rc)
    pod = await server.store.get(PODS, rc.namespace, rc.name)
    container = pod_containers.choose(pod, rc.params.get("container"))
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        return Response(200, b"", [("Cache-Control", "no-cache, private")], "text/plain")
    agent = await node_agent.locate(server, node)
    target = f"/containerLogs/{quote(rc.namespace)}/{quote(rc.name)}/{quote(container)}"
    if query:
        target += "?" + urlencode(query)
    try:
        answer = await http_stream.exchange(agent.host, agent.port, "GET", target, (), agent.tls)
    except (OSError, TimeoutError) as error:
        raise errors.internal_error(
            f'Get "https://{agent.host}:{agent.port}{target}": {error or type(error).__name__}'
        ) from error
    if not 200 <= answer.status <= 206:
        raise _refused(answer.status, await http_stream.read_all(answer.body, _ERROR_BODY), rc.name)
    if tunnel.wants_upgrade(rc.request):
        return await _websocket(rc, answer.body)
    content_type = answer.headers.get("content-type") or "text/plain"
    return Response(200, _flushed(answer.body), [("Cache-Control", "no-cache, private")], content_type)


def options(rc: RequestContext) -> list[tuple[str, str]]:
    """The query for the agent. Raises ApiError 422 as upstream validates PodLogOptions."""
    params = rc.params
    query = [(flag, "true") for flag in _FLAGS if params.flag(flag)]
    causes = []
    for name, least in _NUMBERS:
        value = params.integer(name)
        if value is None:
            continue
        if value < least:
            detail = "must be greater than 0" if least else "must be greater than or equal to 0"
            causes.append(Cause.invalid(name, value, detail))
        query.append((name, str(value)))
    since = params.get("sinceTime")
    if since:
        try:
            parse_rfc3339(since)
        except ValueError:
            raise errors.bad_request(f"sinceTime: {since!r} is not an RFC 3339 time") from None
        if "sinceSeconds" in params:
            causes.append(Cause.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
        query.append(("sinceTime", since))
    stream = params.get("stream")
    if stream:
        if stream not in _STREAMS:
            causes.append(Cause.not_supported("stream", stream, _STREAMS))
        elif stream != "All" and "tailLines" in params:
            causes.append(Cause.forbidden("", "`tailLines` and specific `stream` are mutually exclusive for now"))
        query.append(("stream", stream))
    if causes:
        raise errors.invalid("", "PodLogOptions", rc.name, causes)
    return query


def _refused(status: int, body: bytes, pod: str) -> errors.ApiError:
    text = body.decode(errors="replace").strip()
    if status == 400:
        return errors.bad_request(text)
    if status == 404:
        message = f"the server could not find the requested resource ( pods/log {pod})"
        return errors.ApiError(404, "NotFound", text or message, {"name": pod, "kind": "pods/log"})
    if status == 500:
        return errors.internal_error(text)
    return errors.ApiError(status if status >= 400 else 500, "", f"the node agent answered {status}: {text}")


async def _flushed(body: http_stream.Body) -> AsyncIterator[bytes]:
    """The head goes out at once: who follows a silent log should see that he is heard."""
    try:
        yield b""
        async for chunk in body:
            yield chunk
    finally:
        await body.aclose()


async def _websocket(rc: RequestContext, body: http_stream.Body) -> Upgrade:
    headers = rc.request.headers
    key = headers.get("sec-websocket-key")
    asked = [p.strip() for v in headers.get_all("sec-websocket-protocol") for p in v.split(",") if p.strip()]
    protocol = websocket_frames.choose_protocol([p for p in asked if not p.startswith("base64url.bearer.")])
    if not key or protocol is None:
        await body.aclose()
        raise errors.bad_request(f"logs are sent over WebSocket as {' or '.join(websocket_frames.PROTOCOLS)}")
    answer = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", websocket_frames.accept_key(key)),
    ]
    if protocol:
        answer.append(("Sec-WebSocket-Protocol", protocol))

    async def run(client: Connection) -> None:
        await websocket_stream.send(client, _frames(body, protocol), body, name="log-websocket")

    return Upgrade(answer, run)


async def _frames(body: http_stream.Body, protocol: str) -> AsyncIterator[bytes]:
    async for chunk in body:
        yield websocket_frames.message(chunk, protocol)
