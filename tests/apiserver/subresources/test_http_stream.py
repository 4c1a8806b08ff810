"""Answers of servers behind ours, as they really come."""

from __future__ import annotations

import asyncio

import pytest

from shirube.apiserver.subresources import http_stream


async def exchanged(answer: bytes) -> tuple[int, str | None, bytes]:
    """(status, content type, body) of an answer sent by a server that then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        found = await http_stream.exchange("127.0.0.1", port, "GET", "/", [], None)
        body = await http_stream.read_all(found.body, 1000)
        return found.status, found.headers.get("content-type"), body
    finally:
        server.close()
        await server.wait_closed()


async def test_lines_may_end_with_a_line_feed_alone():
    """As busybox' httpd sends what CGI scripts print; Go's client, and so upstream's proxy, takes it."""
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\n\n{}"
    assert await exchanged(answer) == (200, "application/json", b"{}")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nA: b"])
async def test_what_is_no_answer(answer):
    with pytest.raises(ConnectionError):
        await exchanged(answer)
