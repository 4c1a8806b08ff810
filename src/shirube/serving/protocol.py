"""One HTTP/1.1 connection: bytes in, requests to the handler one at a time and in order, answers out.

Guarantees: answers leave in the order of their requests however many were pipelined; while requests wait, or a
body outruns its reader, the sender is not read from; a stream that outruns its client waits for it, and is ended
after `write_timeout` without progress; malformed input is answered 400 with a Status and never a traceback; when
the client goes away its request is cancelled and the answer's iterator closed. A body nobody read ends the
connection after the answer, which is first given time to arrive.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from shirube.foundation import log
from shirube.serving.exchange import Exchange, Limits
from shirube.serving.framing import answer_head, clean_value, origin_form, plain_status
from shirube.serving.messages import (
    Body,
    BodyTooLarge,
    Disconnected,
    Handler,
    Headers,
    Peer,
    Request,
    Response,
    Upgrade,
)
from shirube.serving.raw import RawConnection

if TYPE_CHECKING:
    from shirube.serving.http import Server

_logger = log.get("http")

BODY_HIGH = 256 * 1024  # bytes of a body held before its sender is paused
WRITE_HIGH = 256 * 1024
JOIN_BELOW = 16 * 1024  # chunks smaller than a TLS record are joined with their frame
LINGER = 1.0  # seconds that a client gets to read an answer that ends the connection early
NEVER = math.inf


class HttpProtocol(asyncio.Protocol):
    __slots__ = (
        "_body",
        "_closing",
        "_deadline",
        "_drained",
        "_early",
        "_exchange",
        "_half_closed",
        "_handler",
        "_head_size",
        "_headers",
        "_idle",
        "_in_head",
        "_limits",
        "_loop",
        "_parser",
        "_paused",
        "_peer",
        "_queue",
        "_raw",
        "_server",
        "_task",
        "_transport",
        "_upgrading",
        "_url",
    )

    def __init__(self, handler: Handler, limits: Limits, server: Server) -> None:
        self._handler = handler
        self._limits = limits
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._peer = Peer()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: Body | None = None  # of the request being parsed
        self._in_head = False
        self._head_size = 0
        self._queue: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None  # answers requests, from the first one on
        self._idle: asyncio.Future[Exchange] | None = None  # what the task waits for between two requests
        self._exchange: Exchange | None = None  # being answered
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._closing = False  # what arrives is dropped; the connection ends
        self._half_closed = False
        self._upgrading = False
        self._early = b""
        self._raw: RawConnection | None = None  # after an upgrade, instead of the transport
        self._deadline = NEVER

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.opened(self):
            self._transport.abort()
            return
        address = transport.get_extra_info("peername")
        host, port = (address[0], address[1]) if isinstance(address, tuple) else ("", 0)
        tls = transport.get_extra_info("ssl_object")
        self._peer = Peer(host, port, tls.getpeercert(binary_form=True) if tls is not None else None)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._deadline = self._loop.time() + self._limits.header_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)
        self._transport = None
        self._deadline = NEVER
        gone = Disconnected("client closed the connection")
        if self._body is not None:
            self._body.fail(gone)
        if self._exchange is not None:
            self._exchange.request.body.fail(gone)
        self._queue.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._idle = None
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        if self._body is not None:
            self._body.fail(Disconnected("client closed the connection inside the body"))
        if self._exchange is None:
            return False  # idle, or streaming: a half-closed connection is a closed one
        if self._transport is not None and self._transport.get_extra_info("ssl_object") is not None:
            return False  # TLS has no half-closed connections
        # Most clients that end here are gone; one that only half-closed (`nc`) gets a moment for its answer.
        self._half_closed = True
        self._deadline = self._loop.time() + LINGER
        return True

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._upgrading:
            self._early += data
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = True
            self._early = data[upgrade.args[0] :]
            self._pause()
            return
        except httptools.HttpParserError as error:
            self._reject(400, f"malformed HTTP request: {error}")
            return
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > self._limits.max_header:
                self._reject(431, f"request headers are larger than {self._limits.max_header} bytes")
        if self._queue:
            self._pause()

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # ------------------------------------------------------------ httptools callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._head_size = 0
        self._in_head = True
        if self._resting:
            self._deadline = self._loop.time() + self._limits.header_timeout

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))
        if len(self._headers) > 1000:
            self._head_size = self._limits.max_header + 1

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser = self._parser
        url = self._url
        if url[:1] != b"/":
            url = origin_form(url)
        path, _, query = url.partition(b"?")
        body = self._body = Body()
        headers = Headers(self._headers, lower=True)
        length = headers.get("content-length")
        if length is not None and length.isdigit():
            body.expected = int(length)
        continue_ = (headers.get("expect") or "").lower() == "100-continue"
        request = Request(
            parser.get_method().decode("latin-1"),
            path.decode("latin-1"),
            query.decode("latin-1"),
            headers,
            self._peer,
            body,
        )
        http10 = parser.get_http_version() == "1.0"
        self._enqueue(Exchange(request, parser.should_keep_alive(), http10, continue_))

    @property
    def _resting(self) -> bool:
        """Nothing is being answered."""
        return self._task is None or self._idle is not None

    def _enqueue(self, exchange: Exchange) -> None:
        if self._idle is not None:
            self._deadline = NEVER
            idle, self._idle = self._idle, None
            idle.set_result(exchange)
        elif self._task is None:
            self._deadline = NEVER
            # A plain create_task, as there are so many connections; failures are caught in _serve.
            self._task = self._loop.create_task(self._serve(exchange))
        else:
            self._queue.append(exchange)

    def on_body(self, data: bytes) -> None:
        body = self._body
        if body is None or self._closing:
            return
        body.feed(data)
        self._deadline = NEVER
        if body.size > BODY_HIGH:
            self._pause()

    def on_message_complete(self) -> None:
        if self._body is not None:
            self._body.finish()
            self._body = None

    # ------------------------------------------------------------ flow control and ends

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self._queue and not self._upgrading:
            self._paused = False
            self._transport.resume_reading()

    def check_deadline(self, now: float) -> None:
        if now < self._deadline:
            return
        self._deadline = NEVER
        if self._half_closed:
            self.abort()
        elif self._body is not None:  # a handler waits for more of it
            self._body.fail(Disconnected("request body did not arrive in time"))
        elif self._in_head:
            self._reject(408, "request headers did not arrive in time")
        elif self._resting:
            self.abort() if self._closing else self._close()

    def close_when_idle(self) -> None:
        if self._resting and not self._in_head:
            self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._raw is not None:
            self._raw.abort()

    def _close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def _reject(self, code: int, message: str) -> None:
        """Answer a request that cannot be parsed, after those before it, and end the connection."""
        _logger.debug("rejected a request", peer=self._peer.host, why=message)
        if self._body is not None:
            self._body.fail(Disconnected(message))
        self._closing = True
        request = Request("GET", "/")
        request.body.finish()
        exchange = Exchange(request, False, False, False)
        exchange.rejection = plain_status(code, message)
        self._enqueue(exchange)

    def _linger(self) -> None:
        """Close, but not so soon that unread input would make the kernel reset what was just sent."""
        self._closing = True
        if self._transport is not None:
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._deadline = self._loop.time() + LINGER
            if self._paused:
                self._paused = False
                self._transport.resume_reading()

    # ------------------------------------------------------------ answering

    async def _serve(self, exchange: Exchange) -> None:
        """All requests of the connection, one after the other."""
        try:
            while True:
                body = exchange.request.body
                if not body.complete:
                    body.on_wanted = lambda x=exchange: self._body_wanted(x)
                    body.on_drained = self._resume
                self._exchange = exchange
                try:
                    keep_alive = await self._answer(exchange)
                except (ConnectionError, Disconnected):
                    keep_alive = False
                body.on_wanted = body.on_drained = None  # they refer back to this connection
                self._exchange = None
                if not self._goes_on(keep_alive, body):
                    return
                if self._queue:
                    exchange = self._queue.popleft()
                    self._resume()
                    continue
                del exchange, body  # a connection may rest for minutes
                self._deadline = self._loop.time() + self._limits.idle_timeout
                self._idle = self._loop.create_future()
                exchange = await self._idle
        except asyncio.CancelledError:
            self._task = self._idle = None
            self.abort()
            raise

    def _goes_on(self, keep_alive: bool, body: Body) -> bool:
        """After an answer: whether the connection takes another request; if not, it ends."""
        if self._transport is None:
            self._task = None
            return False
        if self._upgrading:
            self._resume_after_refused_upgrade()
        if keep_alive and not self._server.draining and (not self._closing or self._queue):
            return True
        self._task = None
        if body.complete and not self._closing:
            self._close()
        else:
            self._linger()
        return False

    def _body_wanted(self, exchange: Exchange) -> None:
        self._deadline = self._loop.time() + self._limits.body_timeout
        if exchange.continue_ and self._transport is not None:
            exchange.continue_ = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._resume()

    async def _answer(self, exchange: Exchange) -> bool:
        """True when the connection can take another request."""
        request = exchange.request
        try:
            result = exchange.rejection or await self._handler(request)
        except (Disconnected, ConnectionError):
            return False
        except BodyTooLarge as error:
            result = plain_status(413, f"Request entity too large: limit is {error.limit}")
        except Exception as error:
            _logger.error("request failed", method=request.method, path=request.path, exc_info=error)
            result = plain_status(500, "the server failed to answer the request")
        self._server.requests += 1
        if self._transport is None:
            if isinstance(result, Response) and not isinstance(result.body, bytes):
                await _close_stream(result.body)
            return False
        if isinstance(result, Upgrade):
            return await self._upgrade(exchange, result)
        keep = exchange.keep_alive and request.body.complete and not self._server.draining
        body = result.body
        if not isinstance(body, bytes):
            return await self._send_stream(exchange, result, keep)
        head = answer_head(result, keep, len(body), exchange.http10)
        if request.method == "HEAD" or not body:
            self._transport.write(head)
        elif len(body) < JOIN_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        if self._drained is not None:
            await self._wait_drained()
        return keep

    async def _wait_drained(self) -> None:
        drained = self._drained
        if drained is not None:
            try:
                async with asyncio.timeout(self._limits.write_timeout):
                    await drained
            except TimeoutError:
                self.abort()
                raise ConnectionError("client does not read its answer") from None
        if self._transport is None:
            raise ConnectionResetError("client closed the connection")

    async def _send_stream(self, exchange: Exchange, response: Response, keep: bool) -> bool:
        chunked = not exchange.http10
        keep = keep and chunked
        pending = answer_head(response, keep, None, exchange.http10)
        chunks = response.body
        assert not isinstance(chunks, bytes)
        self._exchange = None  # from here on a half-closed connection is a closed one
        try:
            if exchange.request.method != "HEAD":
                async for chunk in chunks:
                    self._send_chunk(pending, chunk, chunked)
                    pending = b""
                    if self._drained is not None or self._transport is None:
                        await self._wait_drained()
            if self._transport is not None:
                end = b"0\r\n\r\n" if chunked and exchange.request.method != "HEAD" else b""
                if pending or end:
                    self._transport.write(pending + end)
        except (ConnectionError, Disconnected):
            return False
        except Exception as error:
            # The head is out: all that is left is to make sure the client does not take this for the end.
            _logger.error("stream failed", path=exchange.request.path, exc_info=error)
            self.abort()
            return False
        finally:
            await _close_stream(chunks)
        return keep

    def _send_chunk(self, pending: bytes, chunk: bytes, chunked: bool) -> None:
        if self._transport is None:
            return
        if not chunk:
            if pending:
                self._transport.write(pending)
        elif not chunked:
            self._transport.write(pending + chunk)
        elif len(chunk) < JOIN_BELOW:
            self._transport.write(b"%b%x\r\n%b\r\n" % (pending, len(chunk), chunk))
        else:
            self._transport.writelines((b"%b%x\r\n" % (pending, len(chunk)), chunk, b"\r\n"))

    async def _upgrade(self, exchange: Exchange, upgrade: Upgrade) -> bool:
        transport = self._transport
        assert transport is not None
        if not self._upgrading:
            self._server.requests -= 1
            response = plain_status(400, "this resource needs a connection upgrade (WebSocket or SPDY)")
            body = cast(bytes, response.body)
            transport.write(answer_head(response, exchange.keep_alive, len(body), exchange.http10) + body)
            return exchange.keep_alive
        lines = "".join(f"{name}: {clean_value(value)}\r\n" for name, value in upgrade.headers)
        transport.write(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1", "replace"))
        connection = RawConnection(self._limits.write_timeout)
        connection.closed.add_done_callback(lambda _: self.connection_lost(None))
        connection.adopt(transport, self._early)
        self._transport, self._raw, self._early = None, connection, b""
        try:
            await upgrade.run(connection)
        except (ConnectionError, Disconnected, asyncio.IncompleteReadError) as error:
            _logger.debug("upgraded connection ended", path=exchange.request.path, error=str(error))
        except Exception as error:
            _logger.error("upgraded connection failed", path=exchange.request.path, exc_info=error)
        finally:
            self._task = None  # the end of the connection must not cancel the tidying up
            await connection.close()
        return False

    def _resume_after_refused_upgrade(self) -> None:
        """The handler answered an upgrade request in plain HTTP: go on with what came behind it."""
        early, self._early, self._upgrading = self._early, b"", False
        self._parser = httptools.HttpRequestParser(self)
        self._body = None
        if early:
            self.data_received(early)
        self._resume()


async def _close_stream(chunks: object) -> None:
    if hasattr(chunks, "aclose"):
        await chunks.aclose()
