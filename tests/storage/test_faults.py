"""What disks and clocks do: a server says so in words, goes on reading, loses nothing, and recovers by itself.

The disk is a tmpfs in a mount namespace of its own, which a process holds, so it outlives the server and is gone with
the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS
from shirube.apiserver.main import Options, in_process
from shirube.client import rest
from shirube.client.rest import Client
from shirube.foundation.clock import ManualClock
from shirube.foundation.tasks import cancel, spawn
from shirube.storage import open_storage
from shirube.storage.types import StorageError

from .crash.servers import ApiServer

NAMESPACE = "default"
_ROOM = 16 << 20


class Disk:
    """A small file system at `folder` for whoever is started `within` it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        flags = ["--mount", "--propagation", "private", *(["--map-root-user"] if os.geteuid() else [])]
        mount = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo ready && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", *flags, "sh", "-c", mount, "sh", str(_ROOM), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.inside = Path(f"/proc/{self._holder.pid}/root{folder}")
        user = [f"--user=/proc/{self._holder.pid}/ns/user", "--preserve-credentials"] if os.geteuid() else []
        self.within = ("nsenter", *user, f"--mount=/proc/{self._holder.pid}/ns/mnt", "--")

    def fill(self) -> None:
        """Take all the room there is."""
        fd = os.open(self.inside / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            with contextlib.suppress(OSError):
                while True:
                    os.write(fd, b"x" * 4096)
        finally:
            os.close(fd)

    def make_room(self) -> None:
        (self.inside / "filler").unlink()

    def read_only(self) -> None:
        subprocess.run([*self.within, "mount", "-o", "remount,ro", str(self.folder)], check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class _Server(ApiServer):
    """Its log and what clients need are outside of the small disk."""

    def __init__(self, disk: Disk, outside: Path) -> None:
        super().__init__(disk.folder, within=disk.within)
        self._log = outside / "server.log"
        self._outside = outside
        self._inside = disk.inside

    def log_to(self, path: Path) -> None:
        self._log = path

    def client(self) -> Client:
        shutil.copy(self._inside / "admin.kubeconfig", self._outside / "admin.kubeconfig")
        return Client.from_kubeconfig(self._outside / "admin.kubeconfig", "faults")


@pytest.fixture(autouse=True)
def refusals_are_final(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rest, "_RETRIES", 0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


@pytest.fixture
async def server(disk: Disk, tmp_path: Path) -> AsyncIterator[_Server]:
    made = _Server(disk, tmp_path)
    made.start()
    try:
        await made.ready()
        yield made
    finally:
        made.kill()


def config_map(name: str, size: int = 4000) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"text": "x" * size},
    }


async def _names(client: Client, **params: Any) -> set[str]:
    return {o["metadata"]["name"] for o in (await client.list(CONFIGMAPS, NAMESPACE, **params))["items"]}


async def test_a_full_disk_stops_writes_with_a_reason_and_nothing_else(disk: Disk, server: _Server):
    client = server.client()
    seen: list[str] = []

    async def follow() -> None:
        async for event in client.watch(CONFIGMAPS, NAMESPACE, resourceVersion=start):
            seen.append(event["object"]["metadata"]["name"])

    start = (await client.list(CONFIGMAPS, NAMESPACE))["metadata"]["resourceVersion"]
    following = spawn(follow(), name="follow")
    try:
        acknowledged = {"before"}
        await client.create(CONFIGMAPS, config_map("before"))
        disk.fill()
        refused = []
        for n in range(30):
            try:
                await client.create(CONFIGMAPS, config_map(f"full-{n}"))
                acknowledged.add(f"full-{n}")  # there may be room inside the file for some
            except ApiError as error:
                refused.append(error)
        assert refused
        for error in refused:
            assert (error.code, error.reason) == (503, "ServiceUnavailable")
            assert "the disk is full; free some space and try again" in error.message
        # Reads go on: from the cache, from the file, as it was.
        assert await _names(client) == acknowledged
        revision = (await client.list(CONFIGMAPS, NAMESPACE))["metadata"]["resourceVersion"]
        exact = {"resourceVersion": revision, "resourceVersionMatch": "Exact"}
        assert await _names(client, **exact) == acknowledged
        assert (await client.get(CONFIGMAPS, "before", NAMESPACE))["data"]["text"]
        disk.make_room()
        await client.create(CONFIGMAPS, config_map("after"))
        acknowledged.add("after")
        async with asyncio.timeout(60):
            while "after" not in seen:
                await asyncio.sleep(0)
        assert sorted(seen) == sorted(acknowledged)
        server.kill()
        server.start()
        await server.ready()
        assert await _names(client) == acknowledged
        assert server.complaints() == []
    finally:
        await cancel(following)
        await client.close()


async def test_killed_and_started_on_a_full_disk(disk: Disk, server: _Server):
    client = server.client()
    try:
        for n in range(50):
            await client.create(CONFIGMAPS, config_map(f"c-{n}"))
        disk.fill()
        server.kill()
        server.start()
        # It may not be able to open the store, or to make what it needs: it says why, and serves when it can.
        with contextlib.suppress(AssertionError):
            async with asyncio.timeout(60):
                await server.ready()
        disk.make_room()
        server.kill()
        server.start()
        await server.ready()
        assert await _names(client) == {f"c-{n}" for n in range(50)}
        await client.create(CONFIGMAPS, config_map("after"))
        assert server.complaints() == []
    finally:
        await client.close()


async def test_logs_on_the_full_disk_too(disk: Disk, server: _Server):
    server.kill()
    server.log_to(disk.inside / "server.log")
    server.start()
    await server.ready()
    client = server.client()
    try:
        disk.fill()
        for n in range(20):
            with contextlib.suppress(ApiError):
                await client.create(CONFIGMAPS, config_map(f"full-{n}"))
        assert await _names(client) is not None
        disk.make_room()
        await client.create(CONFIGMAPS, config_map("after"))
        assert server.complaints() == []
    finally:
        await client.close()


async def test_a_directory_that_is_read_only(disk: Disk, server: _Server, tmp_path: Path):
    server.kill()
    disk.read_only()
    server.start()
    with pytest.raises(AssertionError, match="the server is not ready"):
        await server.ready()
    assert "cannot open" in server.said().splitlines()[-1]
    assert "Read-only file system" in server.said().splitlines()[-1]
    assert server.complaints() == []


async def test_damaged_pages_under_a_running_server(disk: Disk, server: _Server):
    client = server.client()
    try:
        for n in range(400):
            await client.create(CONFIGMAPS, config_map(f"c-{n:03}"))
        before = (await client.list(CONFIGMAPS, NAMESPACE))["metadata"]["resourceVersion"]
        await client.create(CONFIGMAPS, config_map("one-more"))
        with (disk.inside / "store.db").open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(8192 * 4)
            file.write(b"\xff" * (size - 8192 * 4))
        # What is in memory is served; what has to come from the file is refused in words.
        assert len(await _names(client)) == 401
        with pytest.raises(ApiError) as refused:
            await _names(client, resourceVersion=before, resourceVersionMatch="Exact")
        assert refused.value.code == 503
        assert "the file is damaged" in refused.value.message
        assert "restore a backup" in refused.value.message
        server.kill()
        server.start()
        with pytest.raises(AssertionError, match="the file is damaged"):
            await server.ready()
        assert server.complaints() == []
    finally:
        await client.close()


async def test_a_clock_that_jumps_back_moves_no_revision_and_ends_no_watch(tmp_path: Path):
    clock = ManualClock()
    options = Options(data_dir=tmp_path, anonymous=False)
    async with in_process(options, clock=clock) as server:
        storage = server.context.storage
        store = server.context.store
        cache = await server.context.caches.fresh(server.context.table.by_gvr(CONFIGMAPS))
        watcher = cache.watch(after_revision=cache.revision)
        try:
            revisions = []
            for n, jump in enumerate((0, -86_400, -1, 7_200, -10_000_000)):
                clock._now += jump
                made = await store.create(CONFIGMAPS, config_map(f"c-{n}", 1))
                revisions.append(int(made["metadata"]["resourceVersion"]))
                assert await storage.current_revision() >= revisions[-1]
            assert revisions == sorted(set(revisions))
            seen: list[int] = []
            async with asyncio.timeout(60):
                while len(seen) < 5:
                    seen += [change[1].revision for change in await watcher.next_batch()]
            assert seen == revisions
        finally:
            watcher.close()


async def test_a_read_only_file_of_somebody_else(tmp_path: Path):
    store = await open_storage(f"{tmp_path}/a/store.db")
    await store.close()
    target = tmp_path / "b"
    target.mkdir()
    (target / "store.db").symlink_to(tmp_path / "nowhere" / "store.db")
    with pytest.raises(StorageError, match=r"cannot open .*check that the directory exists"):
        await open_storage(f"{target}/store.db")
