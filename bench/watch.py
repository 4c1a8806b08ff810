"""Watch fan-out: from a write's answer to its event at every watcher.

All watchers in one process, a writer that changes pods so many times a second in another; both note
(resourceVersion, time) of the one clock that the machine has. An event that overtakes the answer counts as 0.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import orjson
import uvloop

from bench.figure import Figure, percentile
from bench.load import Target
from bench.server import PODS, Server
from bench.sharing import Shared

OBJECTS = 100
SECONDS = 10
# watchers, writes a second, seconds until every watch is open, target
CASES = ((100, 50, 2.5, "p99 ≤ 12 ms"), (1000, 10, 9.0, "p99 ≤ 100 ms"))
_VERSION = re.compile(rb'"metadata":\{"resourceVersion":"(\d+)"')

Times = list[tuple[int, float]]


def run(shared: Shared) -> list[Figure]:
    server = shared.server
    server.at_least(OBJECTS)
    return [measure(server, *case) for case in CASES]


def measure(server: Server, count: int, rate: int, settle: float, least: str) -> Figure:
    target = server.target
    version = int(server.admin("GET", f"{PODS}?limit=1")["metadata"]["resourceVersion"])
    start = time.monotonic() + settle
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        seen = pool.submit(watchers, target, count, version, start + SECONDS + 1.0)
        written = pool.submit(writer, target, start, rate)
        answered = dict(written.result(timeout=120))
        events: list[Times] = seen.result(timeout=120)
    delays = [max(0.0, at - answered[rv]) for times in events for rv, at in times if rv in answered]
    lost = len(answered) * count - len(delays)
    value = f"p50 {percentile(delays, 0.5) * 1000:.1f}, p99 {percentile(delays, 0.99) * 1000:.1f} ms"
    if lost:
        value += f" ({lost} events missing)"
    what = f"watch, {count:,} watchers, {rate} writes/s, answer to event"
    return Figure(what, value, least, "python -m bench watch")


class _Watch(asyncio.Protocol):
    def __init__(self, times: Times) -> None:
        self._times = times
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        text = self._tail + data
        end = 0
        for found in _VERSION.finditer(text):
            self._times.append((int(found[1]), now))
            end = found.end()
        self._tail = text[max(end, len(text) - 64) :]


def watchers(target: Target, count: int, version: int, until: float) -> list[Times]:
    async def watch_all() -> list[Times]:
        loop, tls = asyncio.get_running_loop(), target.tls()
        request = target.request("GET", f"{PODS}?watch=true&resourceVersion={version}")
        seen: list[Times] = []
        for _ in range(count):
            times: Times = []
            transport, _ = await loop.create_connection(
                lambda t=times: _Watch(t), target.host, target.port, ssl=tls, server_hostname=target.host
            )
            transport.write(request)
            seen.append(times)
        await asyncio.sleep(until - time.monotonic())
        return seen

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(watch_all())


class _Writer(asyncio.Protocol):
    def __init__(self, times: Times) -> None:
        self._times = times
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        found = _VERSION.search(self._buffer)
        if found:
            self._times.append((int(found[1]), time.monotonic()))
            self._buffer = b""


def writer(target: Target, start: float, rate: int) -> Times:
    async def write_all() -> Times:
        times: Times = []
        loop = asyncio.get_running_loop()
        lanes: list[Any] = []
        for _ in range(4):
            lanes.append(
                (
                    await loop.create_connection(
                        lambda: _Writer(times),
                        target.host,
                        target.port,
                        ssl=target.tls(),
                        server_hostname=target.host,
                    )
                )[0]
            )
        for n in range(rate * SECONDS):
            await asyncio.sleep(max(0.0, start + n / rate - time.monotonic()))
            body = orjson.dumps({"metadata": {"annotations": {"bench/watch": str(n)}}})
            path = f"{PODS}/pod-{n % OBJECTS}"
            lanes[n % 4].write(target.request("PATCH", path, body, "application/merge-patch+json"))
        await asyncio.sleep(0.5)
        return times

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(write_all())
