"""A stream of the server's over a WebSocket: its frames go out until it ends or the client closes.

What the client sends besides its close frame (pings, noise) is passed over. Watches and logs are sent this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from shirube.apiserver.subresources import websocket_frames
from shirube.foundation import log
from shirube.serving.messages import Connection

_CLOSE = 8  # the opcode
_logger = log.get("websocket")


class Closable(Protocol):
    async def aclose(self) -> None: ...


async def send(client: Connection, frames: AsyncIterator[bytes], source: Closable, *, name: str) -> None:
    """Send `frames`, which are made of `source`; then close both. A client that goes away ends it, too."""

    async def listen() -> None:
        while data := await client.read():
            if data[0] & 0x0F == _CLOSE:
                return

    async def write() -> None:
        async for frame in frames:
            await client.write(frame)
        await client.write(websocket_frames.close())

    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen(), name=f"{name}-listen")
            writing = group.create_task(write(), name=f"{name}-send")
            await asyncio.wait((listening, writing), return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
            writing.cancel()
    except* ConnectionError as gone:
        _logger.debug("the client is gone", stream=name, error=str(gone.exceptions[0]))
    finally:
        await source.aclose()
        await client.close()
