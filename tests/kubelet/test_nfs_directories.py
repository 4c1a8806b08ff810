import asyncio
from contextlib import asynccontextmanager

import pytest
from fake_api import FakeApi

from shirube.api import nfs_directories as directories
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet import nfs_directories
from shirube.kubelet.nfs_directories import NfsDirectories
from shirube.kubelet.volumes.volume import VolumeError

NODE = "/api/v1/nodes/n"
ASKED = directories.Request("delete", "s", "/export", "ns/data", ("nfsvers=4.1",))


class Export:
    """In the place of the program that mounts the export."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.error = ""

    async def __call__(self, root, server, share, options, asked, seconds=60.0):
        assert (server, share, options) == ("s", "/export", ("nfsvers=4.1",))
        self.done.append((asked["action"], asked["directory"]))
        if self.error:
            raise VolumeError(self.error)


@pytest.fixture
def export(monkeypatch):
    monkeypatch.setattr(nfs_directories, "on_export", made := Export())
    return made


@asynccontextmanager
async def agent(api: FakeApi, root, **requests: directories.Request):
    node = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}}
    node["metadata"]["annotations"] = directories.patch_of(node, requests)["metadata"]["annotations"]
    api.put(NODE, node)
    made = NfsDirectories(api.client(), "n", root)
    task = spawn(made.run(), name="NFS directories")
    try:
        made.changed(api.objects[NODE])
        yield made
    finally:
        await cancel(task)


async def answers(api: FakeApi) -> dict[str, directories.Request]:
    async with asyncio.timeout(60):
        while not all(one.answered for one in directories.requests_of(api.objects[NODE]).values()):
            await asyncio.sleep(0.005)
    return directories.requests_of(api.objects[NODE])


async def test_a_directory_is_set_aside_then_emptied_and_the_answer_stays(tmp_path, export):
    api = FakeApi()
    archived = directories.Request("archive", "s", "/export", "old", ("nfsvers=4.1",))
    async with agent(api, tmp_path, one=ASKED, two=archived):
        found = await answers(api)
    assert found["one"].done and found["two"].done
    assert sorted(export.done) == [("archive", "old"), ("empty", "ns/data"), ("set aside", "ns/data")]


async def test_what_went_wrong_is_the_answer(tmp_path, export):
    api, export.error = FakeApi(), "mount failed: access denied"
    async with agent(api, tmp_path, one=ASKED):
        assert (await answers(api))["one"].error == "mount failed: access denied"
    assert export.done == [("set aside", "ns/data")]


async def test_no_question_leads_out_of_the_share(tmp_path, export):
    api = FakeApi()
    out = directories.Request("delete", "s", "/export", "../etc", ("nfsvers=4.1",))
    odd = directories.Request("make", "s", "/export", "x", ("nfsvers=4.1",))
    async with agent(api, tmp_path, out=out, odd=odd):
        found = await answers(api)
    assert "without empty parts" in found["out"].error and "not a question of a provisioner" in found["odd"].error
    assert export.done == []


async def test_a_question_that_was_taken_back_is_not_worked_on(tmp_path, export):
    api = FakeApi()
    async with agent(api, tmp_path, one=ASKED) as made:
        # The server knows better than what this agent has been told.
        api.objects[NODE]["metadata"]["annotations"] = {}
        async with asyncio.timeout(60):
            while made._wake.is_set() or not made._working:
                await asyncio.sleep(0)
            while ("GET", NODE) not in api.requests:
                await asyncio.sleep(0.005)
    assert export.done == []
