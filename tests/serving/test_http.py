"""The HTTP server over real sockets: framing, pipelining, limits, streams, upgrades, draining."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from shirube.serving.http import BodyTooLarge, Connection, Disconnected, Request, Response, Upgrade
from shirube.serving.http_client import upgrade

CLOSE = b"Connection: close\r\n"


async def echo(request: Request) -> Response:
    body = await request.read(1000)
    text = f"{request.method} {request.path} {request.query} {body.decode()}"
    return Response(200, text.encode(), content_type="text/plain")


def get(path: str = "/", *headers: str, close: bool = True) -> bytes:
    lines = "".join(f"{h}\r\n" for h in headers)
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}".encode() + (CLOSE if close else b"") + b"\r\n"


def status_of(answer: bytes) -> dict:
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    return json.loads(body)


async def test_answers_a_request_and_closes_when_asked(serve):
    running = await serve(echo)
    answer = await running.talk(get("/a/b?c=d"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"GET /a/b c=d ")


async def test_pipelined_requests_are_answered_in_order(serve):
    release = asyncio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/slow":
            await release.wait()
        return Response(200, request.path.encode())

    running = await serve(handler)
    reader, writer = await running.connect()
    many = b"".join(get(f"/{i}", close=False) for i in range(200))
    writer.write(get("/slow", close=False) + many + get("/last"))
    await asyncio.sleep(0)
    release.set()
    answer = await reader.read()
    bodies = [part.split(b"HTTP/1.1")[0] for part in answer.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"/slow", *(f"/{i}".encode() for i in range(200)), b"/last"]
    writer.close()


async def test_one_task_answers_all_requests_of_a_connection_and_ends_it_when_cancelled(serve):
    tasks = []

    async def handler(request: Request) -> Response:
        tasks.append(asyncio.current_task())
        return Response(200, b"a")

    running = await serve(handler)
    for end_it in (lambda writer: writer.close(), lambda _: tasks[-1].cancel()):
        reader, writer = await running.connect()
        for _ in range(3):
            writer.write(get(close=False))
            await reader.readuntil(b"\r\n\r\na")
        assert len(set(tasks[-3:])) == 1
        end_it(writer)
        with contextlib.suppress(ConnectionResetError):  # an end that is none of TCP's gentle ones
            assert await reader.read() == b""
        while not tasks[-1].done():
            await asyncio.sleep(0)
        writer.close()
    assert len(set(tasks)) == 2


async def test_body_in_pieces_and_in_chunks(serve):
    running = await serve(echo)
    reader, writer = await running.connect()
    for piece in (b"POST /p HTTP/1.1\r\nHo", b"st: x\r\nContent-Length: 6\r\n\r\nab", b"cd", b"ef"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert await reader.readexactly(len("POST /p  abcdef")) == b"POST /p  abcdef"
    writer.write(
        b"POST /q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        + CLOSE
        + b"\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert (await reader.read()).endswith(b"POST /q  abcde")
    writer.close()


async def test_too_large_a_body_is_refused_at_once_and_the_answer_arrives(serve):
    running = await serve(echo)
    reader, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 2_000_000)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert status_of(answer)["reason"] == "RequestEntityTooLarge"
    writer.close()


async def test_too_large_a_chunked_body_is_refused_without_a_declared_length(serve):
    running = await serve(echo)
    chunk = b"400\r\n" + b"x" * 0x400 + b"\r\n"
    answer = await running.talk(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_too_large_headers(serve):
    running = await serve(echo, max_header=2000)
    answer = await running.talk(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert status_of(answer)["code"] == 431


async def test_malformed_requests_get_a_status(serve):
    running = await serve(echo)
    for garbage in (
        b"\x16\x03\x01\x02\x00 tls to a plain port\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
    ):
        answer = await running.talk(garbage)
        assert answer.startswith(b"HTTP/1.1 400 "), garbage
        assert status_of(answer)["kind"] == "Status"
        assert b"Traceback" not in answer


async def test_garbage_behind_a_request_is_answered_after_it(serve):
    running = await serve(echo)
    answer = await running.talk(get("/fine", close=False) + b"garbage\r\n\r\n")
    first, second = answer.split(b"GET /fine  ")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 400 ")


async def test_a_failing_handler_is_a_500_without_a_traceback(serve):
    async def handler(request: Request) -> Response:
        raise RuntimeError("secret detail")

    running = await serve(handler)
    answer = await running.talk(get())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer


async def test_expect_100_continue_waits_for_the_reader(serve):
    running = await serve(echo)
    reader, writer = await running.connect()
    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_expect_100_continue_is_not_sent_for_a_body_that_is_refused(serve):
    running = await serve(echo)
    answer = await running.talk(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_head_has_the_length_but_no_body(serve):
    running = await serve(echo)
    answer = await running.talk(b"HEAD /x HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert b"Content-Length: 9\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_streams_in_chunks_and_flushes_the_head(serve):
    release = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b""
        await release.wait()
        yield b"one"
        yield b"x" * 100_000

    async def handler(request: Request) -> Response:
        return Response(200, chunks())

    running = await serve(handler)
    reader, writer = await running.connect()
    writer.write(get(close=False))
    head = await reader.readuntil(b"\r\n\r\n")  # before the first chunk exists
    assert b"Transfer-Encoding: chunked" in head
    release.set()
    assert await reader.readexactly(8) == b"3\r\none\r\n"
    assert await reader.readexactly(7) == b"186a0\r\n"
    await reader.readexactly(100_000)
    assert await reader.readexactly(7) == b"\r\n0\r\n\r\n"
    writer.write(get("/again"))  # the connection is still good
    assert b"HTTP/1.1 200" in await reader.read()
    writer.close()


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection(serve):
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def handler(request: Request) -> Response:
        return Response(200, chunks())

    running = await serve(handler)
    answer = await running.talk(b"GET / HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nonetwo")
    assert b"chunked" not in answer


async def test_a_client_that_does_not_read_pauses_the_stream_and_is_ended(serve):
    produced = 0
    closed = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield b"x" * 262_144
        finally:
            closed.set()

    async def handler(request: Request) -> Response:
        return Response(200, chunks())

    running = await serve(handler, write_timeout=0.3)
    _reader, writer = await running.connect()
    writer.transport.pause_reading()
    writer.write(get())
    async with asyncio.timeout(60):
        await closed.wait()
    assert produced < 200  # what sockets and buffers hold, not what the handler could make
    writer.transport.abort()


async def test_a_client_that_goes_away_cancels_its_request(serve):
    cancelled = asyncio.Event()

    async def handler(request: Request) -> Response:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    running = await serve(handler)
    _, writer = await running.connect()
    writer.write(get())
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    async with asyncio.timeout(60):
        await cancelled.wait()


async def test_a_client_that_goes_away_inside_its_body_fails_the_read(serve):
    seen: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def handler(request: Request) -> Response:
        try:
            await request.read(100)
        except (Disconnected, asyncio.CancelledError) as error:
            seen.set_result(error)
            raise
        return Response(200)

    running = await serve(handler)
    _, writer = await running.connect()
    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nabc")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    async with asyncio.timeout(60):
        assert isinstance(await seen, Disconnected | asyncio.CancelledError)


async def test_half_open_and_slow_headers_time_out(serve):
    running = await serve(echo, header_timeout=0.5)
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHos")
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_idle_connections_are_closed(serve):
    running = await serve(echo, idle_timeout=0.5)
    reader, writer = await running.connect()
    writer.write(get(close=False))
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_client_that_half_closes_still_gets_its_answer(serve):
    running = await serve(echo)
    reader, writer = await running.connect()
    writer.write(get(close=False))
    writer.write_eof()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def shout(connection: Connection) -> None:
    while data := await connection.read():
        await connection.write(data.upper())


async def test_upgrade_hands_over_the_connection_with_early_bytes(serve):
    async def handler(request: Request) -> Upgrade:
        assert request.headers.get("upgrade") == "SPDY/3.1"
        return Upgrade([("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")], shout)

    running = await serve(handler)
    reader, writer = await running.connect()
    writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearly")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert await reader.readexactly(5) == b"EARLY"
    writer.write(b"and late")
    assert await reader.readexactly(8) == b"AND LATE"
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_upgrade_with_our_client(serve):
    async def handler(request: Request) -> Upgrade:
        return Upgrade([("Connection", "Upgrade"), ("Upgrade", "echo")], shout)

    running = await serve(handler)
    headers = [("Connection", "Upgrade"), ("Upgrade", "echo")]
    answer = await upgrade("127.0.0.1", running.port, "GET", "/", headers, None)
    assert answer.status == 101
    assert answer.headers.get("upgrade") == "echo"
    await answer.connection.write(b"x" * 1_000_000)
    received = b""
    while len(received) < 1_000_000:
        received += await answer.connection.read()
    assert received == b"X" * 1_000_000
    await answer.connection.close()


async def test_a_refused_upgrade_is_plain_http_and_the_connection_goes_on(serve):
    running = await serve(echo)
    reader, writer = await running.connect()
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
    writer.write(get("/b"))
    answer = await reader.read()
    assert b"GET /a" in answer
    assert b"GET /b" in answer
    writer.close()


async def test_an_upgrade_that_the_client_did_not_ask_for_is_400(serve):
    async def handler(request: Request) -> Upgrade:
        return Upgrade([], shout)

    running = await serve(handler)
    assert (await running.talk(get())).startswith(b"HTTP/1.1 400 ")


async def test_drain_finishes_what_is_in_flight_and_refuses_the_rest(serve):
    release = asyncio.Event()

    async def handler(request: Request) -> Response:
        await release.wait()
        return Response(200, b"done")

    running = await serve(handler)
    reader, writer = await running.connect()
    writer.write(get(close=False))
    await writer.drain()
    _, idle = await running.connect()
    await asyncio.sleep(0.05)
    drain = asyncio.gather(running.server.drain(5))
    await asyncio.sleep(0.05)
    release.set()
    answer = await reader.read()
    assert answer.endswith(b"done")
    assert b"Connection: close" in answer
    await drain
    assert running.server.connections == 0
    for w in (writer, idle):
        w.close()


async def test_drain_ends_what_does_not_finish(serve):
    async def handler(request: Request) -> Response:
        await asyncio.Event().wait()
        return Response(200)

    running = await serve(handler)
    reader, writer = await running.connect()
    writer.write(get())
    await asyncio.sleep(0.05)
    await running.server.drain(0.1)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_header_values_cannot_break_out_of_their_line(serve):
    async def handler(request: Request) -> Response:
        return Response(200, b"x", [("Warning", "299 - a\r\nSet-Cookie: b")])

    running = await serve(handler)
    answer = await running.talk(get())
    assert b"\r\nSet-Cookie" not in answer


async def test_request_of_bytes_reads_like_one_from_a_socket():
    request = Request.of("POST", "/a?b=c", [("X-Y", "z")], b"body")
    assert (request.path, request.query, request.headers.get("x-y")) == ("/a", "b=c", "z")
    assert await request.read(10) == b"body"
    try:
        await Request.of("POST", "/", body=b"12345").read(4)
    except BodyTooLarge as error:
        assert error.limit == 4
    else:
        raise AssertionError
