"""Lists of 100,000 objects, several at once: what they cost in memory, and how long others wait meanwhile."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.figure import Figure, percentile
from bench.full_store import OBJECTS, fill
from bench.list_pods import read_lists
from bench.load import Target, in_process
from bench.processes import pss
from bench.server import Server
from bench.sharing import Shared

AT_ONCE = 8
SECONDS = 5.0  # the lists take longer
PATH = "/api/v1/namespaces/bench/configmaps"


class Most:
    """The most memory that a process had, asked every 50 ms in a thread."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.bytes = max(self.bytes, pss(self._pid))

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.bytes


def run(shared: Shared) -> list[Figure]:
    data = Path(tempfile.mkdtemp(prefix="shirube-bench-"))
    in_process(fill, str(data))
    server = Server(data)
    try:
        return figures(server)
    finally:
        server.close()


def figures(server: Server) -> list[Figure]:
    target = server.target
    in_process(read_lists, target, PATH, 1)
    revision = server.admin("GET", f"{PATH}?limit=1")["metadata"]["resourceVersion"]
    server.admin("DELETE", f"{PATH}/object-099999")  # so that the state then is not the state now
    found = []
    for what, query in (
        ("consistent", ""),
        ("at a revision", f"?resourceVersion={revision}&resourceVersionMatch=Exact"),
    ):
        before = pss(server.process.pid)
        most = Most(server.process.pid)
        reading = threading.Thread(target=in_process, args=(at_once, target, PATH + query))
        reading.start()
        waits = in_process(ask_until, target, f"{PATH}/object-000001", SECONDS)
        reading.join()
        grown = max(0, most.end() - before)
        found.append(
            Figure(
                f"{AT_ONCE} lists at once of {OBJECTS:,} objects, {what}: memory beyond {before / 1e6:.0f} MB (PSS)",
                f"{grown / 1e6:.0f} MB",
                "does not grow with lists",
                "python -m bench many_lists",
            )
        )
        text = f"p99 {percentile(waits, 0.99) * 1000:.0f}, longest {max(waits) * 1000:.0f} ms"
        found.append(
            Figure(f"  a GET beside them, {what} ({len(waits)} asked)", text, "≤ 25 ms", "python -m bench many_lists")
        )
    return found


def at_once(target: Target, path: str) -> None:
    """Lists, each over a connection of its own."""
    with ThreadPoolExecutor(AT_ONCE) as readers:
        for done in [readers.submit(read_lists, target, path, 1) for _ in range(AT_ONCE)]:
            done.result()


def ask_until(target: Target, path: str, seconds: float) -> list[float]:
    """Small GETs over one connection, one every 5 ms; how long each took."""
    request = target.request("GET", path)
    times: list[float] = []
    buffer = bytearray(1 << 16)
    with (
        socket.create_connection((target.host, target.port)) as raw,
        target.tls().wrap_socket(raw, server_hostname=target.host) as connection,
    ):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            connection.sendall(request)
            received = b""
            while b"\r\n\r\n" not in received or len(received) < _length(received):
                n = connection.recv_into(buffer)
                if not n:
                    raise RuntimeError("cannot ask: the server closed the connection")
                received += bytes(buffer[:n])
            times.append(time.perf_counter() - began)
            time.sleep(0.005)
    return times


def _length(received: bytes) -> int:
    head, _, _ = received.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(head) + 4 + int(value)
    raise RuntimeError("cannot ask: the answer has no length")
