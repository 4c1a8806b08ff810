"""The load generator: prebuilt HTTP/1.1 requests over kept-alive TLS connections, as lean as Python can.

`drive` runs in a process of its own (see `in_process`), so that it shares no interpreter with what it measures
and as little as possible of the two cores. A connection sends its next request when the answer to the one before
has arrived; answers are counted by status and timed, never decoded.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import uvloop

from bench.figure import percentile

TIMEOUT = 60.0  # seconds for one drive, whatever happens


class Target(NamedTuple):
    """Where requests go, and as whom."""

    host: str
    port: int
    ca: str
    token: str

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.token}\r\n"
            f"User-Agent: bench/1\r\nAccept: application/json\r\n"
        )
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


@dataclass
class Result:
    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    failure: bytes = b""  # the first answer that was no success
    cpu: float = 0.0  # seconds that the server used meanwhile

    @property
    def count(self) -> int:
        return sum(n for status, n in self.statuses.items() if status < 300)

    def rate(self) -> str:
        text = f"{self.count / self.seconds:,.0f}/s"
        failed = sum(self.statuses.values()) - self.count
        if failed:
            text += f" ({failed} failed)"
        return text

    def spread(self) -> str:
        p50, p99 = (percentile(self.latencies, share) * 1000 for share in (0.5, 0.99))
        return f"p50 {p50:.1f} p99 {p99:.1f} ms"

    def __str__(self) -> str:
        """Rate, latency, and the server's CPU time per request: the part that other load changes least."""
        return f"{self.rate()}, {self.spread()}, {self.cpu / len(self.latencies) * 1e6:.0f} µs CPU"


class Connection(asyncio.Protocol):
    """Sends one request after another and notes what comes back."""

    def __init__(self, requests: Iterator[bytes], result: Result) -> None:
        self._requests = requests
        self._result = result
        self._transport: Any = None
        self._buffer = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._buffer = self._buffer + data if self._buffer else data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return
        at = data.find(b"Content-Length: ", 0, head)
        length = int(data[at + 16 : data.index(b"\r", at)]) if at > 0 else 0
        if len(data) < head + 4 + length:
            return
        result = self._result
        result.latencies.append(time.perf_counter() - self._sent)
        status = int(data[9:12])
        result.statuses[status] += 1
        if status >= 300 and not result.failure:
            result.failure = data
        self._buffer = b""
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _drive(target: Target, requests: list[bytes], writers: int) -> Result:
    loop = asyncio.get_running_loop()
    tls = target.tls()
    result = Result(0.0)
    shared = iter(requests)
    connections = []
    for _ in range(writers):
        _, connection = await loop.create_connection(
            lambda: Connection(shared, result), target.host, target.port, ssl=tls, server_hostname=target.host
        )
        connections.append(connection)
    began = time.perf_counter()
    for connection in connections:
        connection.next()
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*(c.done for c in connections))
    result.seconds = time.perf_counter() - began
    return result


def drive(target: Target, requests: list[bytes], writers: int) -> Result:
    """All requests, by so many connections at once."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(target, requests, writers))


def in_process(function: Callable[..., Any], *args: Any) -> Any:
    """Run in a fresh process and return what it returns."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result(timeout=TIMEOUT * 2)


def measured(target: Target, requests: list[bytes], writers: int) -> Result:
    """`drive` in a process of its own; what failed is shown."""
    result: Result = in_process(drive, target, requests, writers)
    if result.failure:
        print(f"  failed: {result.failure[:600].decode(errors='replace')}", flush=True)
    return result
