"""A watch over a WebSocket: the events of the plain stream, one message each.

JSON goes as text, everything else as binary, as upstream's `WatchServer.HandleWS` does. Browsers can watch this way.
The client ends the watch by closing; what else it sends is passed over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.apiserver.negotiation import JSON
from shirube.apiserver.subresources import websocket_frames, websocket_stream
from shirube.serving.messages import Connection, Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext


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
        await websocket_stream.send(client, messages(body, text), body, name="watch-websocket")

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
