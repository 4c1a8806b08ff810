import asyncio

from fake_api import FakeApi

from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.local_paths import TO_REMOVE, LocalPaths

NODE = "/api/v1/nodes/n"
MINE = "pvc-00000000-0000-4000-8000-000000000001_default_claim"


async def test_what_the_provisioner_gives_up_is_removed_and_nothing_else(tmp_path):
    directory = tmp_path / "local-path"
    (directory / MINE / "deep").mkdir(parents=True)
    (directory / MINE / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("")
    (directory / "other").mkdir()
    outside = "../kept"
    api = FakeApi()
    api.put(NODE, {"metadata": {"uid": "u", "annotations": {TO_REMOVE: f"{outside} other {MINE}", "a": "b"}}})
    paths = LocalPaths(api.client(), lambda: api.objects[NODE], directory)
    task = spawn(paths.run(), name="local paths")
    try:
        paths.changed(api.objects[NODE])
        async with asyncio.timeout(60):
            while TO_REMOVE in api.objects[NODE]["metadata"]["annotations"]:
                await asyncio.sleep(0.005)
    finally:
        await cancel(task)
    assert not (directory / MINE).exists()
    assert (directory / "other").exists() and (tmp_path / "kept" / "file").exists()
    assert api.objects[NODE]["metadata"]["annotations"] == {"a": "b"}
