"""A watch over a WebSocket: the events of the plain stream, one message each.

JSON goes as text, everything else as binary, as upstream's `WatchServer.HandleWS` does. Browsers can watch this way.
The client ends the watch by closing; what else it sends is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.apiserver.negotiation import JSON
from shirube.apiserver.subresources import websocket_frames
from shirube.serving.messages import Connection, Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext

_CLOSE = 8  # the opcode


def asked(rc: RequestContext) -> bool:
    """Whether a request wants its watch over a WebSocket."""
    if rc.info.verb != "watch":
        return False
    headers = rc.request.headers
    return (headers.get("upgrade") or "").lower() == "websocket" and (
        "upgrade" in (headers.get("connection") or "").lower()
    )


async def upgraded(rc: RequestContext, response: Response) -> Response | Upgrade:
    """The watch that `response` streams, as a WebSocket. Raises ApiError 400."""
    body: Any = response.body
    if response.status != 200 or isinstance(body, bytes):
        return response
    key = rc.request.headers.get("sec-websocket-key")
    if not key:
        await body.aclose()
        raise errors.bad_request("the request to upgrade to a WebSocket has no Sec-WebSocket-Key")
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", websocket_frames.accept_key(key)),
    ]
    text = response.content_type == JSON

    async def run(client: Connection) -> None:
        await _send(client, body, text)

    return Upgrade(headers, run)


async def messages(chunks: AsyncIterator[bytes], text: bool) -> AsyncIterator[bytes]:
    """The frames of a stream of events: lines of JSON, or messages behind their length in four bytes."""
    rest = b""
    async for chunk in chunks:
        rest += chunk
        while True:
            if text:
                event, newline, after = rest.partition(b"\n")
                if not newline:
                    break
            else:
                size = int.from_bytes(rest[:4], "big")
                if len(rest) < 4 + size or not rest:
                    break
                event, after = rest[4 : 4 + size], rest[4 + size :]
            rest = after
            yield websocket_frames.text(event) if text else websocket_frames.message(event, "")


async def _send(client: Connection, body: Any, text: bool) -> None:
    async def listen() -> None:
        while data := await client.read():
            if data[0] & 0x0F == _CLOSE:
                return

    async def send() -> None:
        async for frame in messages(body, text):
            await client.write(frame)
        await client.write(websocket_frames.close())

    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen(), name="watch-websocket-listen")
            sending = group.create_task(send(), name="watch-websocket-send")
            await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
            sending.cancel()
    except* ConnectionError:
        pass
    finally:
        await body.aclose()
        await client.close()
