"""LIST of 3,000 pods, one client, from the first byte sent to the last one received."""

from __future__ import annotations

import socket
import time

from bench.figure import Figure, percentile
from bench.load import Target, in_process
from bench.server import PODS
from bench.sharing import Shared

OBJECTS = 3000
ROUNDS = 10
_END = b"]}\n\r\n0\r\n\r\n"


def run(shared: Shared) -> list[Figure]:
    server = shared.server
    server.at_least(OBJECTS)
    target = server.target
    times, size = in_process(read_lists, target, PODS, ROUNDS)
    return [
        Figure(
            f"LIST of {OBJECTS:,} pods ({size / 1e6:.0f} MB), p50 of {ROUNDS}",
            f"{percentile(times, 0.5) * 1000:.0f} ms",
            "≤ 60 ms",
            "python -m bench list",
        )
    ]


def read_lists(target: Target, path: str, rounds: int) -> tuple[list[float], int]:
    """(seconds of each round, bytes of the answer)."""
    request = target.request("GET", path)
    times, size = [], 0
    buffer = memoryview(bytearray(1 << 20))
    with (
        socket.create_connection((target.host, target.port)) as plain,
        target.tls().wrap_socket(plain, server_hostname=target.host) as connection,
    ):
        for _ in range(rounds):
            size, tail = 0, b""
            began = time.perf_counter()
            connection.sendall(request)
            while not tail.endswith(_END):
                n = connection.recv_into(buffer)
                if not n:
                    raise RuntimeError(f"cannot read the list: it ended after {size} bytes")
                size += n
                tail = (tail + bytes(buffer[max(0, n - 16) : n]))[-16:]
            times.append(time.perf_counter() - began)
    return times, size
