"""Moves bytes between a client's upgraded connection and the runtime's, as they are or through a translation.

Guarantees: what one side does not take is not read from the other (one buffer of 64 KB and the transports' own);
when either side goes, the other is closed, after what was under way to the client has been sent; a session over
which nothing moves for four hours (upstream's `streamingConnectionIdleTimeout`) ends; no task outlives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shirube.foundation import log, tasks
from shirube.serving.messages import Connection
from shirube.streaming.translation import Translation

IDLE_TIMEOUT = 4 * 3600.0
# Seconds that a client gets to take what is under way to it when the runtime is done.
LINGER = 30.0
# Seconds that it gets to answer the close frame once it has all that came before.
ANSWER = 5.0
# Seconds between the outcome of a command and the close frame. Clients that wait for their socket to be readable (the
# official Python client is one) do not see what came in the same TLS record as what they have read.
APART = 0.02
_CLOSE = b"\x88\x02\x03\xe8"  # a close frame, as sessions end
# Seconds that the runtime gets to accept the streams opened to it.
READY_SECONDS = 30.0
_POLL = 0.02

_logger = log.get("kubelet.streaming")
Touch = Callable[[], None]


async def pass_through(client: Connection, runtime: Connection) -> None:
    """Both directions as they are, until either ends. Closes the runtime's connection; the server the client's."""

    async def copy(source: Connection, target: Connection, touch: Touch) -> None:
        while data := await source.read():
            touch()
            await target.write(data)

    await _session(
        runtime,
        lambda touch: copy(client, runtime, touch),
        lambda touch: copy(runtime, client, touch),
        lambda upward: _flushed(client),
    )


async def translate(client: Connection, runtime: Connection, translation: Translation) -> None:
    """Both directions through `translation`, until either ends. Closes as `pass_through`."""
    ready = asyncio.Event()

    async def deliver() -> None:
        # The client first: the runtime may take nothing more (a full stdin) while there is an outcome to tell.
        if data := translation.take_for_client():
            if translation.runtime_done and data.endswith(_CLOSE) and len(data) > len(_CLOSE):
                await client.write(data.removesuffix(_CLOSE))
                await asyncio.sleep(APART)
                data = _CLOSE
            await client.write(data)
        if data := translation.take_for_runtime():
            await runtime.write(data)
        if translation.accepts_client:
            ready.set()

    async def up(touch: Touch) -> None:
        await deliver()
        while not translation.client_done:
            data = await client.read()
            touch()
            if data:
                await ready.wait()
            translation.from_client(data)
            await deliver()

    async def down(touch: Touch) -> None:
        while not translation.runtime_done:
            try:
                async with asyncio.timeout(None if ready.is_set() else READY_SECONDS):
                    data = await runtime.read()
            except TimeoutError:
                _logger.warning("container runtime did not accept streams in time", seconds=READY_SECONDS)
                data = b""
            touch()
            translation.from_runtime(data)
            await deliver()

    # The client answers the close frame when it has read all that came before: `up` ends then.
    await _session(runtime, up, down, lambda upward: _answered(client, upward))


async def _session(
    runtime: Connection,
    up: Callable[[Touch], Awaitable[None]],
    down: Callable[[Touch], Awaitable[None]],
    ended: Callable[[asyncio.Task[None]], Awaitable[None]],
) -> None:
    loop = asyncio.get_running_loop()
    pumps: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(IDLE_TIMEOUT) as idle:

            def touch() -> None:
                idle.reschedule(loop.time() + IDLE_TIMEOUT)

            pumps += [
                tasks.spawn(_until_gone(up(touch)), name="stream to runtime"),
                tasks.spawn(_until_gone(down(touch)), name="stream to client"),
            ]
            upward, downward = pumps
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if downward.done() and not upward.done():
                await ended(upward)
    except TimeoutError:
        _logger.info("ended a stream over which nothing moved", seconds=IDLE_TIMEOUT)
    finally:
        # The server cancels this when the client's connection is lost, which may well be now: a task of its own.
        await asyncio.shield(tasks.spawn(_end(pumps, runtime), name="end of stream"))


async def _end(pumps: list[asyncio.Task[None]], runtime: Connection) -> None:
    await tasks.cancel(*pumps)
    await runtime.close()


async def _until_gone(pump: Awaitable[None]) -> None:
    try:
        await pump
    except ConnectionError as error:
        _logger.debug("stream ended", why=str(error))


async def _answered(client: Connection, upward: asyncio.Task[None]) -> None:
    """Wait until the client has closed its side, too: not for ever, once it has everything."""
    flushed = tasks.spawn(_flushed(client), name="flush to client")
    try:
        await asyncio.wait((upward, flushed), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((upward,), timeout=ANSWER)
    finally:
        await tasks.cancel(flushed)


async def _flushed(client: Connection) -> None:
    """Wait until what was written to the client has left our buffers.

    Closing gives a client two seconds for them, which a slow reader at the end of a long output needs more of.
    """
    transport = getattr(client, "_transport", None)
    deadline = asyncio.get_running_loop().time() + LINGER
    while transport is not None and not transport.is_closing() and transport.get_write_buffer_size():
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(_POLL)
