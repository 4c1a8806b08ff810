"""Durable commits of the storage room by itself: what of a write's time is the disk's, for either backend."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, percentile
from bench.load import in_process
from bench.server import free_port
from bench.sharing import Shared

WRITERS = 32
SECONDS = 6.0
PAUSE = 0.005  # between a writer's answer and its next write: about 3,000 writes a second
_VALUE = b"x" * 5000


def run(shared: Shared) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="shirube-bench-"))
    try:
        found = [_figure("SQLite", f"{folder}/store.db", "p99 ≤ 15 ms")]
        if shutil.which("etcd"):
            with _etcd(folder / "etcd") as url:
                found.append(_figure("etcd", url, "(its own fsyncs)"))
    finally:
        shutil.rmtree(folder)
    return found


def _figure(what: str, url: str, target: str) -> Figure:
    times, seconds = in_process(commits, url)
    p50, p99 = (percentile(times, share) * 1000 for share in (0.5, 0.99))
    value = f"{len(times) / seconds:,.0f}/s, p50 {p50:.1f} p99 {p99:.1f} longest {max(times) * 1000:.0f} ms"
    return Figure(f"commits of 5 KB, {WRITERS} writers, {what}", value, target, "python -m bench commit")


def commits(url: str) -> tuple[list[float], float]:
    """Seconds of each commit, and in all."""
    from shirube.storage import open_storage
    from shirube.storage.types import Put

    times: list[float] = []

    async def measure() -> float:
        store = await open_storage(url)
        began = time.perf_counter()

        async def write(who: int) -> None:
            n = 0
            while (start := time.perf_counter()) - began < SECONDS:
                n += 1
                await store.commit((), (Put(f"/registry/core/pods/bench/{who}-{n}", _VALUE),))
                times.append(time.perf_counter() - start)
                await asyncio.sleep(PAUSE)

        await asyncio.gather(*(write(who) for who in range(WRITERS)))
        took = time.perf_counter() - began
        await store.close()
        return took

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return times, runner.run(measure())


@contextlib.contextmanager
def _etcd(folder: Path) -> Iterator[str]:
    client, peer = free_port(), free_port()
    url = f"http://127.0.0.1:{client}"
    process = subprocess.Popen(
        [
            "etcd",
            f"--data-dir={folder}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--log-level=error",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not _healthy(url):
            if time.monotonic() > deadline:
                raise RuntimeError("cannot start etcd: it is not healthy")
            time.sleep(0.05)
        yield f"etcd://127.0.0.1:{client}"
    finally:
        process.kill()
        process.wait()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (TimeoutError, OSError):
        return False
